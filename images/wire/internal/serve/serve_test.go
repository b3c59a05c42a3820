package serve

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/fake"
	"homelab/images/wire/internal/plan"
	"homelab/images/wire/internal/wire"
)

// lines is a log that several goroutines write.
type lines struct {
	mutex sync.Mutex
	all   []string
}

func (l *lines) add(line string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.all = append(l.all, line)
}

func (l *lines) text() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return strings.Join(l.all, "\n")
}

func newServer(t *testing.T, stack *fake.Stack, log *lines) *Server {
	t.Helper()
	data, err := json.Marshal(stack.Plan())
	require.NoError(t, err)
	p, err := plan.Parse(data)
	require.NoError(t, err)
	wirer := wire.New(p, wire.Options{Patience: time.Millisecond, Poll: time.Millisecond, Log: log.add})
	s := New(p, wirer, t.TempDir(), time.Hour, log.add)
	s.retry = 20 * time.Millisecond
	return s
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode, string(body)
}

func TestHealthAndMetrics(t *testing.T) {
	stack, log := fake.New(t), &lines{}
	s := newServer(t, stack, log)
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)

	status, body := get(t, web.URL+"/healthz")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "the first pass has not ended yet\n", body)
	_, metrics := get(t, web.URL+"/metrics")
	assert.Contains(t, metrics, `homelab_wire_up{app="radarr"} 0`)

	stack.Radarr.SetDown(true)
	require.Error(t, s.pass(t.Context()))
	status, body = get(t, web.URL+"/healthz")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, body, "radarr: is not ready after 1ms: /ping answers 503")
	assert.Equal(t, 1, strings.Count(body, "\n"), "one line")

	stack.Radarr.SetDown(false)
	stack.Jackett.SetSiteDown("rarbg", true) // which is configured by now
	require.NoError(t, s.pass(t.Context()), "a warning is no failure")
	stack.Radarr.Set("naming", "renameMovies", false)
	require.NoError(t, s.pass(t.Context()))
	status, body = get(t, web.URL+"/healthz")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "connected at 20")
	_, metrics = get(t, web.URL+"/metrics")
	for _, line := range []string{
		`homelab_wire_up{app="radarr"} 1`, `homelab_wire_drift{app="radarr"} 1`, `homelab_wire_drift{app="sonarr"} 0`,
		`homelab_wire_changes_total{app="radarr"} 6`,
		`homelab_wire_warnings{app="prowlarr"} 1`, `homelab_wire_warnings{app="jackett"} 0`,
		`homelab_wire_up{app="prowlarr"} 1`,
		`homelab_wire_last_success_timestamp_seconds{app="jellyseerr"} 1.`,
	} {
		assert.Contains(t, metrics, line)
	}

	stack.Sonarr.SetDown(true)
	require.Error(t, s.pass(t.Context()))
	status, _ = get(t, web.URL+"/healthz")
	assert.Equal(t, http.StatusServiceUnavailable, status, "a pass that fails after one that succeeded counts")
	_, metrics = get(t, web.URL+"/metrics")
	assert.Contains(t, metrics, `homelab_wire_up{app="sonarr"} 0`)
	for _, secret := range fake.Secrets() {
		assert.NotContains(t, log.text()+body+metrics, secret)
	}
}

var update = flag.Bool("update", false, "write the golden files")

// TestScrape compares everything that can be scraped with a file, which is also what the dashboards
// and alerts are held to: each of the series is in it.
func TestScrape(t *testing.T) {
	stack, log := fake.New(t), &lines{}
	s := newServer(t, stack, log)
	s.metrics.now = func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }
	require.NoError(t, s.pass(t.Context()))
	stack.Radarr.SetHealth("error", "warning")
	stack.Radarr.SetQueue("ok", "warning", "error")
	stack.Radarr.SetMissing(12)
	stack.Sonarr.SetMissing(345)
	stack.Prowlarr.Block("1337x")
	stack.QBittorrent.SetTransfer(123456789012, 34567890123, "connected")
	stack.QBittorrent.SetPreference("listen_port", 51413)
	stack.QBittorrent.AddTorrents("downloading", "stalledDL", "uploading", "stalledUP", "stoppedUP", "queuedDL", "missingFiles")
	stack.Jellyfin.AddItems("Movies", 321)
	stack.Jellyfin.AddItems("Series", 4321)
	stack.Jellyfin.SetClients(3, 2)
	stack.Jellyseerr.AddRequests("pending", "processing", "available", "available", "declined", "completed")
	stack.Sonarr.Set("naming", "renameEpisodes", false)
	stack.Jackett.SetSiteDown("rarbg", true)
	require.NoError(t, s.pass(t.Context()))
	s.observer.Round(t.Context())

	answer := httptest.NewRecorder()
	s.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	const golden = "testdata/metrics.prom"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, answer.Body.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err, "run the test with -update to make the file")
	assert.Equal(t, string(want), answer.Body.String())
}

// TestRunMeasuresTheApps beside the passes, of which the first does not end here.
func TestRunMeasuresTheApps(t *testing.T) {
	stack, log := fake.New(t), &lines{}
	stack.Prowlarr.SetHanging(true)
	s := newServer(t, stack, log)
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, "127.0.0.1:0") }()
	assert.Eventually(t, func() bool {
		_, metrics := get(t, web.URL+"/metrics")
		return strings.Contains(metrics, `homelab_app_missing{app="radarr"} 0`)
	}, 20*time.Second, 10*time.Millisecond)
	line, _ := s.Health()
	assert.Equal(t, "the first pass has not ended yet", line)
	cancel()
	require.NoError(t, <-ended)
}

func TestRunRetriesUntilAllIsWell(t *testing.T) {
	stack, log := fake.New(t), &lines{}
	stack.Prowlarr.SetDown(true)
	s := newServer(t, stack, log)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, "127.0.0.1:0") }()
	assert.Eventually(t, func() bool { return strings.Contains(log.text(), "the next one starts in 40ms") },
		20*time.Second, time.Millisecond)
	stack.Prowlarr.SetDown(false)
	assert.Eventually(t, func() bool { _, healthy := s.Health(); return healthy }, 20*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

func TestRunNeedsItsAddress(t *testing.T) {
	s := newServer(t, fake.New(t), &lines{})
	assert.ErrorContains(t, s.Run(t.Context(), "no such address"), "listening at")
}

func TestAStateThatCannotBeReadIsUnhealthy(t *testing.T) {
	s := newServer(t, fake.New(t), &lines{})
	s.stateDir = "/not/there"
	require.Error(t, s.pass(t.Context()))
	line, healthy := s.Health()
	assert.False(t, healthy)
	assert.Contains(t, line, "locking the state")
}
