package guard

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// series are the guard's, by name and labels as a scrape writes them.
type series map[string]float64

// scraped returns the guard's series of a scrape.
func scraped(t *testing.T, text string) series {
	t.Helper()
	out := series{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(name, "homelab_guard_") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		require.NoError(t, err, line)
		out[name] = n
	}
	return out
}

// countedNow returns what is counted, without any configuration.
func countedNow(t *testing.T) series {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registerMetrics(registry, &shared{decisions: newDecisions("http://nowhere:1", "", 0, nowhere)}))
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	return scraped(t, answer.Body.String())
}

// more returns by how much which series have grown. How long something took is left out.
func (s series) more(t *testing.T) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for name, value := range countedNow(t) {
		if value != s[name] && !strings.Contains(name, "_seconds_bucket") && !strings.Contains(name, "_seconds_sum") {
			out[name] = value - s[name]
		}
	}
	return out
}

func inspections(stage, verdict string) map[string]float64 {
	return map[string]float64{`homelab_guard_inspections_total{stage="` + stage + `",verdict="` + verdict + `"}`: 1}
}

// Every way in which an inspection ends is counted once, under its own verdict.
func TestInspectionsAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		headers bool // inspect headers, not the body
		verdict string
		set     func(*engine)
		before  func(*testing.T, *App)
		method  string
		body    string
		length  int64 // replaces the body's, if not 0
		header  http.Header
		want    map[string]float64
		status  int
	}{
		"a request without a body":    {want: inspections("headers", "pass"), status: 200},
		"its headers, body or not":    {headers: true, method: "POST", body: "{}", want: inspections("headers", "pass"), status: 200},
		"a body":                      {method: "POST", body: "{}", want: inspections("body", "pass"), status: 200},
		"an upload":                   {method: "PUT", body: strings.Repeat("x", uploadHead+1), header: http.Header{"Content-Type": {"video/mp4"}}, want: inspections("body", "partial"), status: 200},
		"a WebSocket":                 {header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, want: inspections("headers", "partial"), status: 200},
		"a block":                     {set: func(e *engine) { e.status, e.verdict = 403, `{"action":"ban","http_status":403}` }, want: inspections("headers", "block"), status: 403},
		"a block of a body":           {method: "POST", body: "{}", set: func(e *engine) { e.status, e.verdict = 403, `{"action":"ban","http_status":403}` }, want: inspections("body", "block"), status: 403},
		"no verdict":                  {set: func(e *engine) { e.status, e.verdict = 500, "" }, want: inspections("headers", "none"), status: 503},
		"no verdict on an upload":     {method: "PUT", body: strings.Repeat("x", uploadHead+1), header: http.Header{"Content-Type": {"video/mp4"}}, set: func(e *engine) { e.status, e.verdict = 204, "" }, want: inspections("body", "none"), status: 503},
		"two agents":                  {header: http.Header{"User-Agent": {"a"}, "user-agent": {"b"}}, want: inspections("headers", "not_inspectable"), status: 400},
		"no length":                   {method: "POST", body: "{}", length: -1, want: inspections("body", "not_inspectable"), status: 411},
		"an encoded body":             {method: "POST", body: "{}", header: http.Header{"Content-Encoding": {"gzip"}}, want: inspections("body", "not_inspectable"), status: 415},
		"a body that is not its type": {method: "POST", body: "\xff", want: inspections("body", "not_inspectable"), status: 415},
		"a body that is too large":    {method: "POST", body: strings.Repeat("x", 1025), want: inspections("body", "too_large"), status: 413},
		"the same by its headers":     {headers: true, method: "POST", body: strings.Repeat("x", 1025), want: inspections("headers", "too_large"), status: 413},
		"no room": {method: "POST", body: "{}", want: inspections("body", "too_much_held"), status: 429, before: func(t *testing.T, a *App) {
			release, ok := a.budgets["wide"].take(t.Context(), visitorAddress, 2*uploadHead)
			require.True(t, ok)
			t.Cleanup(release)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e, address := newEngine(t)
			if c.set != nil {
				e.set(func() { c.set(e) })
			}
			a := guarded(t, address)
			if c.before != nil {
				c.before(t, a)
			}
			i := &Inspect{Limit: 1024, Body: !c.headers, Uploads: []Upload{{Path: "/files", Limit: 1 << 20, Methods: []string{"PUT"}}}}
			if i.Body {
				i.Pool = "wide"
			}
			require.NoError(t, i.bind(a))
			reached := false
			server := behind(t, func(w http.ResponseWriter, r *http.Request) {
				reached = true
				_, err := io.Copy(io.Discard, r.Body)
				assert.NoError(t, err)
			}, i)
			r, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+"/files", strings.NewReader(c.body))
			require.NoError(t, err)
			if c.length != 0 {
				r.ContentLength = c.length
			}
			if c.body != "" {
				r.Header.Set("Content-Type", "application/json")
			}
			for field, values := range c.header {
				r.Header[field] = values
			}
			before := countedNow(t)
			answer, err := http.DefaultTransport.RoundTrip(r)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			assert.Equal(t, c.status, answer.StatusCode)
			assert.Equal(t, c.status == http.StatusOK, reached)
			assert.Equal(t, c.want, before.more(t))
		})
	}
}

// What was inspected before is not inspected again, and not counted again.
func TestAnEarlierInspectionIsNotCountedTwice(t *testing.T) {
	_, address := newEngine(t)
	a := guarded(t, address)
	first, second := &Inspect{Limit: 1024}, &Inspect{Limit: 1024, Body: true, Pool: "open"}
	require.NoError(t, errors.Join(first.bind(a), second.bind(a)))
	server := behind(t, func(http.ResponseWriter, *http.Request) {}, first, second)
	before := countedNow(t)
	answer, err := http.Get(server.URL)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, inspections("headers", "pass"), before.more(t))

	answer, err = http.Post(server.URL, "application/json", strings.NewReader("{}"))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, map[string]float64{
		`homelab_guard_inspections_total{stage="headers",verdict="pass"}`: 2, `homelab_guard_inspections_total{stage="body",verdict="pass"}`: 1,
	}, before.more(t))
}

// A client who does not wait says nothing about AppSec.
func TestAClientWhoLeavesIsNoMissingVerdict(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	_, verdict := outcome(ctx, io.ErrUnexpectedEOF)
	assert.Equal(t, "none", verdict)
	leave()
	status, verdict := outcome(ctx, io.ErrUnexpectedEOF)
	assert.Equal(t, "gone", verdict)
	assert.Equal(t, http.StatusServiceUnavailable, status)
	_, verdict = outcome(ctx, errBlocked{http.StatusForbidden})
	assert.Equal(t, "block", verdict)
}

// All series are there before the first event, and none by a label that nobody foresees.
func TestTheSeriesOfInspections(t *testing.T) {
	now := countedNow(t)
	want := 0
	for _, stage := range []string{"headers", "body"} {
		for _, verdict := range verdicts() {
			want++
			assert.Contains(t, now, `homelab_guard_inspections_total{stage="`+stage+`",verdict="`+verdict+`"}`)
		}
	}
	got := 0
	for name := range now {
		if strings.HasPrefix(name, "homelab_guard_inspections_total") {
			got++
		}
	}
	assert.Equal(t, want, got)
}

func TestRefusalsOfTheBouncerAreCounted(t *testing.T) {
	e, address := newEngine(t)
	e.set(func() { e.news = news{New: []decision{{ID: 1, Scope: "Ip", Value: visitorAddress, Duration: "1h"}}} })
	banned := guarded(t, address)
	undecided := &App{shared: &shared{decisions: newDecisions(address, engineKey, 0, nowhere)}}
	before := countedNow(t)
	for want, app := range map[int]*App{http.StatusForbidden: banned, http.StatusServiceUnavailable: undecided} {
		server := behind(t, func(http.ResponseWriter, *http.Request) { assert.Fail(t, "it passed") }, &Bouncer{app})
		answer, err := http.Get(server.URL)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, want, answer.StatusCode)
	}
	assert.Equal(t, map[string]float64{"homelab_guard_bans_total": 1, "homelab_guard_undecided_total": 1}, before.more(t))
}

// Whatever a service answers, its site has five classes of answers.
func TestAnswersAreMeasured(t *testing.T) {
	for name, c := range map[string]struct {
		class string
		serve caddyhttp.HandlerFunc
	}{
		"a page": {"2xx", func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.WriteString(w, "page")
			return err
		}},
		"a file": {"2xx", func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.Copy(w, bytes.NewReader([]byte("file")))
			return err
		}},
		"nothing": {"2xx", func(http.ResponseWriter, *http.Request) error { return nil }},
		"hints, then nothing new": {"3xx", func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNotModified)
			return nil
		}},
		"another protocol": {"1xx", func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusSwitchingProtocols)
			return nil
		}},
		"a refusal":              {"4xx", func(w http.ResponseWriter, _ *http.Request) error { return refuse(w, http.StatusForbidden) }},
		"a number of its own":    {"5xx", func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(999); return nil }},
		"an error with a status": {"4xx", func(http.ResponseWriter, *http.Request) error { return caddyhttp.Error(499, io.EOF) }},
		"an error":               {"5xx", func(http.ResponseWriter, *http.Request) error { return io.EOF }},
	} {
		t.Run(name, func(t *testing.T) {
			before := countedNow(t)
			r := httptest.NewRequest(http.MethodGet, "https://a.example.com/", nil)
			r.Host = "a.example.com:junk"
			_ = (&Measure{Host: "a.example.com"}).ServeHTTP(httptest.NewRecorder(), r, c.serve)
			assert.Equal(t, map[string]float64{`homelab_guard_response_duration_seconds_count{code="` + c.class + `",host="a.example.com",server=""}`: 1}, before.more(t))
		})
	}
}
