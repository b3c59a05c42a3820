package observe

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/fake"
	"homelab/images/wire/internal/plan"
)

// jellyfinKey is the key that the fake makes for us.
const jellyfinKey = "jellyfin-api-key-homelab-1"

// lab is a stack of fakes as passes leave them, and an observer of it.
type lab struct {
	t        *testing.T
	stack    *fake.Stack
	observer *Observer

	mutex sync.Mutex
	keys  map[plan.App]string
	lines []string
}

func newLab(t *testing.T, apps ...plan.App) *lab {
	t.Helper()
	l := &lab{t: t, stack: fake.New(t), keys: map[plan.App]string{plan.Jellyfin: jellyfinKey, plan.Jellyseerr: fake.JellyseerrKey}}
	l.stack.Jellyfin.AddKey("homelab")
	l.stack.Jellyseerr.SetUpBySomebody("127.0.0.1", 1, false)
	content := l.stack.Plan()
	for _, app := range plan.Apps() {
		if len(apps) > 0 && !slices.Contains(apps, app) && (app != plan.Jellyfin || !slices.Contains(apps, plan.Jellyseerr)) {
			delete(content, string(app))
		}
	}
	data, err := json.Marshal(content)
	require.NoError(t, err)
	p, err := plan.Parse(data)
	require.NoError(t, err)
	l.observer = New(p, Options{
		Timeout: 5 * time.Second, Every: time.Millisecond,
		Credential: func(app plan.App) (string, error) {
			l.mutex.Lock()
			defer l.mutex.Unlock()
			return l.keys[app], nil
		},
		Log: func(line string) {
			l.mutex.Lock()
			defer l.mutex.Unlock()
			l.lines = append(l.lines, line)
		},
	})
	return l
}

// round makes a round, and returns the series of an app.
func (l *lab) round(app plan.App) string {
	l.t.Helper()
	l.observer.Round(l.t.Context())
	return l.series(app)
}

// scrape returns all series.
func (l *lab) scrape() string {
	l.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(l.t, registry.Register(l.observer))
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(l.t, http.StatusOK, answer.Code, answer.Body.String())
	var lines []string
	for line := range strings.Lines(answer.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimPrefix(line, "homelab_app_"))
		}
	}
	return strings.Join(lines, "")
}

// series returns the series of an app, without what all their names begin with.
func (l *lab) series(app plan.App) string {
	l.t.Helper()
	var lines []string
	for line := range strings.Lines(l.scrape()) {
		if strings.Contains(line, `app="`+string(app)+`"`) {
			lines = append(lines, strings.NewReplacer(`{app="`+string(app)+`",`, "{", `{app="`+string(app)+`"}`, "").Replace(line))
		}
	}
	return strings.Join(lines, "")
}

// logged returns what was logged, which holds no secret, and forgets it.
func (l *lab) logged() string {
	l.t.Helper()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	text := strings.Join(l.lines, "\n")
	l.lines = nil
	for _, secret := range fake.Secrets() {
		assert.NotContains(l.t, text, secret)
	}
	return text
}

const down = "up 0\n"

// fill puts something of everything into the fakes.
func fill(s *fake.Stack) {
	s.Radarr.SetHealth("error", "warning", "error")
	s.Radarr.SetQueue("ok", "error", "warning", "", "error")
	s.Radarr.SetMissing(12)
	s.Sonarr.SetMissing(345)
	s.Prowlarr.SetHealth("notice")
	for _, name := range []string{"one", "two", "three"} {
		s.Prowlarr.AddIndexer(name)
	}
	s.Prowlarr.SetIndexerField("one", "enable", true)
	s.Prowlarr.SetIndexerField("two", "enable", true)
	s.Prowlarr.Block("two")
	s.Prowlarr.Block("three") // which is switched off
	s.Jackett.Configure("rarbg")
	s.QBittorrent.SetTransfer(123456789012, 3456, "connected")
	s.QBittorrent.SetPreference("listen_port", 51413)
	s.QBittorrent.AddTorrents("downloading", "forcedDL", "metaDL", "uploading", "stalledUP", "stalledDL", "error", "missingFiles",
		"stoppedDL", "pausedUP", "queuedDL", "moving", "somethingNew")
	s.Jellyfin.AddLibrary("Movies", "movies", "/media/movies")
	s.Jellyfin.AddLibrary("Series", "tvshows", "/media/tv")
	s.Jellyfin.AddItems("Movies", 3)
	s.Jellyfin.AddItems("Series", 20)
	s.Jellyfin.SetClients(4, 2)
	s.Jellyseerr.AddRequests("pending", "processing", "available", "available", "declined", "completed")
}

func TestEverythingIsMeasured(t *testing.T) {
	l := newLab(t)
	fill(l.stack)
	l.observer.Round(t.Context())
	for app, want := range map[plan.App]string{
		plan.Radarr: `health_issues{type="error"} 2
health_issues{type="notice"} 0
health_issues{type="warning"} 1
missing 12
queue{state="errors"} 2
queue{state="total"} 5
queue{state="warnings"} 1
up 1
`,
		plan.Sonarr: `health_issues{type="error"} 0
health_issues{type="notice"} 0
health_issues{type="warning"} 0
missing 345
queue{state="errors"} 0
queue{state="total"} 0
queue{state="warnings"} 0
up 1
`,
		plan.Prowlarr: `health_issues{type="error"} 0
health_issues{type="notice"} 1
health_issues{type="warning"} 0
indexers{state="enabled"} 2
indexers{state="failing"} 1
up 1
`,
		plan.Jackett: `indexers{state="enabled"} 1
up 1
`,
		plan.QBittorrent: `connected 1
listening_port 51413
torrents{state="downloading"} 3
torrents{state="error"} 2
torrents{state="other"} 3
torrents{state="paused"} 2
torrents{state="seeding"} 2
torrents{state="stalled"} 1
transfer_bytes_total{direction="down"} 1.23456789012e+11
transfer_bytes_total{direction="up"} 3456
up 1
`,
		plan.Jellyfin: `library_items{type="episodes"} 20
library_items{type="movies"} 3
streams 2
up 1
`,
		plan.Jellyseerr: `requests{status="approved"} 3
requests{status="available"} 2
requests{status="completed"} 1
requests{status="declined"} 1
requests{status="pending"} 1
requests{status="processing"} 1
up 1
`,
	} {
		assert.Equal(t, want, l.series(app), string(app))
	}
	assert.Empty(t, l.logged())
	assert.Empty(t, l.stack.Writes(), "a question changes nothing")
}

func TestUpIsThereFromTheStart(t *testing.T) {
	all := strings.Split(strings.TrimSpace(newLab(t).scrape()), "\n")
	assert.Len(t, all, len(plan.Apps()))
	for _, line := range all {
		assert.Regexp(t, `^up\{app="[a-z]+"\} 0$`, line)
	}
	assert.Equal(t, "up{app=\"radarr\"} 0\n", newLab(t, plan.Radarr).scrape(), "an app that does not run has no series")
}

// TestAnAppThatHangs costs its own series, and the others nothing.
func TestAnAppThatHangs(t *testing.T) {
	l := newLab(t)
	l.observer.Round(t.Context())
	require.Len(t, regexp.MustCompile(`(?m)^up\{.*\} 1$`).FindAllString(l.scrape(), -1), len(plan.Apps()))
	for _, server := range l.stack.Servers() {
		server.SetHanging(true)
	}
	l.stack.Radarr.SetHanging(false)
	l.observer.options.Timeout = 200 * time.Millisecond
	begun := time.Now()
	healthy := l.round(plan.Radarr)
	assert.Less(t, time.Since(begun), 5*time.Second, "they are asked at the same time")
	assert.Contains(t, healthy, "up 1\n")
	assert.Contains(t, healthy, "missing 0\n")
	for _, app := range plan.Apps() {
		if app != plan.Radarr {
			assert.Equal(t, down, l.series(app), "%s: nothing old is left", app)
		}
	}
	assert.Contains(t, l.logged(), "jellyfin: it is not measured: it does not answer in time")
}

// TestAppsThatDoNotAnswer has each app answer in a way that means that it does not work.
func TestAppsThatDoNotAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(*fake.Server)
		mends  func(*fake.Server)
		says   string
	}{
		"starting":   {func(s *fake.Server) { s.SetDown(true) }, func(s *fake.Server) { s.SetDown(false) }, "it answers 503"},
		"failing":    {breaks(500, "an error"), mends, "it answers 500"},
		"a login":    {breaks(302, ""), mends, "it answers 302"},
		"a page":     {breaks(200, "<!DOCTYPE html><html>Welcome</html>"), mends, ""},
		"nothing":    {breaks(200, ""), mends, ""},
		"null":       {breaks(200, "null"), mends, ""},
		"an empty":   {breaks(200, "{}"), mends, ""},
		"a secret":   {breaks(500, fake.RadarrKey+fake.JellyfinPassword), mends, "it answers 500"},
		"a key":      {breaks(401, "{}"), mends, "it refuses our "},
		"not a soul": {(*fake.Server).Stop, nil, "it refuses the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, app := range plan.Apps() {
				if app == plan.QBittorrent && name == "an empty" {
					continue // see TestWhatIsMissing
				}
				l := newLab(t, app)
				require.Contains(t, l.round(app), "up 1\n")
				server := l.stack.Servers()[string(app)]
				c.breaks(server)
				assert.Equal(t, down, l.round(app), string(app))
				line := l.logged()
				assert.Contains(t, line, string(app)+": it is not measured: "+c.says)
				assert.NotContains(t, line, "\n", "one line")
				assert.Equal(t, down, l.round(app))
				assert.Empty(t, l.logged(), "%s: it is said once", app)
				if c.mends == nil {
					continue
				}
				c.mends(server)
				l.observer.Connected(app) // a pass has connected it again
				assert.Contains(t, l.round(app), "up 1\n")
				assert.Equal(t, string(app)+": it is measured again", l.logged())
			}
		})
	}
}

func breaks(status int, body string) func(*fake.Server) {
	return func(s *fake.Server) { s.Break("", status, body) }
}

func mends(s *fake.Server) { s.Break("", 0, "") }

// TestWhatIsMissing has one answer of an app not be as expected: what it is about is left out, and
// the rest is measured.
func TestWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		app        plan.App
		path, body string
		status     int
		gone       []string
		says       string
	}{
		"health fails":       {plan.Radarr, "/api/v3/health", "", 500, []string{"health_issues"}, "cannot measure its health: it answers 500"},
		"health hides":       {plan.Sonarr, "/api/v3/health", `[{"source":"a"}]`, 200, []string{"health_issues"}, "the answer has no type"},
		"health knows more":  {plan.Radarr, "/api/v3/health", `[{"type":"fatal"}]`, 200, []string{"health_issues"}, `the answer has a type "fatal"`},
		"health is a page":   {plan.Prowlarr, "/api/v1/health", `<html>`, 200, []string{"health_issues"}, "the answer is no JSON"},
		"health is no list":  {plan.Prowlarr, "/api/v1/health", `{}`, 200, []string{"health_issues"}, "the answer is no list of JSON"},
		"health ends":        {plan.Radarr, "/api/v3/health", `[{"type":"error"},`, 200, []string{"health_issues"}, "the answer ends early"},
		"health is nothing":  {plan.Radarr, "/api/v3/health", `null`, 200, []string{"health_issues"}, "the answer is no list of JSON"},
		"queue hides":        {plan.Radarr, "/api/v3/queue/details", `[{"downloadId":"A"}]`, 200, []string{"queue"}, "has no trackedDownloadStatus"},
		"queue is other":     {plan.Sonarr, "/api/v3/queue/details", `[{"trackedDownloadStatus":1}]`, 200, []string{"queue"}, "trackedDownloadStatus is not of"},
		"missing is missing": {plan.Radarr, "/api/v3/wanted/missing", `{"records":[]}`, 200, []string{"missing"}, "the answer has no totalRecords"},
		"missing fails":      {plan.Sonarr, "/api/v3/wanted/missing", ``, 404, []string{"missing"}, "cannot measure what is missing: it answers 404"},
		"missing is text":    {plan.Radarr, "/api/v3/wanted/missing", `{"totalRecords":"1"}`, 200, []string{"missing"}, "totalRecords is not of the expected type"},
		"indexers hide":      {plan.Prowlarr, "/api/v1/indexer", `[{"id":1}]`, 200, []string{"indexers"}, "without id or enable"},
		"status hides":       {plan.Prowlarr, "/api/v1/indexerstatus", `[{"providerId":1}]`, 200, []string{`indexers{state="failing"}`}, "the answer has no indexerId"},
		"jackett hides": {plan.Jackett, "/api/v2.0/indexers/all/results/torznab", `<indexers><indexer id="a"/></indexers>`, 200,
			[]string{"indexers"}, "the answer has no configured"},
		"bytes are missing": {plan.QBittorrent, "/api/v2/transfer/info", `{"up_info_data":1,"connection_status":"disconnected"}`, 200,
			[]string{`transfer_bytes_total{direction="down"}`}, "cannot measure dl_info_data: the answer has no dl_info_data"},
		"connection is missing": {plan.QBittorrent, "/api/v2/transfer/info", `{"dl_info_data":1,"up_info_data":1}`, 200, []string{"connected"}, "has no connection_status"},
		"connection is new": {plan.QBittorrent, "/api/v2/transfer/info", `{"dl_info_data":1,"up_info_data":1,"connection_status":"nat"}`, 200,
			[]string{"connected"}, `the answer has a connection_status "nat"`},
		"torrents hide": {plan.QBittorrent, "/api/v2/torrents/info", `[{"hash":"a"}]`, 200, []string{"torrents"}, "the answer has no state"},
		"port is away":  {plan.QBittorrent, "/api/v2/app/preferences", `{}`, 200, []string{"listening_port"}, "the answer has no listen_port"},
		"port fails":    {plan.QBittorrent, "/api/v2/app/preferences", ``, 500, []string{"listening_port"}, "cannot measure its port: it answers 500"},
		"sessions hide": {plan.Jellyfin, "/Sessions", `[{}]`, 200, []string{"streams"}, "the answer has no Id"},
		"counts fail":   {plan.Jellyfin, "/Items/Counts", ``, 500, []string{"library_items"}, "cannot measure the library: it answers 500"},
		"counts hide":   {plan.Jellyfin, "/Items/Counts", `{"MovieCount":1}`, 200, []string{`library_items{type="episodes"}`}, "has no EpisodeCount"},
		"requests hide": {plan.Jellyseerr, "/api/v1/request/count", `{"pending":1,"approved":0,"declined":0,"processing":0,"available":0,"more":{}}`, 200,
			[]string{`requests{status="completed"}`}, "the answer has no completed"},
		"requests fail": {plan.Jellyseerr, "/api/v1/request/count", ``, 500, []string{"requests"}, "cannot measure the requests: it answers 500"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, c.app)
			var want []string
			for line := range strings.Lines(l.round(c.app)) {
				if !slices.ContainsFunc(c.gone, func(start string) bool {
					return strings.HasPrefix(line, start+" ") || strings.HasPrefix(line, start+"{")
				}) {
					want = append(want, nameOf(line))
				}
			}
			require.Contains(t, want, "up")
			l.stack.Servers()[string(c.app)].Break(c.path, c.status, c.body)
			for range 2 {
				var got []string
				for line := range strings.Lines(l.round(c.app)) {
					got = append(got, nameOf(line))
				}
				assert.Equal(t, want, got)
			}
			lines := l.logged()
			assert.Contains(t, lines, c.says)
			assert.Equal(t, 1, strings.Count(lines, c.says), "it is said once")
			assert.True(t, strings.HasPrefix(lines, string(c.app)+": "), lines)
			assert.Contains(t, l.series(c.app), "up 1\n")
		})
	}
}

// nameOf returns a series without its value.
func nameOf(line string) string { return line[:strings.LastIndex(line, " ")] }

// TestTheEndIsNoTrouble of an app: who ends the program does not find it down.
func TestTheEndIsNoTrouble(t *testing.T) {
	l := newLab(t, plan.Radarr)
	before := l.round(plan.Radarr)
	l.stack.Radarr.SetHanging(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	l.observer.Round(ctx)
	assert.Equal(t, before, l.series(plan.Radarr))
	assert.Empty(t, l.logged())
}

// TestRunAsksAgainAndAgain while others read what it has found.
func TestRunAsksAgainAndAgain(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.observer.Run(ctx)
	}()
	contains := func(line string) func() bool {
		return func() bool { l.observer.Connected(plan.QBittorrent); return strings.Contains(l.scrape(), line) }
	}
	require.Eventually(t, contains("missing{app=\"radarr\"} 0\n"), 20*time.Second, time.Millisecond)
	l.stack.Radarr.SetMissing(7)
	require.Eventually(t, contains("missing{app=\"radarr\"} 7\n"), 20*time.Second, time.Millisecond)
	l.stack.Radarr.SetDown(true)
	require.Eventually(t, contains("up{app=\"radarr\"} 0\n"), 20*time.Second, time.Millisecond)
	cancel()
	<-ended
	assert.NotContains(t, l.scrape(), "missing{app=\"radarr\"}")
}
