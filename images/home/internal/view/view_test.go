package view

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/home/internal/monitor"
	"homelab/images/home/internal/page"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const rendered = "../../../../components/monitoring/internal/homepage/testdata/page.golden"

var (
	now   = time.Date(2026, 3, 2, 13, 4, 5, 0, time.UTC)
	root  = Visitor{User: "ada", Name: "Ada", Groups: []string{"users", "admins"}}
	user  = Visitor{User: "bob", Name: "Bob", Groups: []string{"users"}}
	guest = Visitor{User: "eve", Name: "Eve"}
)

func readPage(t *testing.T) *page.Page {
	t.Helper()
	p, err := page.Read(rendered)
	require.NoError(t, err)
	return p
}

// healthy is a system in which all is well.
func healthy() monitor.Snapshot {
	one := func(v float64) []monitor.Sample { return []monitor.Sample{{Value: v}} }
	at := func(ago time.Duration) []monitor.Sample { return one(float64(now.Add(-ago).Unix())) }
	s := monitor.Series{
		monitor.FilesystemSize: {{Labels: map[string]string{"mount": "/"}, Value: 80e9}, {Labels: map[string]string{"mount": "media"}, Value: 5e12}, {Labels: map[string]string{"mount": "downloads"}, Value: 100e9}},
		monitor.FilesystemAvail: {
			{Labels: map[string]string{"mount": "/"}, Value: 46e9}, {Labels: map[string]string{"mount": "media"}, Value: 1.9e12}, {Labels: map[string]string{"mount": "downloads"}, Value: 71e9},
		},
		monitor.MediaMounted: one(1), monitor.BackupSuccess: at(9 * time.Hour), monitor.BackupFailed: one(0),
		monitor.DrillSuccess: at(12 * 24 * time.Hour), monitor.DrillFailed: one(0), monitor.VPNUp: one(1), monitor.VPNLeaking: one(0),
		monitor.VPNPort: one(51413), monitor.ListeningPort: one(51413), monitor.RebootRequired: one(0), monitor.LastRun: at(21 * time.Second),
	}
	for _, container := range []string{"authelia", "grafana", "jellyfin", "jellyseerr", "qbittorrent", "radarr"} {
		sample := monitor.Sample{Labels: map[string]string{"service": container}, Value: 1}
		s[monitor.ContainerRunning] = append(s[monitor.ContainerRunning], sample)
		s[monitor.ContainerHealthy] = append(s[monitor.ContainerHealthy], sample)
	}
	answered := monitor.Status{Answered: now.Add(-4 * time.Second)}
	return monitor.Snapshot{Series: s, States: answered, Alerting: answered}
}

func set(s monitor.Snapshot, name, label, value string, to float64) {
	for i, sample := range s.Series[name] {
		if label == "" || sample.Labels[label] == value {
			s.Series[name][i].Value = to
		}
	}
}

func named(s State, name string) (Service, bool) {
	for _, e := range s.Services {
		if e.Name == name {
			return e, true
		}
	}
	return Service{}, false
}

func fact(t *testing.T, s State, name string) Fact {
	t.Helper()
	require.NotNil(t, s.Admin)
	for _, f := range s.Admin.Facts {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no fact %s", name)
	return Fact{}
}

// The API's answers, whole.
func TestStates(t *testing.T) {
	known := healthy()
	set(known, monitor.ContainerHealthy, "service", "radarr", 0)
	known.Alerts = []monitor.Alert{{Name: "ServiceDown", Service: "radarr", Severity: monitor.Critical, Since: now.Add(-10 * time.Minute), Summary: "Radarr <b>is</b> down."}}
	for name, visitor := range map[string]Visitor{"admin": root, "user": user} {
		data, err := json.MarshalIndent(Make(readPage(t), known, visitor, now), "", "  ")
		require.NoError(t, err)
		file := filepath.Join("testdata", name+".golden")
		if *update {
			require.NoError(t, os.WriteFile(file, append(data, '\n'), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(data)+"\n")
	}
}

func TestWhoSeesWhat(t *testing.T) {
	for _, c := range []struct {
		visitor Visitor
		sees    []string
		admin   bool
	}{
		{root, []string{"jellyfin", "jellyseerr", "qbittorrent", "radarr", "authelia", "grafana"}, true},
		{user, []string{"jellyfin", "jellyseerr", "authelia"}, false},
		{guest, []string{"jellyfin", "authelia"}, false},
		{Visitor{}, []string{"jellyfin", "authelia"}, false},
		{Visitor{User: "admins", Name: "admins", Groups: []string{"Admins", "admin", "adminsx", "users "}}, []string{"jellyfin", "authelia"}, false},
		{Visitor{User: "x", Groups: []string{"admins"}}, []string{"jellyfin", "qbittorrent", "radarr", "authelia", "grafana"}, true},
	} {
		s := Make(readPage(t), healthy(), c.visitor, now)
		var sees []string
		for _, e := range s.Services {
			sees = append(sees, e.Name)
		}
		assert.Equal(t, c.sees, sees, "%v", c.visitor)
		assert.Equal(t, c.admin, s.Admin != nil, "%v", c.visitor)
		assert.Equal(t, fmt.Sprintf("All %d services are up.", len(sees)), s.Summary)
	}
}

// What a visitor may not open is not in a sentence either.
func TestTheSummaryIsAboutWhatTheVisitorSees(t *testing.T) {
	known := healthy()
	set(known, monitor.ContainerRunning, "service", "radarr", 0)
	assert.Equal(t, "Radarr is down.", Make(readPage(t), known, root, now).Summary)
	s := Make(readPage(t), known, user, now)
	assert.Equal(t, "All 3 services are up.", s.Summary)
	assert.Equal(t, Up, s.Level)
	data, err := json.Marshal(s)
	require.NoError(t, err)
	assert.NotContains(t, string(data), "adarr")
}

func TestSummaries(t *testing.T) {
	make := func(levels ...Level) []Service {
		var out []Service
		for i, l := range levels {
			out = append(out, Service{Title: string(rune('A' + i)), Level: l})
		}
		return out
	}
	for want, services := range map[string][]Service{
		"unknown: There is nothing here that you may open.": nil,
		"up: A is up.":                                                         make(Up),
		"up: All 2 services are up.":                                           make(Up, Up),
		"down: A and C are down.":                                              make(Down, Up, Down, Unknown),
		"down: A, B and C are down.":                                           make(Down, Down, Down, Up),
		"down: 4 of 5 services are down.":                                      make(Down, Down, Down, Down, Up),
		"unknown: States are unknown right now.":                               make(Unknown, Unknown),
		"unknown: B is in an unknown state; the others are up.":                make(Up, Unknown),
		"unknown: 4 of 5 services are in an unknown state; the others are up.": make(Up, Unknown, Unknown, Unknown, Unknown),
		"unknown: A, B and C are in an unknown state; the others are up.":      make(Unknown, Unknown, Unknown, Up),
	} {
		level, text := summary(services, Data{})
		assert.Equal(t, want, string(level)+": "+text)
	}
	level, text := summary(make(Down, Up), Data{Problem: "x"})
	assert.Equal(t, "unknown: States are unknown right now.", string(level)+": "+text)
}

func TestStatesOfAService(t *testing.T) {
	for want, change := range map[string]func(s monitor.Snapshot){
		"up: Up":                             func(monitor.Snapshot) {},
		"down: Down: fails its health check": func(s monitor.Snapshot) { set(s, monitor.ContainerHealthy, "service", "radarr", 0) },
		"down: Down: not running": func(s monitor.Snapshot) {
			set(s, monitor.ContainerRunning, "service", "radarr", 0)
			set(s, monitor.ContainerHealthy, "service", "radarr", 0)
		},
		"unknown: Unknown: not reported": func(s monitor.Snapshot) {
			delete(s.Series, monitor.ContainerHealthy) // running alone does not mean that it works
		},
	} {
		known := healthy()
		change(known)
		e, ok := named(Make(readPage(t), known, root, now), "radarr")
		require.True(t, ok)
		assert.Equal(t, want, string(e.Level)+": "+e.Text)
	}
}

// When nobody knows, nothing is green: neither a state, nor a fact, nor the alerts. The links stay.
func TestNobodyKnows(t *testing.T) {
	for want, change := range map[string]func(s *monitor.Snapshot){
		"Prometheus was not asked yet": func(s *monitor.Snapshot) { *s = monitor.Snapshot{} },
		"Prometheus does not answer": func(s *monitor.Snapshot) {
			*s = monitor.Snapshot{States: monitor.Status{Problem: "Prometheus does not answer"}}
		},
		"Prometheus does not answer; its last answer came 2 minutes ago": func(s *monitor.Snapshot) {
			s.States = monitor.Status{Answered: now.Add(-2 * time.Minute), Problem: "Prometheus does not answer"}
		},
		"Prometheus was not asked; its last answer came 3 hours ago": func(s *monitor.Snapshot) { s.States.Answered = now.Add(-3 * time.Hour) },
		"the machine has not reported yet":                           func(s *monitor.Snapshot) { delete(s.Series, monitor.LastRun) },
		"the machine last reported 6 minutes ago": func(s *monitor.Snapshot) {
			set(*s, monitor.LastRun, "", "", float64(now.Add(-6*time.Minute).Unix()))
		},
	} {
		known := healthy()
		change(&known)
		s := Make(readPage(t), known, root, now)
		assert.Equal(t, want, s.Data.Problem)
		assert.Equal(t, capital(want)+".", s.Data.Text)
		assert.Equal(t, Unknown, s.Level)
		require.Len(t, s.Services, 6)
		for _, e := range s.Services {
			assert.Equal(t, Unknown, e.Level, e.Name)
			assert.Equal(t, "Unknown", e.Text)
			assert.NotEmpty(t, e.URL)
		}
		for _, f := range s.Admin.Facts {
			assert.Equal(t, Unknown, f.Level, "%s: %s", want, f.Name)
			assert.Nil(t, f.UsedPercent, f.Name)
			assert.Empty(t, f.Detail, f.Name)
		}
	}
	// One question without an answer is no news yet.
	known := healthy()
	known.States.Problem = "Prometheus does not answer"
	known.Alerting.Problem = "Alertmanager does not answer"
	s := Make(readPage(t), known, root, now)
	assert.Equal(t, Up, s.Level)
	assert.Equal(t, "No alert is open.", s.Admin.Alerts.Summary)
}

func TestAlerts(t *testing.T) {
	known := healthy()
	get := func() Alerts { return Make(readPage(t), known, root, now).Admin.Alerts }
	assert.Equal(t, Alerts{Level: Up, Summary: "No alert is open.", Open: []Alert{}}, get())
	warning := monitor.Alert{Name: "DiskFull", Service: "machine", Severity: monitor.Warning, Since: now.Add(-90 * time.Minute), Summary: "x"}
	silenced := warning
	silenced.Severity, silenced.Silenced = monitor.Critical, true
	known.Alerts = []monitor.Alert{warning, silenced}
	a := get()
	assert.Equal(t, Warn, a.Level, "what is silenced does not shout")
	assert.Equal(t, "1 alert is open.", a.Summary)
	assert.Equal(t, "1 silenced alert not listed.", a.Note)
	assert.Equal(t, "Since Mon 2 Mar, 12:34 (1 hour ago)", a.Open[0].Began, "in the page's time zone")
	known.Alerts = nil
	for range 60 {
		known.Alerts = append(known.Alerts, warning)
	}
	known.Alerts[0].Severity = monitor.Critical
	a = get()
	assert.Equal(t, Down, a.Level)
	assert.Equal(t, "60 alerts are open.", a.Summary)
	assert.Equal(t, "10 more alerts not listed. ", a.Note)
	assert.Len(t, a.Open, 50)

	known.Alerting = monitor.Status{Answered: now.Add(-2 * time.Minute), Problem: "Alertmanager does not answer"}
	assert.Equal(t, Alerts{
		Level: Unknown, Summary: "Open alerts are unknown right now.", Open: []Alert{},
		Note: "Alertmanager does not answer; its last answer came 2 minutes ago.",
	}, get(), "old alerts are no open alerts")
	known.Alerting = monitor.Status{}
	assert.Equal(t, "Alertmanager was not asked yet.", get().Note)
}

func TestFacts(t *testing.T) {
	at := func(ago time.Duration) float64 { return float64(now.Add(-ago).Unix()) }
	for _, c := range []struct {
		fact, want string
		change     func(s monitor.Snapshot)
	}{
		{"backup", "up|9 hours ago|Mon 2 Mar, 05:04", nil},
		{"backup", "down|Overdue|last good one 37 hours ago, Sun 1 Mar, 01:04", func(s monitor.Snapshot) { set(s, monitor.BackupSuccess, "", "", at(37*time.Hour)) }},
		{"backup", "down|The last one failed|last good one 9 hours ago, Mon 2 Mar, 05:04", func(s monitor.Snapshot) { set(s, monitor.BackupFailed, "", "", 1) }},
		{"backup", "warn|None yet|", func(s monitor.Snapshot) { set(s, monitor.BackupSuccess, "", "", 0) }},
		{"backup", "unknown|Unknown: not reported|", func(s monitor.Snapshot) {
			delete(s.Series, monitor.BackupSuccess)
			delete(s.Series, monitor.BackupFailed)
		}},
		{"drill", "up|12 days ago|Wed 18 Feb, 14:04", nil},
		{"drill", "warn|None yet|", func(s monitor.Snapshot) { delete(s.Series, monitor.DrillSuccess) }},
		{"drill", "down|Overdue|last good one 36 days ago, Sun 25 Jan, 14:04", func(s monitor.Snapshot) { set(s, monitor.DrillSuccess, "", "", at(36*24*time.Hour)) }},
		{"disk", "up|46 GB free|43 % of 80 GB used", nil},
		{"disk", "warn|Filling up: 15 GB free|82 % of 80 GB used", func(s monitor.Snapshot) { set(s, monitor.FilesystemAvail, "mount", "/", 15e9) }},
		{"disk", "down|Nearly full: 0 B free|100 % of 80 GB used", func(s monitor.Snapshot) { set(s, monitor.FilesystemAvail, "mount", "/", 0) }},
		{"disk", "unknown|Unknown: not reported|", func(s monitor.Snapshot) { set(s, monitor.FilesystemSize, "mount", "/", 0) }},
		{"disk", "unknown|Unknown: not reported|", func(s monitor.Snapshot) { set(s, monitor.FilesystemAvail, "mount", "/", 81e9) }},
		{"downloads", "up|71 GB free|29 % of 100 GB used", nil},
		{"media", "up|1.9 TB free|62 % of 5 TB used", nil},
		{"media", "down|Not mounted|", func(s monitor.Snapshot) { set(s, monitor.MediaMounted, "", "", 0) }},
		{"media", "up|Mounted|", func(s monitor.Snapshot) { set(s, monitor.FilesystemSize, "mount", "media", 0) }},
		{"media", "unknown|Unknown: not reported|", func(s monitor.Snapshot) { delete(s.Series, monitor.MediaMounted) }},
		{"vpn", "up|Connected|port 51413 is forwarded", nil},
		{"vpn", "up|Connected|", func(s monitor.Snapshot) { delete(s.Series, monitor.VPNPort) }},
		{"vpn", "warn|Connected|no port is forwarded", func(s monitor.Snapshot) { set(s, monitor.VPNPort, "", "", 0) }},
		{"vpn", "warn|Connected|port 51413 is forwarded, but the torrent client listens at 6881", func(s monitor.Snapshot) { set(s, monitor.ListeningPort, "", "", 6881) }},
		{"vpn", "down|Not connected|", func(s monitor.Snapshot) { set(s, monitor.VPNUp, "", "", 0) }},
		{"vpn", "down|Leaking: the tunnel shows the server's own address|", func(s monitor.Snapshot) { set(s, monitor.VPNLeaking, "", "", 1) }},
		{"vpn", "unknown|Unknown: not reported|", func(s monitor.Snapshot) { delete(s.Series, monitor.VPNUp) }},
		{"restart", "up|Not needed|", nil},
		{"restart", "warn|Pending: updates wait for it|", func(s monitor.Snapshot) { set(s, monitor.RebootRequired, "", "", 1) }},
		{"restart", "unknown|Unknown: not reported|", func(s monitor.Snapshot) { delete(s.Series, monitor.RebootRequired) }},
	} {
		known := healthy()
		if c.change != nil {
			c.change(known)
		}
		f := fact(t, Make(readPage(t), known, root, now), c.fact)
		assert.Equal(t, c.want, fmt.Sprintf("%s|%s|%s", f.Level, f.Text, f.Detail), c.fact)
	}
}

func TestOnlyWhatIsThereIsAFact(t *testing.T) {
	p := readPage(t)
	p.VPN, p.Library = false, false
	known := healthy()
	delete(known.Series, monitor.FilesystemSize)
	var names []string
	for _, f := range Make(p, known, root, now).Admin.Facts {
		names = append(names, f.Name)
	}
	assert.Equal(t, []string{"backup", "drill", "disk", "restart"}, names)
}

// A page that is open loads itself again when its parts have changed, and only then.
func TestLayout(t *testing.T) {
	p, known := readPage(t), healthy()
	before := Make(p, known, root, now).Layout
	set(known, monitor.ContainerHealthy, "service", "radarr", 0)
	known.Alerts = []monitor.Alert{{Name: "X", Severity: monitor.Warning}}
	assert.Equal(t, before, Make(p, known, root, now.Add(time.Hour)).Layout)
	assert.NotEqual(t, before, Make(p, known, user, now).Layout)
	p.Entries[0].Title = "Portal"
	assert.NotEqual(t, before, Make(p, known, root, now).Layout)
}

func TestWords(t *testing.T) {
	c := clock{now: now, location: time.UTC}
	for want, ago := range map[string]time.Duration{
		"just now": -time.Hour, "5 seconds ago": 5 * time.Second, "1 minute ago": 61 * time.Second, "59 minutes ago": 59*time.Minute + 59*time.Second,
		"1 hour ago": time.Hour, "47 hours ago": 47 * time.Hour, "2 days ago": 49 * time.Hour,
	} {
		assert.Equal(t, want, c.ago(now.Add(-ago)))
	}
	for want, bytes := range map[string]float64{
		"0 B": 0, "999 B": 999, "1 kB": 1000, "1.5 kB": 1500, "10 MB": 9.96e6, "999 MB": 999.4e6, "1 GB": 999.6e6, "1.9 TB": 1.9e12, "20 TB": 20e12,
	} {
		assert.Equal(t, want, size(bytes))
	}
	assert.Equal(t, "For a, b and c, tailnet only", audience(page.Entry{Groups: []string{"a", "b", "c"}}))
	assert.Equal(t, "For everyone", audience(page.Entry{Layer: page.Gateway, Public: true}))
	assert.Equal(t, "Own login, tailnet only", audience(page.Entry{Layer: page.Service}))
	assert.Equal(t, "Äpfel", capital("Äpfel"))
}
