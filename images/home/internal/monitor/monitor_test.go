package monitor_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/home/internal/fake"
	"homelab/images/home/internal/monitor"
	"homelab/images/home/internal/page"
)

const rendered = "../../../../components/monitoring/internal/homepage/testdata/page.golden"

func read(t *testing.T, f *fake.Monitoring) *page.Page {
	t.Helper()
	p, err := page.Read(f.Page(rendered))
	require.NoError(t, err)
	return p
}

func TestAnswers(t *testing.T) {
	f, now := fake.New(t), time.Now()
	f.Healthy(now)
	f.Set(monitor.VPNUp, "NaN")
	f.Set("other_series", "1")
	since := now.Add(-time.Hour).Truncate(time.Second)
	label := func(name, service, severity string) map[string]string {
		return map[string]string{"alertname": name, "service": service, "severity": severity}
	}
	f.SetAlerts(
		fake.Alert{Labels: label("Old", "loki", "warning"), Since: since.Add(-time.Hour)},
		fake.Alert{Labels: label("New", "loki", "warning"), Since: since},
		fake.Alert{Labels: label("Bad", "radarr", "critical"), Since: since.Add(-24 * time.Hour), Annotations: map[string]string{"summary": "It is.", "description": "Long."}},
		fake.Alert{Labels: label("Said", "radarr", "page"), Since: since, SilencedBy: []string{"x"}, Annotations: map[string]string{"description": "Long."}},
		fake.Alert{Labels: label("Night", "radarr", "warning"), Since: since.Add(-time.Minute), MutedBy: []string{"night"}},
		fake.Alert{Labels: label("Follows", "radarr", "warning"), Since: since, InhibitedBy: []string{"Bad"}},
		fake.Alert{Labels: label("Untouched", "radarr", "warning"), Since: since, Unprocessed: true},
		fake.Alert{Labels: label("Heartbeat", "", ""), Since: since},
		fake.Alert{Labels: label("Heartbeat", "", "none"), Since: since},
	)
	m := monitor.New(read(t, f), monitor.Options{Now: func() time.Time { return now }})
	assert.True(t, m.Snapshot().States.Answered.IsZero(), "nothing was asked yet")
	m.Ask(t.Context())
	known := m.Snapshot()
	assert.Equal(t, monitor.Status{Answered: now}, known.States)
	assert.Equal(t, monitor.Status{Answered: now}, known.Alerting)
	running, reported := known.Series.Is(monitor.ContainerRunning, monitor.ServiceLabel, "jellyfin")
	assert.True(t, running && reported)
	_, reported = known.Series.Is(monitor.ContainerRunning, monitor.ServiceLabel, "sonarr")
	assert.False(t, reported)
	_, reported = known.Series.Is(monitor.VPNUp, "", "")
	assert.False(t, reported, "NaN says nothing")
	assert.NotContains(t, known.Series, "other_series")
	ran, ok := known.Series.Time(monitor.LastRun)
	assert.True(t, ok)
	assert.Equal(t, now.Add(-21*time.Second).Unix(), ran.Unix())
	var names []string
	for _, a := range known.Alerts {
		names = append(names, a.Name)
	}
	assert.Equal(t, []string{"Bad", "New", "Said", "Night", "Old"}, names, "critical first, then the newest")
	assert.Equal(t, "It is.", known.Alerts[0].Summary)
	for _, a := range known.Alerts {
		assert.Equal(t, a.Name == "Said" || a.Name == "Night", a.Silenced, a.Name)
		if a.Name == "Said" {
			assert.Equal(t, "Long.", a.Summary, "without a summary")
		}
	}
}

func TestTimesThatAreNone(t *testing.T) {
	for _, value := range []float64{0, -1, 1e18} {
		_, ok := monitor.Series{monitor.LastRun: {{Value: value}}}.Time(monitor.LastRun)
		assert.False(t, ok, value)
	}
}

// Whatever is wrong with a source, the other one counts, what was known stays, and people are told
// without an inner address.
func TestTroubles(t *testing.T) {
	says := map[fake.Trouble]string{
		fake.Closes: " does not answer", fake.Slow: " is too slow to answer",
	}
	for _, trouble := range fake.Troubles() {
		t.Run(string(trouble), func(t *testing.T) {
			f, now := fake.New(t), time.Now()
			f.Healthy(now)
			var log bytes.Buffer
			options := monitor.Options{Log: slog.New(slog.NewJSONHandler(&log, nil)), Timeout: time.Minute}
			if trouble == fake.Slow {
				options.Timeout = 2 * time.Second
			}
			m := monitor.New(read(t, f), options)
			m.Ask(t.Context())
			first := m.Snapshot()
			require.Empty(t, first.States.Problem)

			f.Trouble("prometheus", trouble)
			m.Ask(t.Context())
			m.Ask(t.Context())
			known := m.Snapshot()
			says := says[trouble]
			if says == "" {
				says = " answers with an error"
			}
			assert.Equal(t, "Prometheus"+says, known.States.Problem)
			assert.Equal(t, first.States.Answered, known.States.Answered)
			assert.Equal(t, first.Series, known.Series)
			assert.Empty(t, known.Alerting.Problem)
			assert.True(t, known.Alerting.Answered.After(first.Alerting.Answered))
			assert.Equal(t, 1, strings.Count(log.String(), "no good answer"), "not each time: %s", log.String())

			f.Trouble("prometheus", fake.None)
			f.Trouble("alertmanager", trouble)
			m.Ask(t.Context())
			known = m.Snapshot()
			assert.Empty(t, known.States.Problem)
			assert.Equal(t, "Alertmanager"+says, known.Alerting.Problem)
			assert.Contains(t, log.String(), `"answers again","source":"prometheus"`)
		})
	}
}

func TestRunAsksAgainAndAgain(t *testing.T) {
	f := fake.New(t)
	asked := make(chan monitor.Source, 100)
	m := monitor.New(read(t, f), monitor.Options{Every: 5 * time.Millisecond, Asked: func(source monitor.Source, err error) {
		assert.NoError(t, err)
		asked <- source
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx) }()
	seen := map[monitor.Source]int{}
	for seen[monitor.Prometheus] < 3 || seen[monitor.Alertmanager] < 3 {
		select {
		case source := <-asked:
			seen[source]++
		case <-time.After(10 * time.Second):
			t.Fatal("nobody asks")
		}
	}
	cancel()
	<-ended
}

// The answers of the real programs, as Debian's packages of these versions gave them.
func TestRecordedAnswers(t *testing.T) {
	serve := func(file string) *httptest.Server {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(data)
		}))
		t.Cleanup(server.Close)
		return server
	}
	p := &page.Page{Prometheus: serve("testdata/prometheus-2.42.0.json").URL, Alertmanager: serve("testdata/alertmanager-0.25.0.json").URL}
	m := monitor.New(p, monitor.Options{})
	m.Ask(t.Context())
	known := m.Snapshot()
	assert.Empty(t, known.States.Problem)
	assert.Empty(t, known.Alerting.Problem)
	healthy, ok := known.Series.Is(monitor.ContainerHealthy, monitor.ServiceLabel, "machine")
	assert.True(t, healthy && ok)
	assert.NotContains(t, known.Series, monitor.VPNUp)
	_, ok = known.Series.Time(monitor.LastRun)
	assert.True(t, ok)
	require.Len(t, known.Alerts, 2)
	assert.Equal(t, "Radarr is <b>down</b>", known.Alerts[0].Summary)
	assert.Equal(t, monitor.Critical, known.Alerts[0].Severity)
	assert.False(t, known.Alerts[0].Silenced)
	assert.True(t, known.Alerts[1].Silenced)
	assert.Equal(t, 2026, known.Alerts[1].Since.Year())
}

// The machine's program calls a container "container"; the deployment's Prometheus keeps that as
// the label that is asked for here.
func TestTheDeploymentNamesTheLabel(t *testing.T) {
	data, err := os.ReadFile("../../../../components/monitoring/internal/prometheus/testdata/prometheus.golden")
	require.NoError(t, err)
	_, job, found := strings.Cut(string(data), "job_name: node-exporter")
	require.True(t, found)
	job, _, _ = strings.Cut(job, "job_name:")
	assert.Regexp(t, `source_labels: \[container\]\s+regex: \(\.\+\)\s+target_label: `+monitor.ServiceLabel+"\n", job)
	assert.Regexp(t, `regex: homelab_\.\+\|[^\n]+\s+action: keep`, job, "every series of the machine's program is kept")
}

// What is asked for is what the machine's program writes.
func TestTheMachinesProgramWritesWhatIsAskedFor(t *testing.T) {
	program, err := os.ReadFile("../../../../components/host/files/metrics/homelab-metrics")
	require.NoError(t, err)
	for _, name := range monitor.Names() {
		assert.Contains(t, string(program), `"`+name+`"`)
	}
}
