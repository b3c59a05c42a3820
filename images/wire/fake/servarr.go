package fake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
)

// servarrKind is what differs between Radarr and Sonarr.
type servarrKind struct {
	name, title, version, key, shown, category, resource string
	id, rename                                           string
	naming                                               object
	enums                                                map[string][]any
	events                                               []string // that a notification can be about
}

var (
	radarrKind = servarrKind{
		name: "radarr", title: "Radarr", version: "6.4.4.10000", key: RadarrKey, shown: mask,
		category: "movieCategory", resource: "movie", id: "tmdbId", rename: "renameMovies",
		naming: object{
			"id": 1.0, "renameMovies": false, "replaceIllegalCharacters": true, "colonReplacementFormat": "delete",
			"standardMovieFormat": "{Movie Title}", "movieFolderFormat": "{Movie Title}", "newerThanUs": "kept",
		},
		enums: map[string][]any{
			"colonReplacementFormat": {"delete", "dash", "spaceDash", "spaceDashSpace", "smart"},
			"rescanAfterRefresh":     {"always", "afterManual", "never"},
		},
		events: []string{"onGrab", "onDownload", "onUpgrade", "onRename", "onMovieAdded", "onMovieDelete",
			"onMovieFileDelete", "onMovieFileDeleteForUpgrade", "onHealthIssue", "includeHealthWarnings"},
	}
	sonarrKind = servarrKind{
		name: "sonarr", title: "Sonarr", version: "4.0.19.3000", key: SonarrKey,
		shown: "a-hash-of-the-password", category: "tvCategory", resource: "series", id: "tvdbId", rename: "renameEpisodes",
		naming: object{
			"id": 1.0, "renameEpisodes": false, "replaceIllegalCharacters": true, "colonReplacementFormat": 0.0,
			"customColonReplacementFormat": "", "multiEpisodeStyle": 0.0, "standardEpisodeFormat": "x",
			"dailyEpisodeFormat": "x",
			"animeEpisodeFormat": "x", "seriesFolderFormat": "x", "seasonFolderFormat": "x",
			"specialsFolderFormat": "x",
		},
		enums: map[string][]any{
			"colonReplacementFormat": {0.0, 1.0, 2.0, 3.0, 4.0, 5.0},
			"rescanAfterRefresh":     {"always", "afterManual", "never"},
		},
		events: []string{"onGrab", "onDownload", "onUpgrade", "onImportComplete", "onRename", "onSeriesAdd",
			"onSeriesDelete", "onEpisodeFileDelete", "onEpisodeFileDeleteForUpgrade", "onHealthIssue", "includeHealthWarnings"},
	}
)

// Servarr is Radarr or Sonarr.
type Servarr struct {
	*arr
	kind     servarrKind
	roots    []object
	profiles []object
	clients  *providers
	indexers *providers
	// connects are its notifications.
	connects *providers
	media    []object
	imported map[string]bool
	logins   map[string]*http.Client // to the download client
	queue    []object
	lacks    int // how much is missing
}

func newServarr(kind servarrKind) *Servarr {
	s := &Servarr{arr: newArr(kind.name, "v3", kind.key, kind.title, kind.version, kind.shown), kind: kind,
		imported: map[string]bool{}, logins: map[string]*http.Client{}}
	s.enums = kind.enums
	s.configs["naming"] = copyOf(kind.naming)
	s.configs["mediamanagement"] = object{
		"id": 1.0, "copyUsingHardlinks": true, "rescanAfterRefresh": "always", "minimumFreeSpaceWhenImporting": 100.0,
		"deleteEmptyFolders": true, "recycleBin": "", "importExtraFiles": false,
	}
	s.clients = &providers{server: s.Server, secrets: map[string]bool{"password": true}, test: s.testClient,
		schema: []object{
			schemaEntry("Transmission", object{"protocol": "torrent"}, "host", "localhost"),
			schemaEntry("QBittorrent", object{
				"enable": false, "protocol": "torrent", "priority": 1, "removeCompletedDownloads": false,
				"removeFailedDownloads": true,
			}, "host", "localhost", "port", 8080, "useSsl", false, "urlBase", "", "username", "", "password", "",
				"apiKey", "",
				kind.category, "default", "initialState", 0, "sequentialOrder", false),
		}}
	s.indexers = &providers{server: s.Server, secrets: map[string]bool{"apiKey": true}, test: s.testIndexer,
		schema: []object{
			schemaEntry("Torznab", object{"protocol": "torrent", "enableRss": false,
				"enableAutomaticSearch": false, "enableInteractiveSearch": false, "priority": 25},
				"baseUrl", "", "apiPath", "/api", "apiKey", ""),
		}}
	s.connects = s.newConnects()
	s.connects.mount("/notification", s.route)
	s.clients.mount("/downloadclient", s.route)
	s.indexers.mount("/indexer", s.route)
	s.route("GET /rootfolder", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, s.rootFolders())
	})
	s.route("POST /rootfolder", s.addRoot)
	s.routeProfiles()
	s.route("GET /tag", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, []object{}) })
	s.route("POST /"+kind.resource, s.addMedia)
	s.route("POST /command", s.command)
	s.measures()
	return s
}

// DropField removes a field of the download client's and the notification's schema, as a newer
// version can.
func (s *Servarr) DropField(name string) {
	s.clients.drop(name)
	s.connects.drop(name)
}

// Client returns the stored download client of a name with its secrets, nil if there is none.
func (s *Servarr) Client(name string) map[string]any { return s.clients.named(name) }

// SetClientField changes a field of a download client by hand.
func (s *Servarr) SetClientField(client, field string, value any) {
	s.clients.set(client, field, value)
}

// AddClient adds a download client by hand.
func (s *Servarr) AddClient(name string) { s.clients.add("Transmission", name) }

// Notification returns the stored notification of a name with its secrets, nil if there is none.
func (s *Servarr) Notification(name string) map[string]any { return s.connects.named(name) }

// SetNotification changes a field of a notification by hand.
func (s *Servarr) SetNotification(name, field string, value any) { s.connects.set(name, field, value) }

// AddNotification adds a notification by hand.
func (s *Servarr) AddNotification(name string) { s.connects.add("Webhook", name) }

// Indexers returns the names of the indexers that Prowlarr gave it.
func (s *Servarr) Indexers() []string { return s.indexers.names() }

func (p *providers) named(name string) object {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	for _, item := range p.items {
		if item["name"] == name {
			return copyOf(item)
		}
	}
	return nil
}

func (p *providers) names() []string {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	names := []string{}
	for _, item := range p.items {
		name, _ := item["name"].(string)
		names = append(names, name)
	}
	return names
}

func (p *providers) set(name, field string, value any) {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	for _, item := range p.items {
		if item["name"] == name {
			if entry := entryOf(item, field); entry != nil {
				entry["value"] = value
			} else {
				item[field] = value
			}
		}
	}
}

func (p *providers) add(implementation, name string) {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	for _, entry := range p.schema {
		if entry["implementation"] == implementation {
			item := copyOf(entry)
			p.nextID++
			item["id"], item["name"] = float64(p.nextID), name
			p.items = append(p.items, item)
			return
		}
	}
}

// drop removes a field from the schema.
func (p *providers) drop(name string) {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	for _, entry := range p.schema {
		kept := []any{}
		fields, _ := entry["fields"].([]any)
		for _, field := range fields {
			if inner, ok := field.(map[string]any); ok && inner["name"] != name {
				kept = append(kept, field)
			}
		}
		entry["fields"] = kept
	}
}

func (p *providers) snapshot() any {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	return copyOf(p.items)
}

func (s *Servarr) snapshot() object {
	all := s.arr.snapshot()
	all["clients"], all["indexers"] = s.clients.snapshot(), s.indexers.snapshot()
	all["roots"], all["notifications"] = s.rootFolders(), s.connects.snapshot()
	return all
}

func (s *Servarr) rootFolders() []object {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]object{}, copyOf(s.roots)...)
}

func (s *Servarr) addRoot(w http.ResponseWriter, r *http.Request) {
	var root object
	if err := readBody(r, &root); err != nil {
		refuse(w, "Path", err, nil)
		return
	}
	if err := (spec{"path": "string!"}).check(root); err != nil {
		refuse(w, "Path", err, root)
		return
	}
	path, _ := root["path"].(string)
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		refuse(w, "Path", errors.New("Path does not exist"), path)
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, other := range s.roots {
		if other["path"] == path {
			refuse(w, "Path", errors.New("Path is already configured as a root folder"), path)
			return
		}
	}
	root["id"], root["accessible"] = float64(len(s.roots)+1), true
	s.roots = append(s.roots, root)
	s.wrote(r)
	answer(w, http.StatusCreated, root)
}

// session logs in to the download client with what is stored, unless an earlier login is still
// good.
func (s *Servarr) session(client object) (*http.Client, string, error) {
	scheme := "http"
	if value(client, "useSsl") == true {
		scheme = "https"
	}
	base := fmt.Sprintf("%s://%s:%v/api/v2", scheme, text(client, "host"), value(client, "port"))
	login := fmt.Sprintf("%s as %s with %s", base, text(client, "username"), text(client, "password"))
	s.mutex.Lock()
	known := s.logins[login]
	s.mutex.Unlock()
	if known != nil && getJSON(known, base+"/app/preferences", &object{}) == nil {
		return known, base, nil
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, "", err
	}
	session := &http.Client{Jar: jar}
	response, err := session.PostForm(base+"/auth/login",
		url.Values{"username": {text(client, "username")}, "password": {text(client, "password")}})
	if err != nil {
		return nil, "", errors.New("Unable to connect to qBittorrent")
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, "", err
	}
	if response.StatusCode != http.StatusNoContent && string(body) != "Ok." {
		return nil, "", fmt.Errorf("Authentication Failure with password %s", text(client, "password"))
	}
	s.mutex.Lock()
	s.logins[login] = session
	s.mutex.Unlock()
	return session, base, nil
}

// testClient connects as Radarr and Sonarr do, which also makes the category.
func (s *Servarr) testClient(client object) error {
	if client["implementation"] != "QBittorrent" {
		return nil
	}
	session, base, err := s.session(client)
	if err != nil {
		return err
	}
	var preferences object
	if err := getJSON(session, base+"/app/preferences", &preferences); err != nil {
		return err
	}
	if preferences["max_ratio_enabled"] == true && preferences["max_ratio_act"] == 1.0 {
		return errors.New("qBittorrent is configured to remove torrents when they reach their Share Ratio Limit")
	}
	var categories map[string]object
	if err := getJSON(session, base+"/torrents/categories", &categories); err != nil {
		return err
	}
	category := text(client, s.kind.category)
	if _, there := categories[category]; category != "" && !there {
		response, err := session.PostForm(base+"/torrents/createCategory", url.Values{"category": {category}})
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	return nil
}

func getJSON(client *http.Client, address string, into any) error {
	response, err := client.Get(address)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", address, response.StatusCode)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// torznab asks an indexer what it can do or has.
func torznab(item object, query url.Values) ([]byte, error) {
	query.Set("apikey", text(item, "apiKey"))
	address := strings.TrimSuffix(text(item, "baseUrl"), "/") + text(item, "apiPath") + "?" + query.Encode()
	return fetch(http.MethodGet, address, nil, nil)
}

func (s *Servarr) testIndexer(item object) error {
	if _, err := torznab(item, url.Values{"t": {"caps"}}); err != nil {
		return fmt.Errorf("Unable to connect to indexer: %w", err)
	}
	return nil
}
