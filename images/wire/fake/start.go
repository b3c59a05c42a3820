package fake

import (
	"fmt"
	"net/http"
)

// Settings are what an app of its own was started with, in the place of what New starts it with.
type Settings struct {
	// Key is its API key, and Password that of its administrator; of those that have one.
	Key      string `json:"key,omitempty"`
	Password string `json:"password,omitempty"`
	// PasswordHash is what Jackett keeps of its password, in the place of Password: the SHA-512 in
	// hexadecimal of the password and the key in UTF-16LE.
	PasswordHash string `json:"passwordHash,omitempty"`
	// Unclaimed starts Jellyfin before its first set-up, without an administrator.
	Unclaimed bool `json:"unclaimed,omitempty"`
	// Login is how Radarr, Sonarr and Prowlarr have people log in, as their config.xml says it in
	// small letters; empty is none.
	Login string `json:"login,omitempty"`
	// Releases are the torrents that Jackett's indexers have, by their titles.
	Releases map[string][]byte `json:"releases,omitempty"`
}

// App is an app of its own.
type App struct {
	http.Handler
	// Refresh is what the app does by itself every minute; nil for nothing.
	Refresh func() error

	server *Server
	keeps  keeps
}

// Start returns an app by its name, for a process of its own. It finds the others under the
// addresses that are stored in it, and nowhere else. The log gets a line for every request, before
// it is answered, for what a request has changed, and for what the app does by itself.
func Start(name string, settings Settings, log func(line string)) (*App, error) {
	app, err := start(name, settings)
	if err != nil {
		return nil, err
	}
	app.server.log, app.Handler = log, app.server
	return app, nil
}

func start(name string, settings Settings) (*App, error) {
	switch name {
	case "radarr", "sonarr":
		kind := radarrKind
		if name == "sonarr" {
			kind = sonarrKind
		}
		s := newServarr(kind)
		s.begin(settings)
		return &App{Refresh: s.Refresh, server: s.Server, keeps: s.keeps()}, nil
	case "prowlarr":
		p := newProwlarr()
		p.begin(settings)
		return &App{server: p.Server, keeps: p.keeps()}, nil
	case "jackett":
		j := newJackett()
		j.key, j.password, j.passwordHash, j.Releases = settings.Key, settings.Password, settings.PasswordHash, settings.Releases
		return &App{server: j.Server, keeps: j.keeps()}, nil
	case "jellyfin":
		j := newJellyfin()
		j.password = settings.Password
		if settings.Unclaimed {
			j.name, j.completed = "", false
		}
		return &App{server: j.Server, keeps: j.keeps()}, nil
	case "jellyseerr":
		s := newJellyseerr()
		if settings.Key != "" {
			s.main["apiKey"] = settings.Key
		}
		return &App{server: s.Server, keeps: s.keeps()}, nil
	}
	return nil, fmt.Errorf("there is no fake of %q", name)
}

func (a *arr) begin(settings Settings) {
	a.key = settings.Key
	if settings.Login != "" {
		a.configs["host"]["authenticationMethod"] = settings.Login
	}
}
