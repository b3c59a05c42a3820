package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/home/internal/fake"
	"homelab/images/home/internal/monitor"
	"homelab/images/home/internal/page"
	"homelab/images/home/internal/view"
	"homelab/images/home/internal/web"
)

const rendered = "../../../../components/monitoring/internal/homepage/testdata/page.golden"

// site starts a site on stand-ins that were asked once.
func site(t *testing.T, prepare func(f *fake.Monitoring)) string {
	t.Helper()
	f := fake.New(t)
	f.Healthy(time.Now())
	prepare(f)
	p, err := page.Read(f.Page(rendered))
	require.NoError(t, err)
	return start(t, p)
}

func start(t *testing.T, p *page.Page) string {
	t.Helper()
	m := monitor.New(p, monitor.Options{})
	m.Ask(t.Context())
	s, err := web.New(p, m.Snapshot, web.Options{})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

func ask(t *testing.T, method, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	request.Header = header
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response, string(body)
}

var (
	ada = http.Header{"Remote-User": {"ada"}, "Remote-Groups": {"users, admins"}, "Remote-Name": {"Ada"}}
	bob = http.Header{"Remote-User": {"bob"}, "Remote-Groups": {"users"}}
)

func TestThePage(t *testing.T) {
	url := site(t, func(*fake.Monitoring) {})
	response, body := ask(t, http.MethodGet, url+"/", ada)
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, "text/html; charset=utf-8", response.Header.Get("Content-Type"))
	for _, part := range []string{
		"<h1>Hello, Ada</h1>", "Signed in as <strong>ada</strong>", "All 6 services are up.", `<a href="https://radarr.example.com/">Radarr</a>`,
		"No alert is open.", "Restore drill", "port 51413 is forwarded", "Measured 2", `<rect width="62" height="4"`,
	} {
		assert.Contains(t, body, part)
	}
	_, body = ask(t, http.MethodGet, url+"/", bob)
	assert.Contains(t, body, "<h1>Hello, bob</h1>", "the login where there is no name")
	assert.Contains(t, body, "jellyfin.example.com")
	for _, part := range []string{"adarr", "grafana", "lert is open", "Backup", "drill", "disk", "id=\"alert"} {
		assert.NotContains(t, body, part)
	}
}

func TestTheAPIAnswersLikeThePage(t *testing.T) {
	url := site(t, func(f *fake.Monitoring) { f.Set(monitor.ContainerHealthy, "0", "service=jellyfin", "host=homelab") })
	for _, visitor := range []http.Header{ada, bob} {
		response, body := ask(t, http.MethodGet, url+"/api/state", visitor)
		assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
		assert.Equal(t, "private, no-store", response.Header.Get("Cache-Control"))
		var state view.State
		decoder := json.NewDecoder(strings.NewReader(body))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&state))
		assert.Equal(t, view.Version, state.Version)
		_, shown := ask(t, http.MethodGet, url+"/", visitor)
		assert.Contains(t, shown, `data-layout="`+state.Layout+`"`)
		assert.Contains(t, shown, html.EscapeString(state.Summary))
		for _, s := range state.Services {
			assert.Contains(t, shown, fmt.Sprintf(`<a href="%s">%s</a>`, s.URL, s.Title))
			assert.Contains(t, shown, fmt.Sprintf(`data-level="%s">%s</p>`, s.Level, s.Text))
		}
		if state.Admin != nil {
			for _, f := range state.Admin.Facts {
				assert.Contains(t, shown, `data-fact="`+f.Name+`"`)
			}
		}
		assert.Equal(t, visitor.Get("Remote-User") == "ada", state.Admin != nil)
	}
}

// Without a name from the proxy there is nothing to see, at any address.
func TestWhoIsNotNamedGetsNothing(t *testing.T) {
	url := site(t, func(*fake.Monitoring) {})
	for name, header := range map[string]http.Header{
		"nobody":       {},
		"empty":        {"Remote-User": {""}},
		"blank":        {"Remote-User": {"  "}},
		"groups alone": {"Remote-Groups": {"admins"}},
		"name alone":   {"Remote-Name": {"Ada"}},
		"two users":    {"Remote-User": {"bob", "ada"}},
		"two groups":   {"Remote-User": {"bob"}, "Remote-Groups": {"users", "admins"}},
		"two names":    {"Remote-User": {"bob"}, "Remote-Name": {"Bob", "Ada"}},
		"other words":  {"X-Remote-User": {"ada"}, "X-Forwarded-User": {"ada"}, "Authorization": {"Basic YWRhOmFkYQ=="}},
	} {
		for _, path := range []string{"/", "/api/state", "/assets/x/home.css", "/elsewhere"} {
			response, body := ask(t, http.MethodGet, url+path, header)
			assert.Equal(t, http.StatusForbidden, response.StatusCode, "%s %s", name, path)
			assert.Contains(t, body, "403: the request has ", name)
			assert.Equal(t, 2, strings.Count(body, "\n"), body)
			assert.Equal(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"))
		}
	}
	response, body := ask(t, http.MethodGet, url+"/healthz", http.Header{})
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, "ok\n", body)
}

// A visitor's words never reach Prometheus: the stand-in fails the test at any other query.
func TestOtherAddressesAndMethods(t *testing.T) {
	url := site(t, func(*fake.Monitoring) {})
	for path, want := range map[string]int{
		"/elsewhere": 404, "/api": 404, "/api/state/": 404, "/assets/": 404, "/assets/x/home.css": 404, "/index.html": 404, "/metrics": 404,
		"/api/state?query=up": 200, "/?query=up": 200,
	} {
		response, body := ask(t, http.MethodGet, url+path, ada)
		assert.Equal(t, want, response.StatusCode, path)
		assert.NotContains(t, body, "query=up")
		assert.NotEmpty(t, response.Header.Get("Content-Security-Policy"), path)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch} {
		for _, path := range []string{"/", "/api/state", "/healthz"} {
			response, _ := ask(t, method, url+path, ada)
			assert.Contains(t, []int{404, 405}, response.StatusCode, "%s %s", method, path)
		}
	}
	response, body := ask(t, http.MethodHead, url+"/", ada)
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Empty(t, body)
}

func TestHeadersAndAssets(t *testing.T) {
	url := site(t, func(*fake.Monitoring) {})
	response, body := ask(t, http.MethodGet, url+"/", ada)
	for header, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "private, no-store",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		assert.Equal(t, want, response.Header.Get(header), header)
	}
	policy := response.Header.Get("Content-Security-Policy")
	assert.True(t, strings.HasPrefix(policy, "default-src 'none'; "), policy)
	assert.NotContains(t, policy, "unsafe")
	assert.NotContains(t, policy, "http")
	assert.NotContains(t, body, " style=", "an inline style, which the policy forbids")
	assert.Equal(t, 1, strings.Count(body, "<script"))
	for _, event := range []string{" onclick", " onload", " onerror"} {
		assert.NotContains(t, body, event)
	}
	loaded := 0
	for _, part := range strings.Split(body, `"`) {
		if !strings.HasPrefix(part, "/assets/") {
			continue
		}
		loaded++
		response, asset := ask(t, http.MethodGet, url+part, ada)
		assert.Equal(t, http.StatusOK, response.StatusCode, part)
		assert.Equal(t, "private, max-age=31536000, immutable", response.Header.Get("Cache-Control"))
		assert.NotEqual(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"), part)
		assert.NotContains(t, strings.ReplaceAll(asset, "http://www.w3.org/2000/svg", ""), "http", "%s loads something from elsewhere", part)
		assert.NotContains(t, asset, "innerHTML")
	}
	assert.Equal(t, 3, loaded)
}

// Whatever a label, a summary, a title or the proxy says, it is text.
func TestHostileText(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}'; </template>`
	f := fake.New(t)
	f.Healthy(time.Now())
	f.Set(monitor.ContainerRunning, "1", "service="+hostile)
	f.SetAlerts(fake.Alert{
		Labels:      map[string]string{"alertname": hostile + "1", "service": hostile + "2", "severity": hostile + "3"},
		Annotations: map[string]string{"summary": hostile + "4"}, Since: time.Now(),
	})
	p, err := page.Read(f.Page(rendered))
	require.NoError(t, err)
	p.Entries[0].Title, p.Entries[0].Summary, p.Entries[0].Groups, p.Domain = hostile, hostile, []string{"admins"}, hostile
	url := start(t, p)
	header := http.Header{"Remote-User": {hostile}, "Remote-Name": {hostile}, "Remote-Groups": {"admins," + hostile}}
	_, body := ask(t, http.MethodGet, url+"/", header)
	assert.NotContains(t, body, "<script>")
	assert.NotContains(t, body, "<img")
	assert.Equal(t, 1, strings.Count(body, "</template>"))
	assert.GreaterOrEqual(t, strings.Count(body, "&lt;script&gt;alert(1)&lt;/script&gt;"), 9, "it is shown, as text")
	response, body := ask(t, http.MethodGet, url+"/api/state", header)
	assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
	assert.NotContains(t, body, "<")
	var state view.State
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	assert.Equal(t, hostile+"4", state.Admin.Alerts.Open[0].Summary)
}

func TestLinksStayWithoutPrometheus(t *testing.T) {
	url := site(t, func(f *fake.Monitoring) {
		f.Trouble("prometheus", fake.Closes)
		f.Trouble("alertmanager", fake.Fails)
	})
	response, body := ask(t, http.MethodGet, url+"/", ada)
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, 6, strings.Count(body, `class="service"`))
	assert.Contains(t, body, `<a href="https://jellyfin.example.com/">Jellyfin</a>`)
	assert.Contains(t, body, "Prometheus does not answer.")
	assert.Contains(t, body, "Alertmanager answers with an error.")
	assert.NotContains(t, body, `data-level="up"`)
	assert.NotContains(t, body, "127.0.0.1", "an inner address")
	response, _ = ask(t, http.MethodGet, url+"/healthz", http.Header{})
	assert.Equal(t, http.StatusOK, response.StatusCode, "a restart of this container would not help")
}

func TestServe(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	ctx, cancel := context.WithCancel(t.Context())
	began, finish := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, err := io.ReadAll(r.Body)
			assert.Error(t, err, "a body")
			return
		}
		close(began)
		<-finish
		fmt.Fprint(w, "ended")
	})
	ended := make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	go func() { ended <- web.Serve(ctx, map[string]http.Handler{address: handler}, log) }()
	require.Eventually(t, func() bool {
		connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		return err == nil && connection.Close() == nil
	}, 10*time.Second, time.Millisecond)

	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address, strings.NewReader("x"))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(post)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())

	large, _ := ask(t, http.MethodGet, "http://"+address, http.Header{"Cookie": {strings.Repeat("x", 40<<10)}})
	assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, large.StatusCode)

	answered := make(chan string, 1)
	go func() {
		defer close(answered)
		_, body := ask(t, http.MethodGet, "http://"+address, http.Header{})
		answered <- body
	}()
	<-began
	cancel()
	time.Sleep(20 * time.Millisecond)
	close(finish)
	assert.Equal(t, "ended", <-answered, "what has begun is answered before it stops")
	require.NoError(t, <-ended)

	assert.ErrorContains(t, web.Serve(t.Context(), map[string]http.Handler{"no such address": handler}, log), "listening at no such address")
}
