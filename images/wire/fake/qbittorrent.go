package fake

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// QBittorrent is qBittorrent's WebAPI: version 5.2's, or that of earlier versions if Old is set.
type QBittorrent struct {
	*Server
	// Old answers a login with 200 and "Ok." or "Fails.", and shows a folder with a slash at its
	// end.
	Old bool
	// Banned says that five logins failed.
	Banned      bool
	password    string
	failures    int
	sessions    map[string]bool
	preferences object
	categories  map[string]string
	torrents    []object
	transfer    object
	ended       int // sessions
}

func newQBittorrent() *QBittorrent {
	q := &QBittorrent{
		Server: newServer("qbittorrent"), password: QBittorrentPassword, sessions: map[string]bool{},
		categories: map[string]string{},
		preferences: object{
			"save_path": "/root/Downloads", "temp_path": "/root/Downloads/temp", "temp_path_enabled": false,
			"auto_tmm_enabled": false, "current_network_interface": "", "upnp": true, "web_ui_upnp": true,
			"max_ratio":         -1.0,
			"max_ratio_enabled": false, "max_ratio_act": 1.0, "listen_port": 6881.0,
		},
	}
	q.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	q.mux.HandleFunc("POST /api/v2/auth/login", q.login)
	q.route("GET app/preferences", func(w http.ResponseWriter, _ *http.Request) {
		shown := copyOf(q.preferences)
		if q.Old {
			shown["save_path"] = fmt.Sprint(shown["save_path"], "/")
		}
		answer(w, http.StatusOK, shown)
	})
	q.route("POST app/setPreferences", q.setPreferences)
	q.route("GET torrents/categories", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, q.categoryList())
	})
	q.route("POST torrents/createCategory", q.createCategory)
	q.route("POST torrents/editCategory", q.editCategory)
	q.route("POST torrents/add", q.add)
	q.route("POST torrents/delete", q.remove)
	q.route("GET torrents/info", q.info)
	q.measures()
	return q
}

// SetPassword changes the password by hand.
func (q *QBittorrent) SetPassword(password string) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.password = password
}

// SetPreference changes a preference by hand, or removes it if the value is nil.
func (q *QBittorrent) SetPreference(name string, value any) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if value == nil {
		delete(q.preferences, name)
		return
	}
	q.preferences[name] = value
}

// Preference returns a preference.
func (q *QBittorrent) Preference(name string) any {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return q.preferences[name]
}

func (q *QBittorrent) snapshot() any {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return copyOf(object{"preferences": q.preferences, "categories": q.categories})
}

func (q *QBittorrent) cookie() string {
	if q.Old {
		return "SID"
	}
	return fmt.Sprintf("QBT_SID_%d", q.port())
}

func (q *QBittorrent) login(w http.ResponseWriter, r *http.Request) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if q.failures >= 5 {
		q.Banned = true
		http.Error(w, "Your IP address has been banned", http.StatusForbidden)
		return
	}
	if r.PostFormValue("username") != User || r.PostFormValue("password") != q.password {
		q.failures++
		if q.Old {
			fmt.Fprint(w, "Fails.")
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	q.failures = 0
	session := fmt.Sprint("session", len(q.sessions)+q.ended)
	q.sessions[session] = true
	http.SetCookie(w, &http.Cookie{Name: q.cookie(), Value: session, Path: "/", HttpOnly: true})
	if q.Old {
		fmt.Fprint(w, "Ok.")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// route adds a route for who has logged in. Its handler holds the mutex.
func (q *QBittorrent) route(pattern string, handler http.HandlerFunc) {
	method, name, _ := strings.Cut(pattern, " ")
	q.mux.HandleFunc(method+" /api/v2/"+name, func(w http.ResponseWriter, r *http.Request) {
		q.mutex.Lock()
		defer q.mutex.Unlock()
		cookie, err := r.Cookie(q.cookie())
		if err != nil || !q.sessions[cookie.Value] {
			http.Error(w, "Forbidden", http.StatusForbidden)
			return
		}
		handler(w, r)
	})
}

func (q *QBittorrent) setPreferences(w http.ResponseWriter, r *http.Request) {
	var changes object
	if err := json.Unmarshal([]byte(r.PostFormValue("json")), &changes); err != nil || len(changes) == 0 {
		http.Error(w, "json is missing", http.StatusBadRequest)
		return
	}
	for name, value := range changes {
		old, known := q.preferences[name]
		if !known || kindOf(old) != kindOf(value) {
			http.Error(w, "no such preference: "+name, http.StatusBadRequest)
			return
		}
	}
	for name, value := range changes {
		q.preferences[name] = value
	}
	q.wrote(r)
}

func (q *QBittorrent) categoryList() object {
	list := object{}
	for name, folder := range q.categories {
		list[name] = object{"name": name, "savePath": folder}
	}
	return list
}

func (q *QBittorrent) createCategory(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("category")
	if _, there := q.categories[name]; there || name == "" {
		http.Error(w, "there already", http.StatusConflict)
		return
	}
	q.categories[name] = r.PostFormValue("savePath")
	q.wrote(r)
}

func (q *QBittorrent) editCategory(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("category")
	if _, there := q.categories[name]; !there {
		http.Error(w, "no such category", http.StatusNotFound)
		return
	}
	q.categories[name] = r.PostFormValue("savePath")
	q.wrote(r)
}

// add downloads at once what is in a torrent's file. It takes only a category that it knows, to
// which a folder belongs.
func (q *QBittorrent) add(w http.ResponseWriter, r *http.Request) {
	upload, _, err := r.FormFile("torrents")
	if err != nil {
		http.Error(w, "there is no torrent", http.StatusBadRequest)
		return
	}
	defer upload.Close()
	torrent, err := io.ReadAll(upload)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name, err := torrentName(torrent)
	if err != nil {
		http.Error(w, "Error: it is not a valid torrent file.", http.StatusUnsupportedMediaType)
		return
	}
	category := r.FormValue("category")
	folder, known := q.categories[category]
	if !known {
		http.Error(w, "no such category", http.StatusConflict)
		return
	}
	if q.preferences["auto_tmm_enabled"] != true || q.preferences["current_network_interface"] != "tun0" {
		http.Error(w, "it would download to another folder or past the tunnel", http.StatusConflict)
		return
	}
	file := filepath.Join(folder, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err := os.WriteFile(file, []byte("the content of "+name), 0o600); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	q.torrents = append(q.torrents, object{"hash": fmt.Sprintf("%x", sha1.Sum(torrent)), "name": name, "category": category,
		"content_path": file, "state": "stalledUP", "progress": 1, "ratio": 0, "ratio_limit": -2})
	fmt.Fprint(w, "Ok.")
}

// StopSeeding stops what has been seeded up to its ratio.
func (q *QBittorrent) StopSeeding() {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	for _, torrent := range q.torrents {
		torrent["state"], torrent["ratio"], torrent["ratio_limit"] = "stoppedUP", 2, 2
	}
}

func (q *QBittorrent) remove(w http.ResponseWriter, r *http.Request) {
	kept := []object{}
	for _, torrent := range q.torrents {
		if torrent["hash"] != r.PostFormValue("hashes") {
			kept = append(kept, torrent)
		} else if r.PostFormValue("deleteFiles") == "true" {
			if err := os.Remove(fmt.Sprint(torrent["content_path"])); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
	}
	q.torrents = kept
}

func (q *QBittorrent) info(w http.ResponseWriter, r *http.Request) {
	list := []object{}
	for _, torrent := range q.torrents {
		if category := r.URL.Query().Get("category"); category == "" || torrent["category"] == category {
			list = append(list, torrent)
		}
	}
	answer(w, http.StatusOK, list)
}
