package fake

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// JellyfinVersion is the version that it says it has.
const JellyfinVersion = "10.11.11"

const (
	jellyfinKeyStart     = "jellyfin-api-key-"
	jellyfinSessionStart = "jellyfin-session-"
)

// Jellyfin is Jellyfin 10.11 after its set-up, with an administrator and no library. Only where
// Radarr and Sonarr call it does it take the headers that were there before Authorization.
type Jellyfin struct {
	*Server
	// Twelve refuses those headers everywhere, as Jellyfin 12 does.
	Twelve    bool
	name      string // of the administrator; empty until there is one
	password  string
	completed bool // the first set-up
	health    string
	failures  int
	logins    int
	ours      int // of the logins
	sessions  map[string]bool
	keys      []jellyfinKey
	made      map[string]int // keys by name
	libraries []jellyfinLibrary
	items     []jellyfinItem
	clients   int // that were active lately
	playing   int // of these
}

// jellyfinItem is a file in a library.
type jellyfinItem struct{ Library, Path string }

// jellyfinLibrary is a library, which has at least one folder.
type jellyfinLibrary struct {
	Name, CollectionType string
	Locations            []string
	ItemID               string `json:"ItemId"`
}

// jellyfinKey is an API key, which is an administrator but no user.
type jellyfinKey struct {
	AppName, AccessToken string
	DateCreated          string
}

var mediaBrowser = regexp.MustCompile(`^MediaBrowser (?:(Client="[^"]+", Device="[^"]+", DeviceId="[^"]+", ` +
	`Version="[^"]+")(?:, )?)?(?:Token="([^"]+)")?$`)

// access is who can call a route.
type access int

const (
	anybody access = iota
	whoHasToken
	legacyToken
)

func newJellyfin() *Jellyfin {
	j := &Jellyfin{Server: newServer("jellyfin"), name: User, password: JellyfinPassword, completed: true, health: "Healthy",
		sessions: map[string]bool{}, made: map[string]int{}}
	j.mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		j.mutex.Lock()
		defer j.mutex.Unlock()
		fmt.Fprint(w, j.health)
	})
	j.route("POST /Users/AuthenticateByName", anybody, j.authenticate)
	j.route("GET /Users/Me", whoHasToken, func(w http.ResponseWriter, r *http.Request) {
		if !j.sessions[token(r)] {
			w.WriteHeader(http.StatusBadRequest) // a key is no user
			return
		}
		answer(w, http.StatusOK, object{"Name": j.name})
	})
	j.route("POST /Sessions/Logout", whoHasToken, func(w http.ResponseWriter, r *http.Request) {
		delete(j.sessions, token(r))
		w.WriteHeader(http.StatusNoContent)
	})
	j.route("GET /Library/VirtualFolders", whoHasToken, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, append([]jellyfinLibrary{}, j.libraries...))
	})
	j.route("POST /Library/VirtualFolders", whoHasToken, j.addLibrary)
	j.route("POST /Library/VirtualFolders/Paths", whoHasToken, j.addPath)
	j.route("POST /Auth/Keys", whoHasToken, j.addKey)
	j.route("GET /Auth/Keys", whoHasToken, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, object{"Items": append([]jellyfinKey{}, j.keys...), "TotalRecordCount": len(j.keys)})
	})
	j.route("DELETE /Auth/Keys/{key}", whoHasToken, func(w http.ResponseWriter, r *http.Request) {
		j.keys = slices.DeleteFunc(j.keys, func(key jellyfinKey) bool { return key.AccessToken == r.PathValue("key") })
		j.wrote(r)
		w.WriteHeader(http.StatusNoContent)
	})
	j.route("GET /System/Configuration", legacyToken, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, object{"IsStartupWizardCompleted": true})
	})
	j.route("GET /Items", legacyToken, func(w http.ResponseWriter, _ *http.Request) {
		items := []object{}
		for _, item := range j.items {
			name := filepath.Base(item.Path)
			items = append(items, object{"Name": strings.TrimSuffix(name, filepath.Ext(name)), "Path": item.Path})
		}
		answer(w, http.StatusOK, object{"Items": items, "TotalRecordCount": len(items)})
	})
	j.route("POST /Library/Media/Updated", legacyToken, j.mediaUpdated)
	j.startups()
	j.measures()
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

// Logins returns how many logins of ours succeeded.
func (j *Jellyfin) Logins() int {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.ours
}

// Items returns the names of the files that it has found.
func (j *Jellyfin) Items() []string {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	names := []string{}
	for _, item := range j.items {
		names = append(names, fmt.Sprintf("%s: %s", item.Library, filepath.Base(item.Path)))
	}
	return names
}

// AddLibrary adds a library by hand.
func (j *Jellyfin) AddLibrary(name, kind string, paths ...string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.libraries = append(j.libraries, jellyfinLibrary{name, kind, paths, "id-" + name})
}

// Keys returns the names of the API keys, sorted.
func (j *Jellyfin) Keys() []string {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.keyNames()
}

func (j *Jellyfin) keyNames() []string {
	names := []string{}
	for _, key := range j.keys {
		names = append(names, key.AppName)
	}
	slices.Sort(names)
	return names
}

// RevokeKey removes the API keys of a name by hand.
func (j *Jellyfin) RevokeKey(name string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.keys = slices.DeleteFunc(j.keys, func(key jellyfinKey) bool { return key.AppName == name })
}

// AddKey adds an API key by hand.
func (j *Jellyfin) AddKey(name string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.newKey(name)
}

// newKey makes a key. The name is in it so that stacks can be compared whatever the order was.
func (j *Jellyfin) newKey(name string) {
	j.made[name]++
	j.keys = append(j.keys, jellyfinKey{name, fmt.Sprint(jellyfinKeyStart, name, "-", j.made[name]),
		"2026-01-01T00:00:00Z"})
}

func (j *Jellyfin) addKey(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("app")
	if name == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	j.newKey(name)
	j.wrote(r)
	w.WriteHeader(http.StatusNoContent)
}

func (j *Jellyfin) snapshot() any {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return copyOf(object{"libraries": j.libraries, "keys": j.keyNames()})
}

func token(r *http.Request) string {
	if match := mediaBrowser.FindStringSubmatch(r.Header.Get("Authorization")); match != nil {
		return match[2]
	}
	return ""
}

// route adds a route. It takes only the header that Jellyfin 12 takes, with a session or a key, and
// for legacyToken also the older header that Radarr and Sonarr send.
func (j *Jellyfin) route(pattern string, need access, handler http.HandlerFunc) {
	j.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		j.mutex.Lock()
		defer j.mutex.Unlock()
		sent := token(r)
		if need == legacyToken && sent == "" && !j.Twelve {
			sent = r.Header.Get("X-MediaBrowser-Token")
		}
		known := j.sessions[sent]
		for _, key := range j.keys {
			known = known || sent == key.AccessToken
		}
		legacy := r.Header.Get("X-Emby-Token") + r.Header.Get("X-Emby-Authorization") + r.URL.Query().Get("api_key")
		if need != legacyToken {
			legacy += r.Header.Get("X-MediaBrowser-Token")
			known = known && mediaBrowser.MatchString(r.Header.Get("Authorization"))
		}
		if legacy != "" || need != anybody && !known {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler(w, r)
	})
}

func (j *Jellyfin) authenticate(w http.ResponseWriter, r *http.Request) {
	if match := mediaBrowser.FindStringSubmatch(r.Header.Get("Authorization")); match == nil || match[1] == "" {
		http.Error(w, "the client says not which it is", http.StatusBadRequest)
		return
	}
	var body object
	if err := readBody(r, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := (spec{"Username": "string!", "Pw": "string!"}).check(body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if j.password == "" || body["Username"] != j.name || body["Pw"] != j.password {
		j.failures++
		j.log(fmt.Sprintf("Authentication request for %q has been denied (IP: %q).", body["Username"], r.RemoteAddr))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	session := fmt.Sprint(jellyfinSessionStart, j.logins)
	j.logins++
	j.sessions[session] = true
	if strings.Contains(r.Header.Get("Authorization"), `Client="homelab-wire"`) {
		j.ours++
	}
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
	j.libraries = append(j.libraries, jellyfinLibrary{name, query.Get("collectionType"), paths, "id-" + name})
	j.wrote(r)
	w.WriteHeader(http.StatusNoContent)
}

func (j *Jellyfin) library(name string) *jellyfinLibrary {
	for i := range j.libraries {
		if strings.EqualFold(j.libraries[i].Name, name) {
			return &j.libraries[i]
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
	library.Locations = append(library.Locations, body.PathInfo.Path)
	j.wrote(r)
	w.WriteHeader(http.StatusNoContent)
}

// mediaUpdated looks for files below a path that lies in a library.
func (j *Jellyfin) mediaUpdated(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Updates []struct{ Path, UpdateType string }
	}
	if err := readBody(r, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, update := range body.Updates {
		for _, library := range j.libraries {
			for _, root := range library.Locations {
				if strings.HasPrefix(update.Path, root+"/") {
					j.scan(library, update.Path)
				}
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// scan adds the files below a folder to the items.
func (j *Jellyfin) scan(library jellyfinLibrary, folder string) {
	// A folder that cannot be read has no items.
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			item := jellyfinItem{library.Name, path}
			if !slices.Contains(j.items, item) {
				j.items = append(j.items, item)
			}
		}
		return err
	})
}
