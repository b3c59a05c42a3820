package plan

import (
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MinSecret is the least number of characters of a secret.
const MinSecret = 16

var (
	identifier    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	interfaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$`)
	libraryTypes  = []string{"movies", "tvshows", "music", "books", "homevideos", "musicvideos", "boxsets", "mixed"}
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// validate reports every value that cannot work.
func (p *Plan) validate(problems *Problems) {
	if p.Version != Version {
		problems.add("version", "must be %d", Version)
	}
	for i, app := range p.Enforce {
		at := index("enforce", i)
		switch {
		case !slices.Contains(Apps(), app):
			problems.add(at, "must be one of %s", apps())
		case !p.Has(app):
			problems.add(at, "names an app that the plan does not have")
		case slices.Contains(p.Enforce[:i], app):
			problems.add(at, "there twice")
		}
	}
	for _, app := range Apps() {
		if common := p.Common(app); common != nil {
			address(problems, string(app)+".url", common.URL)
			if strings.IndexFunc(common.Setting, unicode.IsControl) >= 0 {
				problems.add(string(app)+".setting", "must be one line")
			}
		}
	}
	for _, secret := range p.secrets() {
		strong(problems, secret.Name, secret.Value)
	}
	p.validateApps(problems)
	p.validateTogether(problems)
}

func (p *Plan) validateApps(problems *Problems) {
	if a := p.QBittorrent; a != nil {
		login(problems, "qbittorrent.user", a.User)
		folder(problems, "qbittorrent.savePath", a.SavePath)
		folder(problems, "qbittorrent.tempPath", a.TempPath)
		if within(a.SavePath, a.TempPath) || within(a.TempPath, a.SavePath) {
			problems.add("qbittorrent.tempPath", "must be neither savePath nor below it nor above it")
		}
		if !interfaceName.MatchString(a.Interface) {
			problems.add("qbittorrent.interface", "must be the name of a network interface")
		}
		if a.ListenPort < 0 || a.ListenPort > 65535 {
			problems.add("qbittorrent.listenPort", "must be a port, or 0 for none")
		}
		identifiers(problems, "qbittorrent.categories", a.Categories)
	}
	for _, arr := range []struct {
		at   string
		plan *ServarrPlan
	}{{"radarr", p.Radarr}, {"sonarr", p.Sonarr}} {
		if arr.plan != nil {
			login(problems, arr.at+".user", arr.plan.User)
			folder(problems, arr.at+".rootFolder", arr.plan.RootFolder)
			if strings.TrimSpace(arr.plan.QualityProfile) == "" {
				problems.add(arr.at+".qualityProfile", "must be the name of a quality profile")
			}
		}
	}
	if a := p.Prowlarr; a != nil {
		login(problems, "prowlarr.user", a.User)
		identifiers(problems, "prowlarr.indexers", a.Indexers)
	}
	if a := p.Jackett; a != nil {
		identifiers(problems, "jackett.indexers", a.Indexers)
		if i := slices.Index(a.Indexers, "all"); i >= 0 {
			problems.add(index("jackett.indexers", i), `must not be "all": its results cannot be told apart by indexer`)
		}
	}
	if a := p.Jellyfin; a != nil {
		login(problems, "jellyfin.user", a.User)
		libraries(problems, a.Libraries)
	}
	if a := p.Jellyseerr; a != nil {
		name, domain, ok := strings.Cut(a.Email, "@")
		if !ok || name == "" || domain == "" || strings.ContainsAny(a.Email, " \t\r\n") {
			problems.add("jellyseerr.email", "must be an e-mail address")
		}
		address(problems, "jellyseerr.applicationUrl", a.ApplicationURL)
	}
}

// validateTogether reports what does not fit together.
func (p *Plan) validateTogether(problems *Problems) {
	if p.Jellyseerr != nil && p.Jellyfin == nil {
		problems.add("jellyseerr", "needs jellyfin, from which it knows its users")
	}
	if p.QBittorrent == nil {
		return
	}
	for _, app := range []App{Radarr, Sonarr} {
		if p.Has(app) && !slices.Contains(p.QBittorrent.Categories, string(app)) {
			problems.add("qbittorrent.categories", "must have %s, which the downloads of %s get", app, app)
		}
	}
}

func apps() string {
	var names []string
	for _, app := range Apps() {
		names = append(names, string(app))
	}
	return strings.Join(names, ", ")
}

func address(problems *Problems, at string, value URL) {
	parsed, err := url.Parse(string(value))
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Hostname() == "" ||
		parsed.User != nil || parsed.Path != "" || parsed.RawQuery != "" || parsed.Fragment != "" ||
		strings.HasSuffix(string(value), "#") || strings.HasSuffix(string(value), "?") || value.Port() == 0 {
		problems.add(at, "must be http:// or https://, a host, and optionally a port, with nothing behind it")
	}
}

func strong(problems *Problems, at string, value Secret) {
	if utf8.RuneCountInString(string(value)) < MinSecret {
		problems.add(at, "must have at least %d characters", MinSecret)
	} else if strings.IndexFunc(string(value), unicode.IsControl) >= 0 {
		problems.add(at, "must be one line")
	}
}

func login(problems *Problems, at, value string) {
	if strings.TrimSpace(value) == "" || strings.IndexFunc(value, unicode.IsControl) >= 0 {
		problems.add(at, "must be a login name")
	}
}

func folder(problems *Problems, at, value string) {
	if !path.IsAbs(value) || path.Clean(value) != value || value == "/" ||
		strings.IndexFunc(value, unicode.IsControl) >= 0 {
		problems.add(at, "must be an absolute path without a slash at the end")
	}
}

func within(inner, outer string) bool {
	return inner == outer || strings.HasPrefix(inner, strings.TrimSuffix(outer, "/")+"/")
}

func index(at string, i int) string { return at + "[" + strconv.Itoa(i) + "]" }

func identifiers(problems *Problems, at string, values []string) {
	for i, value := range values {
		if !identifier.MatchString(value) {
			problems.add(index(at, i), "must be letters, digits, dots, hyphens and underscores")
		} else if slices.ContainsFunc(values[:i], func(other string) bool { return strings.EqualFold(other, value) }) {
			problems.add(index(at, i), "there twice")
		}
	}
}

func libraries(problems *Problems, all []Library) {
	for i, library := range all {
		at := index("jellyfin.libraries", i)
		same := func(other Library) bool { return strings.EqualFold(other.Name, library.Name) }
		if strings.TrimSpace(library.Name) == "" || strings.ContainsAny(library.Name, "/\\\r\n") {
			problems.add(at+".name", "must be a name without a slash")
		} else if slices.ContainsFunc(all[:i], same) {
			problems.add(at+".name", "there twice")
		}
		if !slices.Contains(libraryTypes, library.Type) {
			problems.add(at+".type", "must be one of %s", strings.Join(libraryTypes, ", "))
		}
		folder(problems, at+".path", library.Path)
		if strings.Contains(library.Path, ",") {
			problems.add(at+".path", "must have no comma, at which Jellyfin splits paths")
		}
	}
}
