// Package fake has strict stand-ins of Prometheus and Alertmanager for tests: what the real ones
// would refuse, and what this program has no reason to ask, fails the test.
package fake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Trouble is what is wrong with the answers of a stand-in.
type Trouble string

// The troubles.
const (
	None     Trouble = ""
	Closes   Trouble = "closes the connection"
	Fails    Trouble = "answers 503"
	Refuses  Trouble = "answers 200 with status error"
	HTML     Trouble = "answers with a page"
	Garbage  Trouble = "answers with half of its JSON"
	Redirect Trouble = "sends elsewhere"
	Endless  Trouble = "answers with more than anybody wants"
	Slow     Trouble = "does not end its answer"
	Null     Trouble = "answers null"
)

// Troubles returns every trouble.
func Troubles() []Trouble {
	return []Trouble{Closes, Fails, Refuses, HTML, Garbage, Redirect, Endless, Slow, Null}
}

// Alert is one that the stand-in of Alertmanager has.
type Alert struct {
	// Labels and Annotations are its own.
	Labels, Annotations map[string]string
	// Since is when it began.
	Since time.Time
	// SilencedBy, InhibitedBy and MutedBy say why nobody is told.
	SilencedBy, InhibitedBy, MutedBy []string
	// Unprocessed means that Alertmanager did not look at it yet.
	Unprocessed bool
}

// Monitoring is both stand-ins.
type Monitoring struct {
	// Prometheus and Alertmanager are their addresses, http://host:port.
	Prometheus, Alertmanager string

	t      testing.TB
	mutex  sync.Mutex
	series map[string]map[string]string // name → labels as JSON → value
	alerts []Alert
	wrong  map[string]Trouble
	ended  chan struct{}
}

// New starts both.
func New(t testing.TB) *Monitoring {
	m := &Monitoring{t: t, series: map[string]map[string]string{}, wrong: map[string]Trouble{}, ended: make(chan struct{})}
	for name, handler := range map[string]http.HandlerFunc{"prometheus": m.query, "alertmanager": m.alertsAsked} {
		server := httptest.NewServer(m.strict(name, handler))
		t.Cleanup(server.Close)
		switch name {
		case "prometheus":
			m.Prometheus = server.URL
		default:
			m.Alertmanager = server.URL
		}
	}
	t.Cleanup(func() { close(m.ended) }) // before the servers wait for their connections
	return m
}

// Set gives a series a value, as Prometheus writes it; labels are name=value.
func (m *Monitoring) Set(name, value string, labels ...string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.series[name] == nil {
		m.series[name] = map[string]string{}
	}
	m.series[name][key(labels)] = value
}

// Remove removes a series.
func (m *Monitoring) Remove(name string, labels ...string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.series[name], key(labels))
}

func key(labels []string) string {
	all := map[string]string{}
	for _, label := range labels {
		name, value, _ := strings.Cut(label, "=")
		all[name] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // a map of strings
	}
	return string(text)
}

// SetAlerts replaces all alerts.
func (m *Monitoring) SetAlerts(alerts ...Alert) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.alerts = alerts
}

// Trouble lets prometheus or alertmanager have a trouble from now on.
func (m *Monitoring) Trouble(name string, trouble Trouble) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.wrong[name] = trouble
}

// Page writes the page that the deployment would, with the addresses of the stand-ins, and returns
// its path.
func (m *Monitoring) Page(rendered string) string {
	m.t.Helper()
	data, err := os.ReadFile(rendered)
	require.NoError(m.t, err)
	text := strings.NewReplacer("http://prometheus:9090", m.Prometheus, "http://alertmanager:9093", m.Alertmanager).Replace(string(data))
	path := filepath.Join(m.t.TempDir(), "page.json")
	require.NoError(m.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// strict answers what the program may ask, after the trouble of the moment.
func (m *Monitoring) strict(name string, handler http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.ContentLength != 0 || r.Header.Get("Accept") != "application/json" {
			m.refuse(w, "%s: %s with %d bytes, Accept %q", name, r.Method, r.ContentLength, r.Header.Get("Accept"))
			return
		}
		for header := range r.Header {
			if !slices.Contains([]string{"Accept", "Accept-Encoding", "User-Agent"}, header) {
				m.refuse(w, "%s: header %s", name, header)
				return
			}
		}
		m.mutex.Lock()
		trouble := m.wrong[name]
		m.mutex.Unlock()
		switch trouble {
		case Closes:
			panic(http.ErrAbortHandler)
		case Fails:
			http.Error(w, `{"status":"error","errorType":"unavailable","error":"starting"}`, http.StatusServiceUnavailable)
		case Refuses:
			answer(w, `{"status":"error","errorType":"bad_data","error":"no"}`)
		case HTML:
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<h1>Sign in</h1>")
		case Garbage:
			answer(w, `{"status":"success","data":`)
		case Redirect:
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case Endless:
			answer(w, `{"status":"success","data":"`+strings.Repeat("x", 5<<20)+`"}`)
		case Slow:
			answer(w, `{"status":`)
			w.(http.Flusher).Flush()
			select {
			case <-m.ended:
			case <-r.Context().Done():
			}
		case Null:
			answer(w, "null")
		default:
			handler(w, r)
		}
	})
}

func answer(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, text)
}

// refuse fails the test, and answers as the real program would to what it does not know.
func (m *Monitoring) refuse(w http.ResponseWriter, format string, args ...any) {
	m.t.Errorf("the stand-in refuses: "+format, args...)
	http.Error(w, `{"status":"error","errorType":"bad_data"}`, http.StatusBadRequest)
}

// one returns the only value of each parameter, if they are these.
func one(values url.Values, names ...string) (map[string]string, bool) {
	out := map[string]string{}
	for name, all := range values {
		if len(all) != 1 || !slices.Contains(names, name) {
			return nil, false
		}
		out[name] = all[0]
	}
	return out, len(out) == len(names)
}

// selector is the one form of query that the stand-in knows: series by their names.
var selector = regexp.MustCompile(`^\{__name__=~"([a-z_]+(?:\|[a-z_]+)*)"\}$`)

func (m *Monitoring) query(w http.ResponseWriter, r *http.Request) {
	parameters, ok := one(r.URL.Query(), "query")
	match := selector.FindStringSubmatch(parameters["query"])
	if r.URL.Path != "/api/v1/query" || !ok || match == nil {
		m.refuse(w, "prometheus: %s", r.URL)
		return
	}
	type sample struct {
		Metric map[string]string `json:"metric"`
		Value  [2]any            `json:"value"`
	}
	result := []sample{}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, name := range strings.Split(match[1], "|") {
		for labels, value := range m.series[name] {
			metric := map[string]string{}
			if err := json.Unmarshal([]byte(labels), &metric); err != nil {
				m.t.Error(err)
			}
			metric["__name__"] = name
			result = append(result, sample{metric, [2]any{float64(time.Now().UnixMilli()) / 1000, value}})
		}
	}
	m.encode(w, map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": result}})
}

func (m *Monitoring) encode(w http.ResponseWriter, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		m.t.Error(err)
	}
	answer(w, string(data))
}

// alertsAsked answers as Alertmanager's API version 2 does, with its filters.
func (m *Monitoring) alertsAsked(w http.ResponseWriter, r *http.Request) {
	filters, ok := one(r.URL.Query(), "active", "silenced", "inhibited", "unprocessed")
	if r.URL.Path != "/api/v2/alerts" || !ok {
		m.refuse(w, "alertmanager: %s", r.URL)
		return
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	found := []map[string]any{}
	for i, a := range m.alerts {
		state := "active"
		switch {
		case a.Unprocessed:
			state = "unprocessed"
		case len(a.SilencedBy)+len(a.InhibitedBy)+len(a.MutedBy) > 0:
			state = "suppressed"
		}
		if (filters["active"] == "false" && state == "active") || (filters["unprocessed"] == "false" && a.Unprocessed) ||
			(filters["silenced"] == "false" && len(a.SilencedBy) > 0) || (filters["inhibited"] == "false" && len(a.InhibitedBy) > 0) {
			continue
		}
		found = append(found, map[string]any{
			"labels": a.Labels, "annotations": a.Annotations, "startsAt": a.Since, "updatedAt": a.Since, "endsAt": a.Since.Add(time.Hour),
			"fingerprint": fmt.Sprintf("%016x", i), "receivers": []map[string]string{{"name": "people"}}, "generatorURL": "http://prometheus:9090/graph",
			"status": map[string]any{
				"state": state, "silencedBy": list(a.SilencedBy), "inhibitedBy": list(a.InhibitedBy), "mutedBy": list(a.MutedBy),
			},
		})
	}
	m.encode(w, found)
}

// list returns a list that is never null.
func list(values []string) []string { return append([]string{}, values...) }
