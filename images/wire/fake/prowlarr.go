package fake

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Prowlarr gives its indexers to Radarr and Sonarr.
type Prowlarr struct {
	*arr
	applications *providers
	indexers     *providers
	// Syncs counts how often it was told to give its indexers to all.
	Syncs int
	down  map[string]bool // definitions whose sites do not answer
	// noProfile and noSaving refuse every indexer.
	noProfile, noSaving bool
	blocked             []object
}

// RefuseProfile makes it refuse the sync profile of indexers.
func (p *Prowlarr) RefuseProfile(refuse bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.noProfile = refuse
}

// RefuseSaving makes it refuse indexers also when they are disabled.
func (p *Prowlarr) RefuseSaving(refuse bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.noSaving = refuse
}

// SetSiteDown makes the site of a definition not answer, or answer again.
func (p *Prowlarr) SetSiteDown(definition string, down bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.down[definition] = down
}

func newProwlarr() *Prowlarr {
	p := &Prowlarr{
		arr:  newArr("prowlarr", "v1", ProwlarrKey, "Prowlarr", "2.6.5.5000", mask),
		down: map[string]bool{},
	}
	secrets := map[string]bool{"apiKey": true}
	p.applications = &providers{server: p.Server, secrets: secrets, test: p.testApplication,
		changed: p.applicationChanged}
	for _, name := range []string{"Radarr", "Sonarr", "Lidarr"} {
		p.applications.schema = append(p.applications.schema, schemaEntry(name, object{"syncLevel": "addOnly"},
			"prowlarrUrl", "http://localhost:9696", "baseUrl", "http://localhost:7878", "apiKey", "", "syncCategories", []any{2000}))
	}
	generic := func(name string) object {
		return schemaEntry("Torznab", object{
			"name": name, "definitionName": "Torznab", "enable": false, "redirect": false, "priority": 25,
			"appProfileId": 0, "protocol": "torrent",
		}, "baseUrl", "", "apiPath", "/api", "apiKey", "", "additionalParameters", "")
	}
	p.indexers = &providers{server: p.Server, secrets: secrets, test: p.testIndexer, validate: p.validateIndexer,
		changed: p.indexerChanged, schema: []object{
			generic("AnimeTosho"), generic("Generic Torznab"),
		}}
	for _, name := range []string{"1337x", "thepiratebay"} {
		p.indexers.schema = append(p.indexers.schema, schemaEntry("Cardigann", object{
			"name": name, "definitionName": name, "enable": false, "redirect": false, "priority": 25,
			"appProfileId": 0, "protocol": "torrent",
		}, "definitionFile", name, "baseUrl", "https://example.org/"))
	}
	p.applications.mount("/applications", p.route)
	p.indexers.mount("/indexer", p.route)
	p.route("GET /appprofile", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, []object{{"id": 1, "name": "Standard"}})
	})
	p.route("POST /command", p.command)
	p.measures()
	p.mux.HandleFunc("GET /{id}/api", p.search)
	p.mux.HandleFunc("GET /{id}/download", p.download)
	return p
}

// Application returns the stored application of a name, nil if there is none.
func (p *Prowlarr) Application(name string) map[string]any { return p.applications.named(name) }

// Indexer returns the stored indexer of a name, nil if there is none.
func (p *Prowlarr) Indexer(name string) map[string]any { return p.indexers.named(name) }

// Indexers returns the names of its indexers.
func (p *Prowlarr) Indexers() []string { return p.indexers.names() }

// AddIndexer adds an indexer by hand.
func (p *Prowlarr) AddIndexer(name string) { p.indexers.add("Cardigann", name) }

// SetIndexerField changes a field of an indexer by hand.
func (p *Prowlarr) SetIndexerField(indexer, field string, value any) {
	p.indexers.set(indexer, field, value)
}

// DropField removes a field of the applications' and indexers' schemas, as a newer version can.
func (p *Prowlarr) DropField(name string) {
	p.applications.drop(name)
	p.indexers.drop(name)
}

func (p *Prowlarr) snapshot() object {
	all := p.arr.snapshot()
	all["applications"], all["indexers"] = p.applications.snapshot(), p.indexers.snapshot()
	return all
}

func (p *Prowlarr) testIndexer(item object) error {
	if item["implementation"] != "Torznab" {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		if definition, _ := item["definitionName"].(string); p.down[definition] {
			return fmt.Errorf("Unable to connect to indexer, check the log. %s does not answer", definition)
		}
		return nil
	}
	if strings.Contains(text(item, "baseUrl"), "/indexers/all/") {
		return errors.New("the all indexer of Jackett is not supported")
	}
	if _, err := torznab(item, url.Values{"t": {"caps"}}); err != nil {
		return fmt.Errorf("Unable to connect to indexer with key %s, %w", text(item, "apiKey"), err)
	}
	return nil
}

// validateIndexer checks what is checked also of an indexer that is disabled.
func (p *Prowlarr) validateIndexer(item object) (property string, err error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	switch {
	case item["appProfileId"] != 1.0 || p.noProfile:
		return "AppProfileId", errors.New("App profile does not exist")
	case p.noSaving:
		return "", errors.New("the indexer cannot be used")
	}
	return "", nil
}

// testApplication has the app test an indexer that is this Prowlarr: it must know the key, and
// reach prowlarrUrl.
func (p *Prowlarr) testApplication(item object) error {
	if item["syncLevel"] != "fullSync" && item["syncLevel"] != "addOnly" && item["syncLevel"] != "disabled" {
		return errors.New("no such syncLevel")
	}
	var status object
	if err := fetchJSON(http.MethodGet, text(item, "baseUrl")+"/api/v3/system/status", text(item, "apiKey"),
		nil, &status); err != nil {
		return fmt.Errorf("Unable to complete application test: %w", err)
	}
	if status["appName"] != item["implementation"] {
		return fmt.Errorf("it is %v", status["appName"])
	}
	return fetchJSON(http.MethodPost, text(item, "baseUrl")+"/api/v3/indexer/test", text(item, "apiKey"),
		p.given(item, object{"id": 0.0, "name": "Test"}), nil)
}

// given returns an indexer as an application gets it: this Prowlarr, at the indexer's number.
func (p *Prowlarr) given(application, indexer object) object {
	item := schemaEntry("Torznab", object{
		"name": fmt.Sprintf("%v (Prowlarr)", indexer["name"]), "protocol": "torrent", "enableRss": true,
		"enableAutomaticSearch":   true,
		"enableInteractiveSearch": true, "priority": 25,
	}, "baseUrl", fmt.Sprintf("%s/%v/", text(application, "prowlarrUrl"), indexer["id"]),
		"apiPath", "/api", "apiKey", p.key)
	return item
}

func (p *Prowlarr) applicationChanged(application object, removed bool) error {
	if removed {
		return nil
	}
	return p.sync(application, false)
}

// indexerChanged gives a new indexer to the applications, or takes one from them.
func (p *Prowlarr) indexerChanged(indexer object, removed bool) error {
	for _, name := range p.applications.names() {
		application := p.applications.named(name)
		if !removed {
			if err := p.sync(application, false); err != nil {
				return err
			}
			continue
		}
		existing, err := given(application)
		if err != nil {
			return err
		}
		for _, item := range existing {
			if item["name"] == fmt.Sprintf("%v (Prowlarr)", indexer["name"]) {
				address := fmt.Sprintf("%s/api/v3/indexer/%v", text(application, "baseUrl"), item["id"])
				if err := fetchJSON(http.MethodDelete, address, text(application, "apiKey"), nil, nil); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func given(application object) ([]object, error) {
	var existing []object
	err := fetchJSON(http.MethodGet, text(application, "baseUrl")+"/api/v3/indexer",
		text(application, "apiKey"), nil, &existing)
	return existing, err
}

// sync gives an application every indexer that it does not have, and with force again those that it
// has.
func (p *Prowlarr) sync(application object, force bool) error {
	existing, err := given(application)
	if err != nil {
		return err
	}
	for _, name := range p.indexers.names() {
		indexer := p.indexers.named(name)
		wanted := p.given(application, indexer)
		method, address, has := http.MethodPost, text(application, "baseUrl")+"/api/v3/indexer", false
		for _, item := range existing {
			if item["name"] == wanted["name"] {
				method, address, has = http.MethodPut, fmt.Sprintf("%s/%v", address, item["id"]), true
			}
		}
		if has && !force || indexer["enable"] != true {
			continue
		}
		if err := fetchJSON(method, address, text(application, "apiKey"), wanted, nil); err != nil {
			return err
		}
	}
	return nil
}

func (p *Prowlarr) command(w http.ResponseWriter, r *http.Request) {
	var command object
	if err := readBody(r, &command); err != nil {
		refuse(w, "", err, nil)
		return
	}
	err := (spec{"name": "string!", "forceSync": "bool!"}).check(command)
	if err != nil || command["name"] != "ApplicationIndexerSync" {
		refuse(w, "Name", errors.New("no such command"), command)
		return
	}
	for _, name := range p.applications.names() {
		if err := p.sync(p.applications.named(name), true); err != nil {
			refuse(w, "", err, nil)
			return
		}
	}
	p.mutex.Lock()
	p.Syncs++
	p.wrote(r)
	p.mutex.Unlock()
	answer(w, http.StatusCreated, object{"id": 1, "name": command["name"], "status": "queued"})
}
