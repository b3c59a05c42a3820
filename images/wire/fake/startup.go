package fake

import (
	"fmt"
	"net/http"
	"strings"
)

// What Jellyfin 10.11 answers to a first set-up (Jellyfin.Api/Controllers/StartupController.cs,
// Auth/FirstTimeSetupPolicy), which is anybody's until it is complete, and nobody's without a login
// afterwards.

// firstUser is what Jellyfin calls its first user until somebody names it.
const firstUser = "MyJellyfinUser"

// startups adds the set-up, and what Jellyfin says of itself to everybody.
func (j *Jellyfin) startups() {
	j.route("GET /System/Info/Public", anybody, func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, object{"LocalAddress": "http://" + r.Host, "ServerName": "jellyfin", "Version": JellyfinVersion,
			"ProductName": "Jellyfin Server", "OperatingSystem": "", "Id": "00000000000000000000000000000000",
			"StartupWizardCompleted": j.completed})
	})
	j.mux.Handle("GET /{$}", http.RedirectHandler("web/", http.StatusFound))
	j.mux.HandleFunc("GET /web/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>Jellyfin</title><p>This is a stand-in for Jellyfin.</p>")
	})
	j.startup("GET /Startup/User", nil, func(w http.ResponseWriter, _ object) {
		if j.name == "" {
			j.name = firstUser
		}
		answer(w, http.StatusOK, object{"Name": j.name})
	})
	j.startup("POST /Startup/Configuration", spec{"ServerName": "string", "UICulture": "string", "MetadataCountryCode": "string",
		"PreferredMetadataLanguage": "string"}, done)
	j.startup("POST /Startup/User", spec{"Name": "string!", "Password": "string!"}, j.nameUser)
	j.startup("POST /Startup/RemoteAccess", spec{"EnableRemoteAccess": "bool!", "EnableAutomaticPortMapping": "bool!"}, done)
	j.startup("POST /Startup/Complete", nil, func(w http.ResponseWriter, body object) {
		j.completed = true
		done(w, body)
	})
}

func done(w http.ResponseWriter, _ object) { w.WriteHeader(http.StatusNoContent) }

// startup adds a step of the set-up. A step with a shape wants a body of it.
func (j *Jellyfin) startup(pattern string, shape spec, handler func(w http.ResponseWriter, body object)) {
	j.route(pattern, anybody, func(w http.ResponseWriter, r *http.Request) {
		if j.completed && !j.sessions[token(r)] {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var body object
		if shape != nil {
			if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
				w.WriteHeader(http.StatusUnsupportedMediaType)
				return
			}
			err := readBody(r, &body)
			if err == nil {
				err = shape.check(body)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		handler(w, body)
		if r.Method != http.MethodGet {
			j.wrote(r)
		}
	})
}

// nameUser names the first user, who must have been asked for.
func (j *Jellyfin) nameUser(w http.ResponseWriter, body object) {
	name, password := fmt.Sprint(body["Name"]), fmt.Sprint(body["Password"])
	switch {
	case j.name == "":
		w.WriteHeader(http.StatusNotFound)
	case j.Twelve && j.password != "":
		w.WriteHeader(http.StatusForbidden)
	case strings.TrimSpace(password) == "":
		w.WriteHeader(http.StatusBadRequest)
	default:
		j.name, j.password = name, password
		w.WriteHeader(http.StatusNoContent)
	}
}
