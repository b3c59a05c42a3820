package fake

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Jellyseerr is Jellyseerr before its set-up.
type Jellyseerr struct {
	*Server
	// Legacy reads and enables libraries at a GET, as earlier versions do.
	Legacy      bool
	users       []object
	sessions    map[string]int // the index of the user
	initialized bool
	main        object
	jellyfin    object
	libraries   []object
	servers     map[string][]object
	requests    []object
	inner       string // the session with Jellyfin
}

var (
	seerrServerSpec = spec{
		"name": "string!", "hostname": "string!", "port": "int!", "apiKey": "string!", "useSsl": "bool!",
		"baseUrl":         "string",
		"activeProfileId": "int!", "activeProfileName": "string!", "activeDirectory": "string!",
		"is4k": "bool!", "isDefault": "bool!",
		"externalUrl": "string", "syncEnabled": "bool", "preventSearch": "bool", "tags": "array",
	}
	seerrTestSpec = spec{"hostname": "string!", "port": "int!", "apiKey": "string!", "useSsl": "bool!",
		"baseUrl": "string"}
)

const seerrSessionStart = "seerr-session-"

const seerrDevice = `MediaBrowser Client="Seerr", Device="Seerr", DeviceId="BOT_seerr", Version="3.5.0"`

func newJellyseerr() *Jellyseerr {
	s := &Jellyseerr{
		Server: newServer("jellyseerr"), sessions: map[string]int{},
		servers: map[string][]object{"radarr": {}, "sonarr": {}},
		main: object{
			"apiKey": JellyseerrKey, "applicationTitle": "Seerr", "applicationUrl": "", "localLogin": true,
			"mediaServerLogin": true,
			"newPlexLogin":     true, "mediaServerType": 4.0,
		},
		jellyfin: object{"name": "", "ip": "", "port": 8096.0, "useSsl": false, "urlBase": "", "apiKey": ""},
	}
	s.mux.HandleFunc("GET /api/v1/settings/public", func(w http.ResponseWriter, _ *http.Request) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		answer(w, http.StatusOK, object{"initialized": s.initialized, "mediaServerType": s.main["mediaServerType"]})
	})
	s.mux.HandleFunc("POST /api/v1/auth/jellyfin", s.login)
	s.route("GET /settings/main", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.main) })
	s.route("POST /settings/main", s.setMain)
	s.route("GET /settings/jellyfin", func(w http.ResponseWriter, _ *http.Request) {
		all := copyOf(s.jellyfin)
		all["libraries"] = append([]object{}, s.libraries...)
		answer(w, http.StatusOK, all)
	})
	s.route("POST /settings/jellyfin", s.setJellyfin)
	s.route("GET /settings/jellyfin/library", s.legacyLibraries)
	s.route("POST /settings/jellyfin/library/sync", s.syncLibraries)
	s.route("PUT /settings/jellyfin/library/{id}", s.enableLibrary)
	s.route("POST /settings/initialize", func(w http.ResponseWriter, r *http.Request) {
		s.initialized = true
		s.wrote(r)
		answer(w, http.StatusOK, object{"initialized": true})
	})
	for _, kind := range []string{"radarr", "sonarr"} {
		s.routeServers(kind)
	}
	s.route("POST /request", s.request)
	s.measures()
	return s
}

// BreakFirstRun leaves it as a first run does that broke off: it knows the host, but has no user.
func (s *Jellyseerr) BreakFirstRun(host string, port int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.jellyfin["ip"], s.jellyfin["port"] = host, float64(port)
}

// SetKey changes the API key, as its page does on request.
func (s *Jellyseerr) SetKey(key string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.main["apiKey"] = key
}

// SetUpBySomebody leaves it as it is after another user's first login. Users that it does not know
// are let in, as ordinary ones, or not.
func (s *Jellyseerr) SetUpBySomebody(host string, port int, letsIn bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.jellyfin["ip"], s.jellyfin["port"] = host, float64(port)
	s.main["mediaServerType"], s.main["newPlexLogin"] = 2.0, letsIn
	s.users = append(s.users, object{"id": 1.0, "jellyfinUsername": "somebody", "permissions": 2.0})
	s.initialized = true
}

// Logins returns how many logins succeeded.
func (s *Jellyseerr) Logins() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.sessions)
}

// EnableOnly enables one library by hand, and disables all others.
func (s *Jellyseerr) EnableOnly(name string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, library := range s.libraries {
		library["enabled"] = library["name"] == name
	}
}

// Enabled returns the names of the enabled libraries.
func (s *Jellyseerr) Enabled() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var names []string
	for _, library := range s.libraries {
		if library["enabled"] == true {
			names = append(names, library["name"].(string))
		}
	}
	return names
}

// Servers returns the stored servers of a kind, radarr or sonarr.
func (s *Jellyseerr) Servers(kind string) []map[string]any {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return copyOf(s.servers[kind])
}

// Initialized reports whether the set-up has ended.
func (s *Jellyseerr) Initialized() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.initialized
}

func (s *Jellyseerr) snapshot() any {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	all := copyOf(object{"main": s.main, "jellyfin": s.jellyfin, "libraries": s.libraries,
		"servers": s.servers, "initialized": s.initialized, "users": s.users})
	delete(all["jellyfin"].(map[string]any), "apiKey") // there is another for every login
	return all
}

// isAdmin reports whether a request is one of an administrator: the first user, for whom the key
// stands, or one with a session.
func (s *Jellyseerr) isAdmin(r *http.Request) bool {
	if key := r.Header.Get("X-Api-Key"); key != "" {
		return key == s.main["apiKey"] && len(s.users) > 0
	}
	cookie, err := r.Cookie("connect.sid")
	if err != nil {
		return false
	}
	user, known := s.sessions[cookie.Value]
	return known && s.users[user]["permissions"] == 2.0
}

// route adds a route for administrators. Its handler holds the mutex.
func (s *Jellyseerr) route(pattern string, handler http.HandlerFunc) {
	method, path, _ := strings.Cut(pattern, " ")
	s.mux.HandleFunc(method+" /api/v1"+path, func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		if !s.isAdmin(r) {
			answer(w, http.StatusForbidden,
				object{"status": 403, "error": "You do not have permission to access this endpoint"})
			return
		}
		handler(w, r)
	})
}

// body reads a body and answers 400 if it has not the shape.
func (s *Jellyseerr) body(w http.ResponseWriter, r *http.Request, shape spec) object {
	var body object
	err := readBody(r, &body)
	if err == nil {
		err = shape.check(body)
	}
	if err != nil {
		answer(w, http.StatusBadRequest, object{"message": "request/body " + err.Error()})
		return nil
	}
	return body
}

func (s *Jellyseerr) login(w http.ResponseWriter, r *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	body := s.body(w, r, spec{
		"username": "string!", "password": "string!", "hostname": "string", "port": "int", "useSsl": "bool",
		"urlBase": "string",
		"email":   "string", "serverType": "int",
	})
	if body == nil {
		return
	}
	fail := func(status int, message string) { answer(w, status, object{"error": message}) }
	switch {
	case s.jellyfin["ip"] != "" && body["hostname"] != nil:
		fail(http.StatusInternalServerError, "Jellyfin hostname already configured")
		return
	case s.jellyfin["ip"] == "" && body["hostname"] == nil:
		fail(http.StatusInternalServerError, "No hostname provided.")
		return
	}
	address := copyOf(s.jellyfin)
	if body["hostname"] != nil {
		address["ip"], address["port"] = body["hostname"], body["port"]
	}
	if s.main["mediaServerType"] != 4.0 && s.main["mediaServerLogin"] == false {
		fail(http.StatusInternalServerError, "Jellyfin login is disabled")
		return
	}
	var session struct{ AccessToken string }
	err := s.ask(address, "", http.MethodPost, "/Users/AuthenticateByName",
		object{"Username": body["username"], "Pw": body["password"]}, &session)
	if err != nil {
		answer(w, http.StatusUnauthorized, object{"message": "INVALID_CREDENTIALS"})
		return
	}
	user := slices.IndexFunc(s.users, func(user object) bool { return user["jellyfinUsername"] == body["username"] })
	if s.main["mediaServerType"] != 4.0 && user < 0 && s.main["newPlexLogin"] == false {
		answer(w, http.StatusForbidden, object{"message": "Access denied."})
		return
	}
	s.inner = session.AccessToken
	if s.main["mediaServerType"] == 4.0 {
		if body["serverType"] != 2.0 {
			fail(http.StatusInternalServerError, "NO_ADMIN_USER")
			return
		}
		var keys struct{ Items []jellyfinKey }
		if err := errors.Join(
			s.ask(address, s.inner, http.MethodPost, "/Auth/Keys?app=Seerr", nil, nil),
			s.ask(address, s.inner, http.MethodGet, "/Auth/Keys", nil, &keys),
		); err != nil {
			fail(http.StatusInternalServerError, err.Error())
			return
		}
		// As in Seerr, the host is taken from the body, also if there is none in it.
		s.jellyfin["ip"], s.jellyfin["port"] = "", 8096.0
		if body["hostname"] != nil {
			s.jellyfin["ip"], s.jellyfin["port"] = body["hostname"], body["port"]
		}
		for _, key := range keys.Items {
			if key.AppName == "Seerr" {
				s.jellyfin["apiKey"] = key.AccessToken
			}
		}
		s.main["mediaServerType"] = 2.0
	}
	if user < 0 {
		permissions := 32.0 // may request
		if len(s.users) == 0 {
			permissions = 2.0
		}
		user = len(s.users)
		s.users = append(s.users, object{"id": float64(user + 1), "jellyfinUsername": body["username"], "permissions": permissions})
		s.wrote(r)
	}
	id := fmt.Sprint(seerrSessionStart, len(s.sessions))
	s.sessions[id] = user
	http.SetCookie(w, &http.Cookie{Name: "connect.sid", Value: id, Path: "/", HttpOnly: true})
	answer(w, http.StatusOK, s.users[user])
}

// ask calls Jellyfin at an address that is stored.
func (s *Jellyseerr) ask(address object, token, method, path string, body, into any) error {
	header := http.Header{"Authorization": {seerrDevice}}
	if token != "" {
		header.Set("Authorization", fmt.Sprintf("%s, Token=%q", seerrDevice, token))
	}
	return fetchWith(method, fmt.Sprintf("http://%v:%v%s", address["ip"], address["port"], path), header, body, into)
}

func (s *Jellyseerr) setMain(w http.ResponseWriter, r *http.Request) {
	body := s.body(w, r, spec{"applicationTitle": "string", "applicationUrl": "string", "localLogin": "bool",
		"mediaServerLogin": "bool", "newPlexLogin": "bool"})
	if body == nil {
		return
	}
	for name, value := range body {
		s.main[name] = value
	}
	s.wrote(r)
	answer(w, http.StatusOK, s.main)
}

func (s *Jellyseerr) setJellyfin(w http.ResponseWriter, r *http.Request) {
	body := s.body(w, r, spec{"ip": "string", "port": "int", "useSsl": "bool", "urlBase": "string"})
	if body == nil {
		return
	}
	address := copyOf(s.jellyfin)
	for name, value := range body {
		address[name] = value
	}
	if err := s.ask(address, fmt.Sprint(s.jellyfin["apiKey"]), http.MethodGet, "/Library/VirtualFolders", nil,
		nil); err != nil {
		answer(w, http.StatusInternalServerError, object{"message": "INVALID_URL"})
		return
	}
	s.jellyfin = address
	s.wrote(r)
	answer(w, http.StatusOK, s.jellyfin)
}

// readLibraries reads the libraries from Jellyfin, and keeps which are enabled.
func (s *Jellyseerr) readLibraries() error {
	var folders []object
	if err := s.ask(s.jellyfin, fmt.Sprint(s.jellyfin["apiKey"]), http.MethodGet, "/Library/VirtualFolders",
		nil, &folders); err != nil {
		return err
	}
	enabled := map[any]any{}
	for _, library := range s.libraries {
		enabled[library["id"]] = library["enabled"]
	}
	s.libraries = nil
	for _, folder := range folders {
		kind := folder["CollectionType"]
		if kind == "movies" || kind == "tvshows" {
			id := folder["ItemId"]
			s.libraries = append(s.libraries, object{"id": id, "name": folder["Name"], "enabled": enabled[id] == true})
		}
	}
	return nil
}

func (s *Jellyseerr) syncLibraries(w http.ResponseWriter, r *http.Request) {
	if s.Legacy {
		answer(w, http.StatusNotFound, object{"message": "not found"})
		return
	}
	if err := s.readLibraries(); err != nil {
		answer(w, http.StatusInternalServerError, object{"message": err.Error()})
		return
	}
	s.wrote(r)
	answer(w, http.StatusOK, append([]object{}, s.libraries...))
}

func (s *Jellyseerr) enableLibrary(w http.ResponseWriter, r *http.Request) {
	if s.Legacy {
		answer(w, http.StatusNotFound, object{"message": "not found"})
		return
	}
	body := s.body(w, r, spec{"enabled": "bool!"})
	if body == nil {
		return
	}
	for _, library := range s.libraries {
		if library["id"] == r.PathValue("id") {
			library["enabled"] = body["enabled"]
			s.wrote(r)
			answer(w, http.StatusOK, library)
			return
		}
	}
	answer(w, http.StatusNotFound, object{"message": "Library does not exist."})
}

// legacyLibraries disables every library that the call does not name.
func (s *Jellyseerr) legacyLibraries(w http.ResponseWriter, r *http.Request) {
	if !s.Legacy {
		answer(w, http.StatusOK, append([]object{}, s.libraries...))
		return
	}
	if r.URL.Query().Has("sync") {
		if err := s.readLibraries(); err != nil {
			answer(w, http.StatusInternalServerError, object{"message": err.Error()})
			return
		}
	}
	enable := strings.Split(r.URL.Query().Get("enable"), ",")
	for _, library := range s.libraries {
		library["enabled"] = false
		for _, id := range enable {
			if library["id"] == id {
				library["enabled"] = true
			}
		}
	}
	s.wrote(r)
	answer(w, http.StatusOK, append([]object{}, s.libraries...))
}

// request gives a request to the default server, with what is stored about it.
func (s *Jellyseerr) request(w http.ResponseWriter, r *http.Request) {
	body := s.body(w, r, spec{"mediaType": "string!", "mediaId": "int!", "title": "string!"})
	if body == nil {
		return
	}
	if !s.initialized {
		answer(w, http.StatusInternalServerError, object{"message": "the set-up has not ended"})
		return
	}
	kind, resource, id := "radarr", "movie", "tmdbId"
	if body["mediaType"] == "tv" {
		kind, resource, id = "sonarr", "series", "tvdbId"
	}
	for _, server := range s.servers[kind] {
		if server["isDefault"] != true || server["is4k"] != false {
			continue
		}
		wanted := object{
			"title": body["title"], id: body["mediaId"], "qualityProfileId": server["activeProfileId"],
			"rootFolderPath": server["activeDirectory"], "monitored": true,
		}
		if err := fetchJSON(http.MethodPost, seerrURL(server)+"/api/v3/"+resource, fmt.Sprint(server["apiKey"]),
			wanted, nil); err != nil {
			answer(w, http.StatusInternalServerError, object{"message": err.Error()})
			return
		}
		s.requests = append(s.requests, body)
		answer(w, http.StatusCreated, object{"id": len(s.requests), "status": 2})
		return
	}
	answer(w, http.StatusInternalServerError, object{"message": "there is no default server"})
}

func seerrURL(server object) string {
	address := url.URL{Scheme: "http", Host: fmt.Sprintf("%v:%v", server["hostname"], server["port"])}
	if server["useSsl"] == true {
		address.Scheme = "https"
	}
	return address.String() + fmt.Sprint(server["baseUrl"])
}
