package fake

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Jellyfin is Jellyfin after its set-up, with an administrator and no library.
type Jellyfin struct {
	*Server
	password  string
	health    string
	failures  int
	logins    int
	sessions  map[string]bool
	keys      []string
	libraries []object
	items     []string
}

var mediaBrowser = regexp.MustCompile(
	`^MediaBrowser Client="[^"]+", Device="[^"]+", DeviceId="[^"]+", Version="[^"]+"(?:, Token="([^"]+)")?$`)

func newJellyfin(t testing.TB) *Jellyfin {
	j := &Jellyfin{Server: newServer(t, "jellyfin"), password: JellyfinPassword, health: "Healthy",
		sessions: map[string]bool{}}
	j.mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		j.mutex.Lock()
		defer j.mutex.Unlock()
		fmt.Fprint(w, j.health)
	})
	j.route("POST /Users/AuthenticateByName", false, j.authenticate)
	j.route("POST /Sessions/Logout", true, func(w http.ResponseWriter, r *http.Request) {
		delete(j.sessions, token(r))
		w.WriteHeader(http.StatusNoContent)
	})
	j.route("GET /Library/VirtualFolders", true, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, append([]object{}, j.libraries...))
	})
	j.route("POST /Library/VirtualFolders", true, j.addLibrary)
	j.route("POST /Library/VirtualFolders/Paths", true, j.addPath)
	j.route("POST /Auth/Keys", true, func(w http.ResponseWriter, _ *http.Request) {
		j.keys = append(j.keys, fmt.Sprint("jellyfin-api-key-", len(j.keys)))
		w.WriteHeader(http.StatusNoContent)
	})
	j.route("GET /Auth/Keys", true, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, object{"Items": j.keys})
	})
	return j
}

// SetHealth changes the body of /health; while Jellyfin starts it is "Degraded".
func (j *Jellyfin) SetHealth(health string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.health = health
}

// SetPassword changes the administrator's password by hand.
func (j *Jellyfin) SetPassword(password string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.password = password
}

// Failures returns how many logins failed, and Sessions how many have not ended.
func (j *Jellyfin) Failures() int {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.failures
}

// Sessions returns how many sessions have not ended.
func (j *Jellyfin) Sessions() int {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return len(j.sessions)
}

// Items returns the names of the files that it found at the latest scan.
func (j *Jellyfin) Items() []string {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return append([]string{}, j.items...)
}

// AddLibrary adds a library by hand.
func (j *Jellyfin) AddLibrary(name, kind string, paths ...string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.libraries = append(j.libraries, object{"Name": name, "CollectionType": kind, "Locations": paths,
		"ItemId": "id-" + name})
}

func (j *Jellyfin) snapshot() any {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return copyOf(j.libraries)
}

func token(r *http.Request) string {
	if match := mediaBrowser.FindStringSubmatch(r.Header.Get("Authorization")); match != nil {
		return match[1]
	}
	return ""
}

// route adds a route. It takes only the header that Jellyfin 12 takes, and its token or a key.
func (j *Jellyfin) route(pattern string, needsToken bool, handler http.HandlerFunc) {
	j.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		j.mutex.Lock()
		defer j.mutex.Unlock()
		known := j.sessions[token(r)]
		for _, key := range j.keys {
			known = known || token(r) == key
		}
		legacy := r.Header.Get("X-Emby-Token") + r.Header.Get("X-Emby-Authorization") + r.URL.Query().Get("api_key")
		if !mediaBrowser.MatchString(r.Header.Get("Authorization")) || legacy != "" || needsToken && !known {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler(w, r)
	})
}

func (j *Jellyfin) authenticate(w http.ResponseWriter, r *http.Request) {
	var body object
	if err := readBody(r, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := (spec{"Username": "string!", "Pw": "string!"}).check(body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if body["Username"] != User || body["Pw"] != j.password {
		j.failures++
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	session := fmt.Sprint("jellyfin-session-", j.logins)
	j.logins++
	j.sessions[session] = true
	answer(w, http.StatusOK, object{"AccessToken": session,
		"User": object{"Id": "1", "Policy": object{"IsAdministrator": true}}})
}

// addLibrary adds a library, under another name if there is one of that name.
func (j *Jellyfin) addLibrary(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var body object
	if err := readBody(r, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := (spec{"LibraryOptions": "object"}).check(body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	paths := strings.Split(query.Get("paths"), ",")
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			http.Error(w, "The specified path does not exist", http.StatusNotFound)
			return
		}
	}
	name := query.Get("name")
	for n := 2; j.library(name) != nil; n++ {
		name = fmt.Sprint(query.Get("name"), n)
	}
	j.libraries = append(j.libraries, object{"Name": name, "CollectionType": query.Get("collectionType"),
		"Locations": paths, "ItemId": "id-" + name})
	j.wrote(r)
	w.WriteHeader(http.StatusNoContent)
}

func (j *Jellyfin) library(name string) object {
	for _, library := range j.libraries {
		if strings.EqualFold(library["Name"].(string), name) {
			return library
		}
	}
	return nil
}

func (j *Jellyfin) addPath(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name     string
		PathInfo struct{ Path string }
	}
	if err := readBody(r, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	library := j.library(body.Name)
	if _, err := os.Stat(body.PathInfo.Path); err != nil || library == nil {
		http.Error(w, "no such path or library", http.StatusNotFound)
		return
	}
	library["Locations"] = append(library["Locations"].([]string), body.PathInfo.Path)
	j.wrote(r)
	w.WriteHeader(http.StatusNoContent)
}

// Scan looks for files below the libraries' paths, as Jellyfin does on its own.
func (j *Jellyfin) Scan() {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.items = nil
	for _, library := range j.libraries {
		for _, root := range library["Locations"].([]string) {
			// A folder that cannot be read has no items.
			_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					j.items = append(j.items, fmt.Sprintf("%s: %s", library["Name"], filepath.Base(path)))
				}
				return err
			})
		}
	}
}
