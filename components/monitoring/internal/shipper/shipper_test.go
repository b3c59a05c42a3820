package shipper_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/components/internal/golden"
	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
	"homelab/components/monitoring/internal/shipper"
)

func model(s watch.Shipper) watch.Model {
	m := example.Model()
	m.Shipper = s
	return m
}

func rendered(t *testing.T, m watch.Model) string {
	t.Helper()
	files, err := shipper.Files(m)
	require.NoError(t, err)
	require.Len(t, files, 1)
	assert.Contains(t, strings.Join(shipper.Arguments(m), " "), files[0].Path, "the program is told where the file is")
	return string(files[0].Content)
}

func TestFiles(t *testing.T) {
	for _, s := range watch.Shippers() {
		t.Run(string(s), func(t *testing.T) {
			m := model(s)
			golden.Equal(t, string(s), []byte(rendered(t, m)))
			golden.Equal(t, string(s)+"-arguments", []byte(strings.Join(shipper.Arguments(m), "\n")+"\n"))
			if at, ok := m.Subject(string(s)); ok {
				assert.Equal(t, at.Target.Port, shipper.Port(m), "the model scrapes it elsewhere")
			}
		})
	}
}

// Nothing has a log file, nor is there a container of every layer.
func TestFilesOfASmallModel(t *testing.T) {
	for _, s := range watch.Shippers() {
		m := model(s)
		m.Subjects = []watch.Subject{{Name: "a.b", Title: "A", Layer: watch.Service, NoMetrics: "none", MemoryMiB: 64}}
		m.Probes = nil
		golden.Equal(t, string(s)+"-small", []byte(rendered(t, m)))
	}
}

func TestModelsThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(m *watch.Model){
		"no-shipper":     func(m *watch.Model) { m.Shipper = "fluentd" },
		"relative-file":  func(m *watch.Model) { m.Subjects[2].LogFiles = []string{"logs/authelia.log"} },
		"wildcard":       func(m *watch.Model) { m.Subjects[2].LogFiles = []string{"/logs/authelia/*.log"} },
		"two-of-a-file":  func(m *watch.Model) { m.Subjects[2].LogFiles = m.Subjects[5].LogFiles },
		"two-containers": func(m *watch.Model) { m.Subjects[6].Name = "caddy" },
	} {
		m := example.Model()
		change(&m)
		_, err := shipper.Files(m)
		golden.Error(t, name, err)
	}
}

// A service that is declared changes the line of its layer, and adds its log files; no other line.
func TestAnotherServiceChangesOnlyWhatMust(t *testing.T) {
	for _, s := range watch.Shippers() {
		t.Run(string(s), func(t *testing.T) {
			m := model(s)
			before := strings.Split(rendered(t, m), "\n")
			sonarr := watch.Subject{Name: "sonarr", Title: "Sonarr", Layer: watch.Service, NoMetrics: "none", MemoryMiB: 64}
			at, found := slices.BinarySearchFunc(m.Subjects, sonarr.Name, func(s watch.Subject, name string) int { return strings.Compare(s.Name, name) })
			require.False(t, found)
			m.Subjects = slices.Insert(m.Subjects, at, sonarr)
			removed, added := difference(before, strings.Split(rendered(t, m), "\n"))
			require.Len(t, removed, 1)
			require.Len(t, added, 1)
			assert.Equal(t, removed[0], strings.Replace(added[0], "|sonarr", "", 1))

			m.Subjects[at].LogFiles = []string{"/logs/sonarr/sonarr.txt"}
			removed, added = difference(before, strings.Split(rendered(t, m), "\n"))
			text := strings.Join(added, "\n")
			assert.Contains(t, text, `/logs/sonarr/sonarr.txt`)
			assert.Len(t, removed, 1, "%v", removed)

			m.Subjects = slices.Delete(m.Subjects, at, at+1)
			assert.Equal(t, before, strings.Split(rendered(t, m), "\n"))
		})
	}
}

// difference returns the lines that are in one text only, by how often each is there.
func difference(before, after []string) (removed, added []string) {
	count := map[string]int{}
	for _, line := range before {
		count[line]++
	}
	for _, line := range after {
		if count[line]--; count[line] < 0 {
			added = append(added, line)
		}
	}
	for _, line := range before {
		if count[line] > 0 {
			removed = append(removed, line)
			count[line] = 0
		}
	}
	return removed, added
}

// The command runs here against a server of ours, with the port changed.
func TestHealth(t *testing.T) {
	bash, err := exec.LookPath("bash")
	require.NoError(t, err)
	for _, s := range watch.Shippers() {
		answer := http.StatusOK
		asked := ""
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.Path
			w.WriteHeader(answer)
		}))
		_, port, err := net.SplitHostPort(server.Listener.Addr().String())
		require.NoError(t, err)
		command := shipper.Health(model(s))
		require.Equal(t, []string{"/bin/bash", "-c"}, command[:2])
		script := strings.Replace(command[2], map[watch.Shipper]string{watch.Alloy: "/12345 ", watch.Promtail: "/9080 "}[s], "/"+port+" ", 1)
		require.NotEqual(t, command[2], script)
		run := func() error { return exec.CommandContext(t.Context(), bash, "-c", script).Run() }
		assert.NoError(t, run())
		assert.Equal(t, map[watch.Shipper]string{watch.Alloy: "/-/ready", watch.Promtail: "/ready"}[s], asked)
		answer = http.StatusServiceUnavailable
		assert.Error(t, run())
		server.Close()
		assert.Error(t, run())
	}
}

// No line reaches Loki but through every pattern, in order, whatever it comes from.
func TestEverySourceIsRedacted(t *testing.T) {
	alloy := rendered(t, model(watch.Alloy))
	assert.Equal(t, 1, strings.Count(alloy, "loki.write.loki.receiver"), "only what redacts forwards to Loki")
	assert.Equal(t, 3, strings.Count(alloy, "[loki.process.redact.receiver]"), "containers, journal, files")
	assert.Equal(t, 3, strings.Count(alloy, "\nloki.source."))
	_, rest, found := strings.Cut(alloy, "\nloki.process \"redact\" {\n\tforward_to = [loki.write.loki.receiver]\n")
	require.True(t, found)
	for _, p := range shipper.Patterns() {
		_, rest, found = strings.Cut(rest, "expression = "+strconv.Quote(p.Expression)+"\n\t\treplace    = \""+shipper.Redacted+"\"\n")
		require.True(t, found, p.Name)
	}

	var promtail struct {
		Scrapes []struct {
			Stages []struct {
				Replace *struct{ Expression, Replace string }
			} `yaml:"pipeline_stages"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(rendered(t, model(watch.Promtail))), &promtail))
	require.Len(t, promtail.Scrapes, 3)
	for _, scrape := range promtail.Scrapes {
		require.Greater(t, len(scrape.Stages), len(shipper.Patterns()))
		for n, p := range shipper.Patterns() {
			require.NotNil(t, scrape.Stages[n].Replace)
			assert.Equal(t, p.Expression, scrape.Stages[n].Replace.Expression)
			assert.Equal(t, shipper.Redacted, scrape.Stages[n].Replace.Replace)
		}
	}
}
