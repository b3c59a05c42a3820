// Package plan reads what the apps of the media stack shall be connected to. A plan is one JSON
// file that the deployment writes. Reading it is strict: a field that is not known, a wrong type or
// a value that cannot work is a problem, all problems are reported at once, and no problem's text
// contains a value.
package plan

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Version is the only version of the format.
const Version = 1

// App is the name of an app, as the plan, the output and the metrics spell it.
type App string

// The apps that a plan can have, in the order in which a pass connects them.
const (
	QBittorrent App = "qbittorrent"
	Jellyfin    App = "jellyfin"
	Radarr      App = "radarr"
	Sonarr      App = "sonarr"
	Jackett     App = "jackett"
	Prowlarr    App = "prowlarr"
	Jellyseerr  App = "jellyseerr"
)

// Apps returns every app in the order in which a pass connects them. Jellyfin comes before Radarr
// and Sonarr, which are given its API keys.
func Apps() []App {
	return []App{QBittorrent, Jellyfin, Radarr, Sonarr, Jackett, Prowlarr, Jellyseerr}
}

// Plan says which apps run and how they are connected. An app that is absent does not run.
type Plan struct {
	// Version is the version of the format; required, 1.
	Version int `json:"version"`
	// Enforce names the apps of which a change that was made by hand is put back. In other apps it
	// is only reported.
	Enforce []App `json:"enforce,omitempty"`

	Jellyfin    *JellyfinPlan    `json:"jellyfin,omitempty"`
	Jellyseerr  *JellyseerrPlan  `json:"jellyseerr,omitempty"`
	Radarr      *ServarrPlan     `json:"radarr,omitempty"`
	Sonarr      *ServarrPlan     `json:"sonarr,omitempty"`
	Prowlarr    *ProwlarrPlan    `json:"prowlarr,omitempty"`
	Jackett     *JackettPlan     `json:"jackett,omitempty"`
	QBittorrent *QBittorrentPlan `json:"qbittorrent,omitempty"`
}

// Common is what every app has.
type Common struct {
	// URL is where the app answers, for us and for the other apps: http or https, a host, and
	// optionally a port; required.
	URL URL `json:"url"`
	// Setting is the operator's setting that this app comes from, such as
	// "homelab:services.radarr". Errors name it. Optional.
	Setting string `json:"setting,omitempty"`
}

// JellyfinPlan is how we log in to Jellyfin, and its libraries.
type JellyfinPlan struct {
	Common
	// User is the login of an administrator; required.
	User string `json:"user"`
	// Password is the user's password at the first login; required, at least 16 characters. After
	// that we have API keys, and the password may be changed in Jellyfin.
	Password Secret `json:"password"`
	// Libraries are added where they are missing, and never removed.
	Libraries []Library `json:"libraries,omitempty"`
}

// Library is a library of Jellyfin.
type Library struct {
	// Name is unique without regard to case; required.
	Name string `json:"name"`
	// Type is movies, tvshows, music, books, homevideos, musicvideos, boxsets or mixed; required.
	Type string `json:"type"`
	// Path is an absolute path in Jellyfin's container, without a comma; required.
	Path string `json:"path"`
}

// JellyseerrPlan is what Jellyseerr, now called Seerr, is set to. Its first user is the
// administrator of Jellyfin, as whom we log in once to read the API key that it made itself.
type JellyseerrPlan struct {
	Common
	// Email is the address of its first user; required.
	Email string `json:"email"`
	// ApplicationURL is where people open it; required.
	ApplicationURL URL `json:"applicationUrl"`
}

// ServarrPlan is how we log in to Radarr or Sonarr, and what it does with what it downloads.
type ServarrPlan struct {
	Common
	// APIKey is the key that its environment sets; required, at least 16 characters.
	APIKey Secret `json:"apiKey"`
	// User and Password are the login of its pages; required, the password at least 16 characters.
	User     string `json:"user"`
	Password Secret `json:"password"`
	// RootFolder is the folder that it imports into, an absolute path in its container; required.
	RootFolder string `json:"rootFolder"`
	// QualityProfile is the name of the profile that requests get; required.
	QualityProfile string `json:"qualityProfile"`
}

// ProwlarrPlan is how we log in to Prowlarr, and its own indexers.
type ProwlarrPlan struct {
	Common
	// APIKey is the key that its environment sets; required, at least 16 characters.
	APIKey Secret `json:"apiKey"`
	// User and Password are the login of its pages; required, the password at least 16 characters.
	User     string `json:"user"`
	Password Secret `json:"password"`
	// Indexers are public indexers by Prowlarr's definition name, such as "1337x".
	Indexers []string `json:"indexers,omitempty"`
}

// JackettPlan is how we log in to Jackett, and the indexers that Prowlarr gets from it.
type JackettPlan struct {
	Common
	// APIKey opens Torznab; required, at least 16 characters.
	APIKey Secret `json:"apiKey"`
	// Password is the administrator's; required, at least 16 characters.
	Password Secret `json:"password"`
	// Indexers are public indexers by Jackett's id, such as "rarbg"; never "all".
	Indexers []string `json:"indexers,omitempty"`
}

// QBittorrentPlan is how we log in to qBittorrent, and where it puts what it downloads.
type QBittorrentPlan struct {
	Common
	// User and Password are the login of its pages; required, the password at least 16 characters.
	User     string `json:"user"`
	Password Secret `json:"password"`
	// SavePath is for complete downloads and TempPath for those under way; required, absolute paths
	// in its container, none below the other.
	SavePath string `json:"savePath"`
	TempPath string `json:"tempPath"`
	// Interface is the only network interface that it uses, such as "tun0"; required.
	Interface string `json:"interface"`
	// ListenPort is where others may connect, from 1 to 65535. 0, the default, leaves the port to
	// qBittorrent, or to who tells it which one a VPN has forwarded.
	ListenPort int `json:"listenPort,omitempty"`
	// Categories get a folder below SavePath each. Radarr and Sonarr use the one of their own name.
	Categories []string `json:"categories,omitempty"`
}

// Secret is a value that no output shows.
type Secret string

// String hides the value, so that printing a plan does not show it.
func (Secret) String() string { return "(secret)" }

// GoString hides the value as String does.
func (Secret) GoString() string { return "(secret)" }

// URL is where an app answers, without a slash at the end.
type URL string

// Host returns the host without the port.
func (u URL) Host() string {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return ""
	}
	return parsed.Hostname()
}

// Port returns the port, or the scheme's own.
func (u URL) Port() int {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return 0
	}
	if port, err := strconv.Atoi(parsed.Port()); err == nil {
		return port
	}
	if u.TLS() {
		return 443
	}
	return 80
}

// TLS reports whether the scheme is https.
func (u URL) TLS() bool { return strings.HasPrefix(string(u), "https://") }

// Common returns what every app has, or nil for an app that the plan does not have.
func (p *Plan) Common(app App) *Common {
	switch {
	case app == QBittorrent && p.QBittorrent != nil:
		return &p.QBittorrent.Common
	case app == Radarr && p.Radarr != nil:
		return &p.Radarr.Common
	case app == Sonarr && p.Sonarr != nil:
		return &p.Sonarr.Common
	case app == Jackett && p.Jackett != nil:
		return &p.Jackett.Common
	case app == Prowlarr && p.Prowlarr != nil:
		return &p.Prowlarr.Common
	case app == Jellyfin && p.Jellyfin != nil:
		return &p.Jellyfin.Common
	case app == Jellyseerr && p.Jellyseerr != nil:
		return &p.Jellyseerr.Common
	}
	return nil
}

// Has reports whether the plan has the app.
func (p *Plan) Has(app App) bool { return p.Common(app) != nil }

// Enforces reports whether a change by hand is put back in the app.
func (p *Plan) Enforces(app App) bool { return slices.Contains(p.Enforce, app) }

// NamedSecret is a secret and the name that output has in its place.
type NamedSecret struct {
	Name  string
	Value Secret
}

// secrets returns the secrets of the plan by their path.
func (p *Plan) secrets() []NamedSecret {
	var all []NamedSecret
	add := func(path string, value Secret) { all = append(all, NamedSecret{path, value}) }
	if a := p.QBittorrent; a != nil {
		add("qbittorrent.password", a.Password)
	}
	for _, arr := range []struct {
		name string
		plan *ServarrPlan
	}{{"radarr", p.Radarr}, {"sonarr", p.Sonarr}} {
		if arr.plan != nil {
			add(arr.name+".apiKey", arr.plan.APIKey)
			add(arr.name+".password", arr.plan.Password)
		}
	}
	if a := p.Jackett; a != nil {
		add("jackett.apiKey", a.APIKey)
		add("jackett.password", a.Password)
	}
	if a := p.Prowlarr; a != nil {
		add("prowlarr.apiKey", a.APIKey)
		add("prowlarr.password", a.Password)
	}
	if a := p.Jellyfin; a != nil {
		add("jellyfin.password", a.Password)
	}
	return all
}

// Redact replaces every secret of the plan, and more, in text, also where it is escaped for a URL
// or for JSON. It is the last step before anything is printed, because a server's answer can repeat
// what it was sent.
func (p *Plan) Redact(text string, more ...NamedSecret) string {
	secrets := append(p.secrets(), more...)
	// A secret can be part of a longer one.
	slices.SortStableFunc(secrets, func(a, b NamedSecret) int { return len(b.Value) - len(a.Value) })
	for _, secret := range secrets {
		value := string(secret.Value)
		if value == "" {
			continue
		}
		for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value), escapeJSON(value)} {
			text = strings.ReplaceAll(text, form, "("+secret.Name+")")
		}
	}
	return text
}

func escapeJSON(value string) string {
	data, err := json.Marshal(value)
	if err != nil {
		return value
	}
	return strings.Trim(string(data), `"`)
}
