// Package fake has stand-ins for the APIs of the media stack, for tests. They are as strict as the
// apps, and stricter where an app silently ignores a mistake: they refuse fields that they do not
// know, wrong types, wrong keys and a wrong order. They act on each other over HTTP with nothing
// but what was stored in them.
package fake

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Passwords and keys that the apps were started with.
const (
	User                = "admin"
	Email               = "ops@example.com"
	QBittorrentPassword = "qbittorrent/password+1234"
	RadarrKey           = "radarr-key-0123456789abcdef"
	RadarrPassword      = "radarr password 12345678"
	SonarrKey           = "sonarr-key-0123456789abcdef"
	SonarrPassword      = "sonarr-password-12345678"
	ProwlarrKey         = "prowlarr-key-0123456789abcdef"
	ProwlarrPassword    = "prowlarr-password-12345678"
	JackettKey          = "jackett-key-0123456789abcdef"
	JackettPassword     = "jackett-password-12345678"
	JellyfinPassword    = "jellyfin-password-12345678"
	// JellyseerrKey is the key that Jellyseerr made itself; the plan does not have it.
	JellyseerrKey = "jellyseerr-key-0123456789abcdef"
)

// object is a JSON object.
type object = map[string]any

// Server is what every fake has.
type Server struct {
	name   string
	http   *httptest.Server
	mux    *http.ServeMux
	mutex  sync.Mutex
	writes []string
	down   bool
	log    func(line string)
	// hanging and faults are what is wrong with its answers.
	hanging bool
	faults  map[string]fault
}

func newServer(name string) *Server {
	return &Server{name: name, mux: http.NewServeMux(), log: func(string) {}, faults: map[string]fault{}}
}

// ServeHTTP answers a request. Its line in the log comes before those of what it leads to.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line := s.name + " " + r.Method + " " + r.URL.Path
	if function := r.URL.Query().Get("t"); function != "" {
		line += "?t=" + function
	}
	s.log(line)
	if s.isDown() {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	if !s.fails(w, r) {
		s.mux.ServeHTTP(w, r)
	}
}

// URL is where the fake answers.
func (s *Server) URL() string { return s.http.URL }

// SetDown makes the fake answer 503 to everything, or no longer.
func (s *Server) SetDown(down bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.down = down
}

func (s *Server) isDown() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.down
}

// Stop closes the fake: it refuses connections.
func (s *Server) Stop() { s.http.Close() }

// wrote counts a request that changed what is stored.
func (s *Server) wrote(r *http.Request) {
	write := r.Method + " " + r.URL.Path
	s.writes = append(s.writes, write)
	s.log(s.name + " wrote by " + write)
}

// Writes returns the requests that changed what is stored.
func (s *Server) Writes() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.writes)
}

// host and port are as other apps are told them.
func (s *Server) port() int {
	parsed, err := url.Parse(s.http.URL)
	if err != nil {
		return 0
	}
	port, _ := strconv.Atoi(parsed.Port())
	return port
}

// Stack is all fakes, and the folders that they share.
type Stack struct {
	// Dir holds the folders: downloads, and box for the storage box.
	Dir         string
	QBittorrent *QBittorrent
	Radarr      *Servarr
	Sonarr      *Servarr
	Prowlarr    *Prowlarr
	Jackett     *Jackett
	Jellyfin    *Jellyfin
	Jellyseerr  *Jellyseerr
}

// New starts all fakes as the apps are after their first start.
func New(t testing.TB) *Stack {
	s := &Stack{Dir: t.TempDir()}
	for _, folder := range []string{"box/movies", "box/tv", "downloads/complete", "downloads/incomplete"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.QBittorrent = newQBittorrent()
	s.Radarr = newServarr(radarrKind)
	s.Sonarr = newServarr(sonarrKind)
	s.Prowlarr = newProwlarr()
	s.Jackett = newJackett()
	s.Jellyfin = newJellyfin()
	s.Jellyseerr = newJellyseerr()
	for _, server := range s.Servers() {
		server.http = httptest.NewServer(server)
		t.Cleanup(server.http.Close)
	}
	return s
}

// Servers returns the fakes by the name of the app.
func (s *Stack) Servers() map[string]*Server {
	return map[string]*Server{
		"qbittorrent": s.QBittorrent.Server, "radarr": s.Radarr.Server, "sonarr": s.Sonarr.Server,
		"prowlarr": s.Prowlarr.Server,
		"jackett":  s.Jackett.Server, "jellyfin": s.Jellyfin.Server, "jellyseerr": s.Jellyseerr.Server,
	}
}

// Writes returns what changed something since the start, by the name of the app.
func (s *Stack) Writes() []string {
	var all []string
	servers := s.Servers()
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		for _, write := range servers[name].Writes() {
			all = append(all, name+" "+write)
		}
	}
	return all
}

// Snapshot returns everything that is stored, as JSON in which addresses are names, so that it can
// be compared with another stack's.
func (s *Stack) Snapshot() string {
	data, err := json.MarshalIndent(object{
		"qbittorrent": s.QBittorrent.snapshot(), "radarr": s.Radarr.snapshot(), "sonarr": s.Sonarr.snapshot(),
		"prowlarr": s.Prowlarr.snapshot(), "jackett": s.Jackett.snapshot(), "jellyfin": s.Jellyfin.snapshot(),
		"jellyseerr": s.Jellyseerr.snapshot(),
	}, "", " ")
	if err != nil {
		return err.Error()
	}
	text := strings.ReplaceAll(string(data), s.Dir, "DIR")
	for name, server := range s.Servers() {
		text = strings.ReplaceAll(text, server.URL(), "http://"+name)
		// Its digits can also be in a key.
		text = regexp.MustCompile(fmt.Sprintf(`\b%d\b`, server.port())).ReplaceAllString(text, "PORT-"+name)
	}
	return text
}

// Plan returns the plan of everything, as an object that a test can change.
func (s *Stack) Plan() map[string]any {
	movies, tv := filepath.Join(s.Dir, "box/movies"), filepath.Join(s.Dir, "box/tv")
	return object{
		"version": 1,
		"qbittorrent": object{
			"url": s.QBittorrent.URL(), "setting": "homelab:services.qbittorrent", "user": User,
			"password":  QBittorrentPassword,
			"savePath":  filepath.Join(s.Dir, "downloads/complete"),
			"tempPath":  filepath.Join(s.Dir, "downloads/incomplete"),
			"interface": "tun0", "categories": []any{"radarr", "sonarr"},
		},
		"radarr": object{
			"url": s.Radarr.URL(), "setting": "homelab:services.radarr", "apiKey": RadarrKey, "user": User,
			"password": RadarrPassword, "rootFolder": movies, "qualityProfile": "HD-1080p",
		},
		"sonarr": object{
			"url": s.Sonarr.URL(), "setting": "homelab:services.sonarr", "apiKey": SonarrKey, "user": User,
			"password": SonarrPassword, "rootFolder": tv, "qualityProfile": "HD-1080p",
		},
		"prowlarr": object{
			"url": s.Prowlarr.URL(), "setting": "homelab:services.prowlarr", "apiKey": ProwlarrKey, "user": User,
			"password": ProwlarrPassword, "indexers": []any{"1337x"},
		},
		"jackett": object{
			"url": s.Jackett.URL(), "setting": "homelab:services.jackett", "apiKey": JackettKey,
			"password": JackettPassword,
			"indexers": []any{"rarbg"},
		},
		"jellyfin": object{
			"url": s.Jellyfin.URL(), "setting": "homelab:services.jellyfin", "user": User, "password": JellyfinPassword,
			"libraries": []any{
				object{"name": "Movies", "type": "movies", "path": movies},
				object{"name": "Series", "type": "tvshows", "path": tv},
			},
		},
		"jellyseerr": object{
			"url": s.Jellyseerr.URL(), "setting": "homelab:services.jellyseerr",
			"email":          Email,
			"applicationUrl": "https://requests.example.com",
		},
	}
}

// Secrets are all secrets of the plan, and how those begin that the apps make.
func Secrets() []string {
	return []string{
		QBittorrentPassword, RadarrKey, RadarrPassword, SonarrKey, SonarrPassword, ProwlarrKey, ProwlarrPassword,
		JackettKey, JackettPassword, JellyfinPassword, JellyseerrKey,
		jellyfinKeyStart, jellyfinSessionStart, seerrSessionStart,
	}
}

// spec says which fields a body can have: string, bool, int, array, object or any; with "!" it is
// required.
type spec map[string]string

// check returns what is wrong with a body.
func (s spec) check(body object) error {
	for _, name := range slices.Sorted(maps.Keys(body)) {
		kind, known := s[name]
		if !known {
			return fmt.Errorf("unknown field %s", name)
		}
		if !is(strings.TrimSuffix(kind, "!"), body[name]) {
			return fmt.Errorf("field %s must be %s", name, kind)
		}
	}
	for name, kind := range s {
		if _, there := body[name]; !there && strings.HasSuffix(kind, "!") {
			return fmt.Errorf("field %s is missing", name)
		}
	}
	return nil
}

func is(kind string, value any) bool {
	switch value := value.(type) {
	case string:
		return kind == "string" || kind == "any"
	case bool:
		return kind == "bool" || kind == "any"
	case float64:
		return kind == "any" || kind == "int" && value == float64(int64(value))
	case []any:
		return kind == "array" || kind == "any"
	case map[string]any:
		return kind == "object" || kind == "any"
	}
	return kind == "any"
}

func kindOf(value any) string {
	for _, kind := range []string{"string", "bool", "int", "array", "object"} {
		if is(kind, value) {
			return kind
		}
	}
	return "any"
}

func readBody(r *http.Request, into any) error {
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return fmt.Errorf("the body is %q, not JSON", kind)
	}
	return json.NewDecoder(r.Body).Decode(into)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that went away is a client's matter
}

// copyOf returns a deep copy of a JSON value.
func copyOf[T any](value T) T {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	var copied T
	if err := json.Unmarshal(data, &copied); err != nil {
		panic(err)
	}
	return copied
}

func equal(a, b any) bool {
	first, _ := json.Marshal(a)
	second, _ := json.Marshal(b)
	return string(first) == string(second)
}

// rss is a result of a search in Torznab's form.
type rss struct {
	XMLName xml.Name  `xml:"rss"`
	Items   []rssItem `xml:"channel>item"`
}

type rssItem struct {
	Title string `xml:"title"`
	Link  string `xml:"link"`
}

// statusError is an answer that is no success.
type statusError struct {
	status int
	text   string
}

// Error returns what was answered.
func (e *statusError) Error() string { return e.text }

// fetch sends a request as one app does to another, and returns the body of a success.
func fetch(method, address string, header http.Header, body io.Reader) ([]byte, error) {
	request, err := http.NewRequest(method, address, body)
	if err != nil {
		return nil, err
	}
	if header != nil {
		request.Header = header
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, &statusError{response.StatusCode, fmt.Sprintf("%s answers %d: %s", request.URL.Path,
			response.StatusCode, data)}
	}
	return data, nil
}

// fetchJSON sends and receives JSON with an API key.
func fetchJSON(method, address, key string, body, into any) error {
	var content io.Reader
	header := http.Header{"X-Api-Key": {key}}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = strings.NewReader(string(data))
		header.Set("Content-Type", "application/json")
	}
	data, err := fetch(method, address, header, content)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(data, into)
}
