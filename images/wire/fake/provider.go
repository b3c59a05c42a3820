package fake

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

const mask = "********"

// providers are the objects of a resource that can be tested: download clients, applications,
// indexers, notifications.
type providers struct {
	server  *Server
	schema  []object
	items   []object
	secrets map[string]bool
	test    func(item object) error
	// validate says what is wrong with an item whether it is enabled or not; nil if there is nothing.
	validate func(item object) (property string, err error)
	more     spec // fields that only this resource has
	changed  func(item object, removed bool) error
	// leavesOut says that empty texts are read back without a value.
	leavesOut bool
	nextID    int
}

var providerSpec = spec{
	"id": "int", "name": "string!", "enable": "bool", "protocol": "string", "priority": "int",
	"implementation":     "string!",
	"implementationName": "string", "configContract": "string!", "infoLink": "string", "tags": "array!",
	"fields":                   "array!",
	"removeCompletedDownloads": "bool", "removeFailedDownloads": "bool", "syncLevel": "string", "appProfileId": "int",
	"definitionName": "string", "redirect": "bool", "enableRss": "bool", "enableAutomaticSearch": "bool",
	"enableInteractiveSearch": "bool",
}

// mount adds the routes of a resource, such as /api/v3/downloadclient.
func (p *providers) mount(base string, route func(pattern string, handler http.HandlerFunc)) {
	route("GET "+base+"/schema", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, p.withPresets())
	})
	route("GET "+base, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, p.list()) })
	route("POST "+base, func(w http.ResponseWriter, r *http.Request) { p.save(w, r, 0) })
	route("POST "+base+"/test", p.testOnly)
	route("PUT "+base+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil || p.find(id) == nil {
			answer(w, http.StatusNotFound, object{"message": "NotFound"})
			return
		}
		p.save(w, r, id)
	})
	route("DELETE "+base+"/{id}", p.remove)
}

func (p *providers) withPresets() []object {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	list := copyOf(p.schema)
	for _, entry := range list {
		entry["presets"] = []any{}
	}
	return list
}

// list returns the items as they are read: secrets are asterisks.
func (p *providers) list() []object {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	list := copyOf(p.items)
	for _, item := range list {
		for name := range p.secrets {
			if entry := entryOf(item, name); entry != nil && entry["value"] != "" {
				entry["value"] = mask
			}
		}
		// A text that is empty is not there.
		fields, _ := item["fields"].([]any)
		for _, field := range fields {
			if entry, ok := field.(map[string]any); ok && p.leavesOut && entry["value"] == "" {
				delete(entry, "value")
			}
		}
	}
	if list == nil {
		list = []object{}
	}
	return list
}

func (p *providers) find(id int) object {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	for _, item := range p.items {
		if item["id"] == float64(id) {
			return copyOf(item)
		}
	}
	return nil
}

// refuse answers as the apps do. They repeat what was attempted.
func refuse(w http.ResponseWriter, property string, err error, attempted any) {
	answer(w, http.StatusBadRequest, []object{{
		"propertyName": property, "errorMessage": err.Error(), "attemptedValue": attempted, "severity": "error",
	}})
}

// read returns the item of a body, its masked secrets replaced by those that are stored.
func (p *providers) read(r *http.Request, id int) (object, error) {
	var item object
	if err := readBody(r, &item); err != nil {
		return nil, err
	}
	known := maps.Clone(providerSpec)
	maps.Copy(known, p.more)
	if err := known.check(item); err != nil {
		return nil, err
	}
	for name, kind := range p.more {
		if _, there := item[name]; !there {
			return nil, fmt.Errorf("field %s is missing, which must be %s", name, kind)
		}
	}
	if id == 0 {
		if number, ok := item["id"].(float64); ok {
			id = int(number)
		}
	}
	stored := p.find(id)
	base := stored
	if base == nil {
		p.server.mutex.Lock()
		for _, entry := range p.schema {
			definition := entry["definitionName"]
			if entry["implementation"] == item["implementation"] && (definition == nil || definition == item["definitionName"]) {
				base = copyOf(entry)
			}
		}
		p.server.mutex.Unlock()
	}
	if base == nil {
		return nil, fmt.Errorf("no implementation %v", item["implementation"])
	}
	if item["configContract"] != base["configContract"] {
		return nil, errors.New("the configContract is not the implementation's")
	}
	fields, _ := item["fields"].([]any)
	wanted, _ := base["fields"].([]any)
	if len(fields) != len(wanted) {
		return nil, fmt.Errorf("there are %d fields, not %d", len(fields), len(wanted))
	}
	for _, field := range fields {
		entry, ok := field.(map[string]any)
		if !ok {
			return nil, errors.New("a field is no object")
		}
		name, _ := entry["name"].(string)
		old := entryOf(base, name)
		if old == nil {
			return nil, fmt.Errorf("no field %q", name)
		}
		if p.leavesOut && entry["value"] == nil && !is("int", old["value"]) && !is("bool", old["value"]) {
			entry["value"] = ""
		}
		if kind := kindOf(old["value"]); kind != kindOf(entry["value"]) && (kind != "any" || !is("string", entry["value"])) {
			return nil, fmt.Errorf("field %s must be %s", name, kindOf(old["value"]))
		}
		if p.secrets[name] && entry["value"] == mask {
			if stored == nil {
				return nil, fmt.Errorf("field %s is masked, and there is nothing stored", name)
			}
			entry["value"] = old["value"]
		}
	}
	return item, nil
}

func (p *providers) testOnly(w http.ResponseWriter, r *http.Request) {
	item, err := p.read(r, 0)
	if err != nil {
		refuse(w, "", err, item)
		return
	}
	if p.invalid(w, item) {
		return
	}
	if err := p.test(item); err != nil {
		refuse(w, "Host", err, item)
		return
	}
	answer(w, http.StatusOK, object{})
}

// invalid answers and returns true if there is something wrong with an item.
func (p *providers) invalid(w http.ResponseWriter, item object) bool {
	if p.validate == nil {
		return false
	}
	property, err := p.validate(item)
	if err != nil {
		refuse(w, property, err, item)
	}
	return err != nil
}

func (p *providers) save(w http.ResponseWriter, r *http.Request, id int) {
	item, err := p.read(r, id)
	if err != nil {
		refuse(w, "", err, item)
		return
	}
	if p.nameTaken(item, id) {
		refuse(w, "Name", errors.New("Should be unique"), item["name"])
		return
	}
	old := p.find(id)
	if id > 0 {
		item["id"] = float64(id)
		if equal(old, item) {
			answer(w, http.StatusAccepted, item)
			return
		}
	}
	if p.invalid(w, item) {
		return
	}
	// What is disabled is saved without a test.
	if r.URL.Query().Get("forceSave") != "true" && item["enable"] != false {
		if err := p.test(item); err != nil {
			refuse(w, "Host", err, item)
			return
		}
	}
	status := p.store(item, id, r)
	if p.changed != nil {
		if err := p.changed(item, false); err != nil {
			refuse(w, "", err, item)
			return
		}
	}
	answer(w, status, item)
}

func (p *providers) nameTaken(item object, id int) bool {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	name, _ := item["name"].(string)
	for _, other := range p.items {
		if text, _ := other["name"].(string); strings.EqualFold(text, name) && other["id"] != float64(id) {
			return true
		}
	}
	return name == ""
}

func (p *providers) store(item object, id int, r *http.Request) int {
	p.server.mutex.Lock()
	defer p.server.mutex.Unlock()
	p.server.wrote(r)
	if id == 0 {
		p.nextID++
		item["id"] = float64(p.nextID)
		p.items = append(p.items, item)
		return http.StatusCreated
	}
	for i := range p.items {
		if p.items[i]["id"] == float64(id) {
			p.items[i] = item
		}
	}
	return http.StatusAccepted
}

func (p *providers) remove(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	item := p.find(id)
	if err != nil || item == nil {
		answer(w, http.StatusNotFound, object{"message": "NotFound"})
		return
	}
	p.server.mutex.Lock()
	p.server.wrote(r)
	kept := []object{}
	for _, other := range p.items {
		if other["id"] != float64(id) {
			kept = append(kept, other)
		}
	}
	p.items = kept
	p.server.mutex.Unlock()
	if p.changed != nil {
		if err := p.changed(item, true); err != nil {
			refuse(w, "", err, item)
			return
		}
	}
	answer(w, http.StatusOK, object{})
}

func entryOf(item object, name string) object {
	fields, _ := item["fields"].([]any)
	for _, field := range fields {
		if entry, ok := field.(map[string]any); ok && entry["name"] == name {
			return entry
		}
	}
	return nil
}

// value returns the value of a field of an item.
func value(item object, name string) any {
	if entry := entryOf(item, name); entry != nil {
		return entry["value"]
	}
	return nil
}

func text(item object, name string) string {
	value, _ := value(item, name).(string)
	return value
}

// schemaEntry returns what a new item of an implementation starts from.
func schemaEntry(implementation string, extra object, fields ...any) object {
	list := []any{}
	for i := 0; i+1 < len(fields); i += 2 {
		list = append(list, object{"order": float64(i / 2), "name": fields[i], "label": fields[i],
			"value": fields[i+1], "type": "textbox", "privacy": "normal"})
	}
	entry := object{
		"name": "", "implementation": implementation, "implementationName": implementation,
		"configContract": implementation + "Settings", "infoLink": "https://wiki.servarr.com",
		"tags": []any{}, "fields": list,
	}
	for name, value := range extra {
		entry[name] = value
	}
	return copyOf(entry)
}
