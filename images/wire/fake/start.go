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
	// Releases are the torrents that Jackett's indexers have, by their titles.
	Releases map[string][]byte `json:"releases,omitempty"`
}

// App is an app of its own.
type App struct {
	http.Handler
	// Refresh is what the app does by itself every minute; nil for nothing.
	Refresh func() error
}

// Start returns an app by its name, for a process of its own. It finds the others under the
// addresses that are stored in it, and nowhere else. The log gets a line for every request, before
// it is answered, for what a request has changed, and for what the app does by itself.
func Start(name string, settings Settings, log func(line string)) (*App, error) {
	switch name {
	case "radarr", "sonarr":
		kind := radarrKind
		if name == "sonarr" {
			kind = sonarrKind
		}
		s := newServarr(kind)
		s.key, s.Server.log = settings.Key, log
		return &App{s, s.Refresh}, nil
	case "prowlarr":
		p := newProwlarr()
		p.key, p.Server.log = settings.Key, log
		return &App{Handler: p}, nil
	case "jackett":
		j := newJackett()
		j.key, j.password, j.Releases, j.log = settings.Key, settings.Password, settings.Releases, log
		return &App{Handler: j}, nil
	case "jellyfin":
		j := newJellyfin()
		j.password, j.log = settings.Password, log
		return &App{Handler: j}, nil
	case "jellyseerr":
		s := newJellyseerr()
		s.log = log
		return &App{Handler: s}, nil
	}
	return nil, fmt.Errorf("there is no fake of %q", name)
}
