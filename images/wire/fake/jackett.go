package fake

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"unicode/utf16"
)

// Jackett searches indexers for who has the key. Its administration needs the cookie of a login.
type Jackett struct {
	*Server
	key      string
	password string
	// passwordHash is what the real one keeps; if it is set, password is not.
	passwordHash string
	session      string // the cookie of who has logged in
	configured   map[string]bool
	order        []string
	down         map[string]bool
	// Releases are the torrents that its indexers have, by their titles.
	Releases map[string][]byte
}

func newJackett() *Jackett {
	j := &Jackett{
		Server: newServer("jackett"), key: JackettKey, password: JackettPassword, session: rand.Text(), configured: map[string]bool{}, down: map[string]bool{},
		order: []string{"rarbg", "eztv", "private"},
		Releases: map[string][]byte{
			"The.Matrix.1999.1080p": torrentOf("The.Matrix.1999.1080p.mkv"), "Cosmos.S01E01.1080p": torrentOf("Cosmos.S01E01.1080p.mkv"),
		},
	}
	j.mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	j.mux.HandleFunc("POST /UI/Dashboard", func(w http.ResponseWriter, r *http.Request) {
		j.mutex.Lock()
		defer j.mutex.Unlock()
		if j.opens(r.PostFormValue("password")) {
			http.SetCookie(w, &http.Cookie{Name: "Jackett", Value: j.session, Path: "/"})
		}
		http.Redirect(w, r, "/UI/Dashboard", http.StatusFound)
	})
	j.route("GET /api/v2.0/indexers", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, j.list())
	})
	j.route("GET /api/v2.0/indexers/{id}/Config", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, jackettConfig(r.PathValue("id")))
	})
	j.route("POST /api/v2.0/indexers/{id}/Config", j.configure)
	j.route("DELETE /api/v2.0/indexers/{id}", func(w http.ResponseWriter, r *http.Request) {
		delete(j.configured, r.PathValue("id"))
		j.wrote(r)
		w.WriteHeader(http.StatusNoContent)
	})
	j.mux.HandleFunc("GET /api/v2.0/indexers/{id}/results/torznab", j.torznab)
	j.mux.HandleFunc("GET /api/v2.0/indexers/{id}/results/torznab/api", j.torznab)
	j.mux.HandleFunc("GET /dl/{id}/{$}", j.file)
	return j
}

// SetSiteDown makes the site of an indexer not answer, or answer again.
func (j *Jackett) SetSiteDown(id string, down bool) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.down[id] = down
}

func (j *Jackett) isSiteDown(id string) bool {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.down[id]
}

// Configure configures an indexer by hand.
func (j *Jackett) Configure(id string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.configured[id] = true
}

// Configured reports whether an indexer is configured.
func (j *Jackett) Configured(id string) bool {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.configured[id]
}

// opens reports whether a password is the administrator's.
func (j *Jackett) opens(password string) bool {
	if j.passwordHash == "" {
		return password == j.password
	}
	var text []byte
	for _, unit := range utf16.Encode([]rune(password + j.key)) {
		text = binary.LittleEndian.AppendUint16(text, unit)
	}
	sum := sha512.Sum512(text)
	return hex.EncodeToString(sum[:]) == j.passwordHash
}

// SetPassword changes the administrator's password by hand.
func (j *Jackett) SetPassword(password string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.password = password
}

func (j *Jackett) snapshot() any {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return copyOf(j.configured)
}

// route adds a route for who has the cookie; everybody else is sent to the login.
func (j *Jackett) route(pattern string, handler http.HandlerFunc) {
	j.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("Jackett")
		if err != nil || cookie.Value != j.session {
			http.Redirect(w, r, "/UI/Login", http.StatusFound)
			return
		}
		j.mutex.Lock()
		defer j.mutex.Unlock()
		handler(w, r)
	})
}

func (j *Jackett) list() []object {
	list := []object{}
	for _, id := range j.order {
		list = append(list, object{"id": id, "name": id, "type": "public", "configured": j.configured[id]})
	}
	return list
}

func jackettConfig(id string) []object {
	config := []object{
		{"id": "sitelink", "type": "inputstring", "name": "Site Link", "value": "https://example.org/"},
		{"id": "sort", "type": "inputselect", "name": "Sort", "value": "created",
			"options": object{"created": "created"}},
	}
	if id == "private" {
		config = append(config, object{"id": "username", "type": "inputstring", "name": "Username", "value": ""})
	}
	return config
}

// configure takes a configuration that is complete.
func (j *Jackett) configure(w http.ResponseWriter, r *http.Request) {
	var config []object
	id := r.PathValue("id")
	if err := readBody(r, &config); err != nil {
		answer(w, http.StatusInternalServerError, object{"error": err.Error()})
		return
	}
	wanted := jackettConfig(id)
	if len(config) != len(wanted) {
		answer(w, http.StatusInternalServerError, object{"error": "the configuration is not complete"})
		return
	}
	for i, item := range wanted {
		if config[i]["id"] != item["id"] || !equal(config[i]["value"], item["value"]) || item["id"] == "username" {
			answer(w, http.StatusInternalServerError, object{"error": fmt.Sprintf("bad value of %v", item["id"])})
			return
		}
	}
	if j.down[id] {
		answer(w, http.StatusInternalServerError, object{"error": "Exception (" + id + "): the site does not answer"})
		return
	}
	j.configured[id] = true
	j.wrote(r)
	w.WriteHeader(http.StatusNoContent)
}

func (j *Jackett) torznab(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("apikey") != j.key {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `<error code="100" description="Invalid API Key" />`)
		return
	}
	id := r.PathValue("id")
	if id != "all" && !j.Configured(id) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<error code="201" description="Indexer is not configured" />`)
		return
	}
	if j.isSiteDown(id) {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, `<error code="900" description="%s does not answer" />`, id)
		return
	}
	switch query.Get("t") {
	case "caps":
		fmt.Fprint(w, "<caps/>")
	case "indexers":
		j.indexers(w, id, query.Get("configured"))
	case "search":
		var found rss
		for _, title := range slices.Sorted(maps.Keys(j.Releases)) {
			// By the name that it was asked under.
			more := url.Values{"jackett_apikey": {j.key}, "path": {title}, "file": {title}}
			link := fmt.Sprintf("http://%s/dl/%s/?%s", r.Host, id, more.Encode())
			found.Items = append(found.Items, rssItem{Title: title, Link: link})
		}
		_ = xml.NewEncoder(w).Encode(found)
	default:
		http.Error(w, "no such function", http.StatusBadRequest)
	}
}

func (j *Jackett) file(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	torrent, known := j.Releases[query.Get("path")]
	switch {
	case query.Get("jackett_apikey") != j.key:
		http.Error(w, "wrong key", http.StatusUnauthorized)
	case !j.Configured(r.PathValue("id")) || !known:
		http.Error(w, "there is no such release", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "application/x-bittorrent")
		_, _ = w.Write(torrent)
	}
}
