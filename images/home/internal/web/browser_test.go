//go:build browser

package web_test

import (
	"context"
	_ "embed"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/home/internal/devtools"
	"homelab/images/home/internal/fake"
	"homelab/images/home/internal/monitor"
	"homelab/images/home/internal/page"
	"homelab/images/home/internal/web"
)

// inspection returns what is wrong with a page for people who do not see it, or not well.
//
//go:embed testdata/inspect.js
var inspection string

var (
	asAda = map[string]string{"Remote-User": "ada", "Remote-Name": "Ada", "Remote-Groups": "admins,users"}
	asBob = map[string]string{"Remote-User": "bob", "Remote-Name": "Bob", "Remote-Groups": "users"}
)

// alive starts a site that asks its stand-ins all the time.
func alive(t *testing.T, prepare ...func(f *fake.Monitoring)) (*fake.Monitoring, string) {
	t.Helper()
	f := fake.New(t)
	f.Healthy(time.Now())
	for _, p := range prepare {
		p(f)
	}
	p, err := page.Read(f.Page(rendered))
	require.NoError(t, err)
	m := monitor.New(p, monitor.Options{Every: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	s, err := web.New(p, m.Snapshot, web.Options{Refresh: time.Second})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	require.Eventually(t, func() bool { return m.Snapshot().Alerting != monitor.Status{} }, 10*time.Second, 10*time.Millisecond)
	return f, server.URL
}

func trouble(f *fake.Monitoring) {
	f.Set(monitor.ContainerHealthy, "0", "service=radarr", "host=homelab")
	f.Remove(monitor.ContainerHealthy, "service=grafana", "host=homelab")
	f.Set(monitor.FilesystemAvail, "14e9", "mount=/")
	f.Set(monitor.MediaMounted, "0")
	f.Set(monitor.ListeningPort, "6881")
	f.SetAlerts(
		fake.Alert{
			Labels:      map[string]string{"alertname": "ServiceDown", "service": "radarr", "severity": "critical"},
			Annotations: map[string]string{"summary": "Radarr has failed its health check for 10 minutes."}, Since: time.Now().Add(-10 * time.Minute),
		},
		fake.Alert{
			Labels:      map[string]string{"alertname": "DiskFillsUp", "service": "machine", "severity": "warning"},
			Annotations: map[string]string{"summary": "The system disk has less than 20 % left."}, Since: time.Now().Add(-26 * time.Hour),
		},
		fake.Alert{Labels: map[string]string{"alertname": "Quiet", "severity": "critical"}, Since: time.Now(), SilencedBy: []string{"x"}},
	)
}

// inspect holds a page to what everybody needs, and to asking nobody but its own server.
func inspect(t *testing.T, p *devtools.Page) {
	t.Helper()
	var problems []string
	p.Evaluate(inspection, &problems)
	assert.Empty(t, problems)
	assert.Empty(t, p.Axe(), "what axe-core finds")
	assert.Empty(t, p.Foreign(), "it asks for something elsewhere")
	assert.Empty(t, p.Said(), "its console is not empty")
	for _, path := range p.Asked() {
		assert.True(t, path == "/" || path == "/api/state" || strings.HasPrefix(path, "/assets/"), path)
	}
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name struct{ Value string }
		}
	}
	p.Call("Accessibility.getFullAXTree", map[string]any{}, &tree)
	roles := map[string]int{}
	for _, n := range tree.Nodes {
		if n.Ignored {
			continue
		}
		roles[n.Role.Value]++
		if n.Role.Value == "link" || n.Role.Value == "heading" || n.Role.Value == "region" {
			assert.NotEmpty(t, strings.TrimSpace(n.Name.Value), "a %s without a name", n.Role.Value)
		}
	}
	for _, role := range []string{"main", "banner", "contentinfo"} {
		assert.Equal(t, 1, roles[role], role)
	}
	assert.GreaterOrEqual(t, roles["status"], 1, "nobody is told of a change")
}

// Every face of the page: the visitor's screen, colors and rights, with and without JavaScript, on
// good days and bad ones. go test -artifacts keeps the pictures.
func TestEveryFaceInABrowser(t *testing.T) {
	browser, pictures := devtools.Start(t), t.ArtifactDir()
	days := map[string]func(f *fake.Monitoring){
		"good": func(*fake.Monitoring) {},
		"bad":  trouble,
		"blind": func(f *fake.Monitoring) {
			f.Set(monitor.LastRun, fmt.Sprint(time.Now().Add(-12*time.Minute).Unix()))
			f.Trouble("alertmanager", fake.Fails)
		},
	}
	for day, prepare := range days {
		_, url := alive(t, prepare)
		for _, screen := range []struct {
			name          string
			width, height int
			phone         bool
		}{{"desktop", 1280, 800, false}, {"phone", 390, 844, true}, {"narrow", 320, 600, true}} {
			for _, dark := range []bool{false, true} {
				for who, headers := range map[string]map[string]string{"admin": asAda, "user": asBob} {
					for _, scripts := range []bool{true, false} {
						name := fmt.Sprintf("%s-%s-dark=%t-%s-scripts=%t", day, screen.name, dark, who, scripts)
						t.Run(name, func(t *testing.T) {
							p := browser.Open(t, url, headers)
							p.Viewport(screen.width, screen.height, 1, screen.phone)
							p.Dark(dark)
							p.Call("Emulation.setScriptExecutionDisabled", map[string]any{"value": !scripts}, nil)
							p.Show("/")
							text := p.Text()
							assert.Contains(t, text, "Jellyfin")
							assert.Equal(t, who == "admin", strings.Contains(text, "Restore drill"))
							assert.Equal(t, scripts, !strings.Contains(text, "Reload this page"))
							inspect(t, p)
							p.Screenshot(filepath.Join(pictures, name+".png"), true)
						})
					}
				}
			}
		}
	}
}

func TestStatesChangeInABrowser(t *testing.T) {
	f, url := alive(t)
	p := devtools.Start(t).Open(t, url, asAda)
	p.Viewport(1280, 800, 1, false)
	p.Show("/")
	require.Contains(t, p.Text(), "All 6 services are up.")
	var first bool
	p.Evaluate("window.first = true", &first)
	becomes := func(parts ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			text := p.Text()
			for _, part := range parts {
				if !strings.Contains(text, part) {
					return false
				}
			}
			return true
		}, 20*time.Second, 100*time.Millisecond, "%s: %s", parts, p.Text())
	}
	trouble(f)
	becomes("Radarr is down.", "Down: fails its health check", "Unknown: not reported", "2 alerts are open.", "1 silenced alert not listed.",
		"Radarr has failed its health check for 10 minutes.", "Not mounted", "Filling up: 14 GB free", "the torrent client listens at 6881")
	inspect(t, p)
	// What a label says is text there, too.
	f.SetAlerts(fake.Alert{
		Labels:      map[string]string{"alertname": "<img src=x onerror=alert(1)>", "service": "<b>x</b>", "severity": "warning"},
		Annotations: map[string]string{"summary": "<script>alert(2)</script>"}, Since: time.Now(),
	})
	becomes("<img src=x onerror=alert(1)>", "<b>x</b>", "<script>alert(2)</script>", "1 alert is open.")
	inspect(t, p)
	f.SetAlerts()
	f.Healthy(time.Now())
	becomes("All 6 services are up.", "No alert is open.", "46 GB free")
	inspect(t, p)
	var same bool
	p.Evaluate("window.first === true", &same)
	assert.True(t, same, "it was not loaded again")
	// A visitor who loses a right loses what he sees: another layout is loaded.
	p.SetHeaders(asBob)
	becomes("Hello, Bob")
	assert.NotContains(t, p.Text(), "Restore drill")
	assert.NotContains(t, p.Text(), "Radarr")
	inspect(t, p)
	// Without a session nothing is green.
	p.SetHeaders(nil)
	becomes("Your session has ended: reload this page to sign in again.", "States are unknown right now.")
	var levels []string
	p.Evaluate(`[...new Set([...document.querySelectorAll("[data-level]")].map((e) => e.dataset.level))]`, &levels)
	assert.Equal(t, []string{"unknown"}, levels)
	assert.Contains(t, p.Text(), "Jellyfin", "the links stay")
}

func TestAServerThatIsGoneInABrowser(t *testing.T) {
	f := fake.New(t)
	f.Healthy(time.Now())
	p, err := page.Read(f.Page(rendered))
	require.NoError(t, err)
	m := monitor.New(p, monitor.Options{})
	m.Ask(t.Context())
	s, err := web.New(p, m.Snapshot, web.Options{Refresh: time.Second})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	tab := devtools.Start(t).Open(t, server.URL, asAda)
	tab.Show("/")
	require.Contains(t, tab.Text(), "All 6 services are up.")
	server.Close()
	require.Eventually(t, func() bool { return strings.Contains(tab.Text(), "The start page has not answered since ") }, 30*time.Second, 100*time.Millisecond)
	text := tab.Text()
	assert.Contains(t, text, "States are unknown right now.")
	assert.Contains(t, text, "Open alerts are unknown right now.")
	assert.NotContains(t, text, "All 6")
	assert.NotContains(t, text, "free")
	assert.Contains(t, text, "Jellyfin")
}

// The keyboard reaches every link, in the order of the page, and one sees where it is.
func TestTheKeyboardInABrowser(t *testing.T) {
	_, url := alive(t)
	p := devtools.Start(t).Open(t, url, asAda)
	p.Viewport(1280, 800, 1, false)
	p.Show("/")
	var reached []string
	for range 8 {
		p.Press("Tab", 9)
		var at struct{ Text, Outline string }
		p.Evaluate(`(() => {
			const e = document.activeElement;
			const outline = [getComputedStyle(e), getComputedStyle(e, "::after")].find((s) => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2);
			const box = e.getBoundingClientRect();
			return { text: e.textContent, outline: outline && box.left >= 0 ? outline.outlineColor : "" };
		})()`, &at)
		assert.NotEmpty(t, at.Outline, "one does not see that %q has the focus", at.Text)
		reached = append(reached, at.Text)
	}
	assert.Equal(t, []string{
		"Skip to the content", "No alert is open.", "Jellyfin", "Jellyseerr", "qBittorrent", "Radarr", "Authelia", "Grafana",
	}, reached)
}

// The engine that finds nothing on the page finds what is wrong with it.
func TestFaultsAreFoundInABrowser(t *testing.T) {
	_, url := alive(t)
	p := devtools.Start(t).Open(t, url, asAda)
	p.Show("/")
	p.Evaluate(`document.documentElement.removeAttribute("lang"), document.querySelector("main").append(document.createElement("button")), 0`, new(int))
	found := map[string]string{}
	for _, v := range p.Axe() {
		found[v.ID] = v.Impact
	}
	assert.Equal(t, map[string]string{"button-name": "critical", "html-has-lang": "serious"}, found)
}
