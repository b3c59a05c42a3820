package fake

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// arr is what Radarr, Sonarr and Prowlarr have in common.
type arr struct {
	*Server
	api     string
	key     string
	title   string
	version string
	// shown is how the user's password is read back.
	shown   string
	configs map[string]object
	enums   map[string][]any
	stored  string // the password
	issues  []object
}

func newArr(name, api, key, title, version, shown string) *arr {
	a := &arr{
		Server: newServer(name), api: api, key: key, title: title, version: version, shown: shown,
		enums: map[string][]any{},
		configs: map[string]object{"host": {
			"id": 1.0, "bindAddress": "*", "port": 1.0, "authenticationMethod": "none",
			"authenticationRequired": "enabled",
			"username":               "", "password": "", "passwordConfirmation": "", "backupInterval": 7.0,
			"backupRetention": 28.0, "branch": "master",
		}},
	}
	a.mux.HandleFunc("/ping", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, object{"status": "OK"})
	})
	a.mux.Handle("GET /{$}", http.RedirectHandler("/login?returnUrl=%2F", http.StatusFound))
	a.route("GET /system/status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, object{"appName": title, "version": version, "urlBase": ""})
	})
	a.route("GET /config/{name}", a.getConfig)
	a.route("PUT /config/{name}/{id}", a.putConfig)
	a.measures()
	return a
}

// route adds a route below the API's path for who has the key.
func (a *arr) route(pattern string, handler http.HandlerFunc) {
	method, path := pattern[:slices.Index([]byte(pattern), ' ')], pattern[slices.Index([]byte(pattern), ' ')+1:]
	a.mux.HandleFunc(method+" /api/"+a.api+path, func(w http.ResponseWriter, r *http.Request) {
		a.mutex.Lock()
		key := a.key
		a.mutex.Unlock()
		if r.Header.Get("X-Api-Key") != key {
			answer(w, http.StatusUnauthorized, object{"error": "Unauthorized"})
			return
		}
		handler(w, r)
	})
}

// SetKey changes the API key, as a restored folder does.
func (a *arr) SetKey(key string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.key = key
}

// Set changes a value of a configuration by hand.
func (a *arr) Set(config, name string, value any) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.configs[config][name] = value
}

// Get returns a value of a configuration.
func (a *arr) Get(config, name string) any {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.configs[config][name]
}

// Drop removes a field of a configuration, as a newer version can.
func (a *arr) Drop(config, name string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	delete(a.configs[config], name)
}

func (a *arr) getConfig(w http.ResponseWriter, r *http.Request) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	config, ok := a.configs[r.PathValue("name")]
	if !ok {
		answer(w, http.StatusNotFound, object{"message": "NotFound"})
		return
	}
	config = copyOf(config)
	if r.PathValue("name") == "host" && a.stored != "" {
		config["password"] = a.shown
	}
	answer(w, http.StatusOK, config)
}

func (a *arr) putConfig(w http.ResponseWriter, r *http.Request) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	name := r.PathValue("name")
	old, ok := a.configs[name]
	if !ok || r.PathValue("id") != "1" {
		answer(w, http.StatusNotFound, object{"message": "NotFound"})
		return
	}
	var config object
	if err := readBody(r, &config); err != nil {
		refuse(w, "", err, nil)
		return
	}
	known := spec{}
	for field, value := range old {
		known[field] = kindOf(value) + "!"
	}
	if err := known.check(config); err != nil {
		refuse(w, "", err, config)
		return
	}
	for field, allowed := range a.enums {
		if value, there := config[field]; there && !slices.Contains(allowed, value) {
			refuse(w, field, errors.New("is not one of the values"), value)
			return
		}
	}
	if name == "host" {
		if err := a.putUser(config); err != nil {
			refuse(w, "Password", err, config["password"])
			return
		}
	}
	if !equal(old, config) || name == "host" {
		a.configs[name] = config
		a.wrote(r)
	}
	answer(w, http.StatusAccepted, config)
}

// putUser takes the user's password, which must be there twice unless it is the one that was read.
func (a *arr) putUser(config object) error {
	password := config["password"]
	if config["authenticationMethod"] != "forms" {
		return errors.New("authenticationMethod must be forms")
	}
	if config["username"] == "" || password == "" {
		return errors.New("must not be empty")
	}
	if password != a.shown {
		if config["passwordConfirmation"] != password {
			return errors.New("Must match Password")
		}
		a.stored, _ = password.(string)
	}
	config["password"], config["passwordConfirmation"] = "", ""
	if user, ok := config["username"].(string); ok {
		config["username"] = strings.ToLower(user)
	}
	return nil
}

func (a *arr) snapshot() object {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return copyOf(object{"configs": a.configs, "password": a.stored})
}
