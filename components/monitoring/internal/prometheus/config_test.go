package prometheus_test

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/components/internal/golden"
	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
	"homelab/components/monitoring/internal/prometheus"
	"homelab/components/monitoring/internal/rules"
)

func TestConfig(t *testing.T) {
	got, err := prometheus.Config(example.Model())
	require.NoError(t, err)
	golden.Equal(t, "prometheus", got)
}

func TestConfigOfLittle(t *testing.T) {
	m := example.Model()
	m.Probes = nil
	m.Subjects = []watch.Subject{{Name: "prometheus", Title: "Prometheus", Layer: watch.Monitoring, Target: watch.Target{Port: 9090, Path: "/metrics"}, MemoryMiB: 1}}
	got, err := prometheus.Config(m)
	require.NoError(t, err)
	golden.Equal(t, "little", got)
}

func TestConfigRefuses(t *testing.T) {
	m := example.Model()
	m.Timezone = ""
	m.Subjects = slices.DeleteFunc(m.Subjects, func(s watch.Subject) bool { return s.Name == "blackbox" })
	for i := range m.Subjects {
		m.Subjects[i].Uses = nil
		if m.Subjects[i].Name == "alertmanager" {
			m.Subjects[i].Target, m.Subjects[i].NoMetrics = watch.Target{}, "none"
		}
	}
	m.Subjects = append(m.Subjects, watch.Subject{Name: prometheus.Certificates, Title: "Certificates", Layer: watch.Service, NoMetrics: "none", MemoryMiB: 1})
	slices.SortFunc(m.Subjects, func(a, b watch.Subject) int { return cmp.Compare(a.Name, b.Name) })
	_, err := prometheus.Config(m)
	golden.Error(t, "refused", err)
}

func TestArguments(t *testing.T) {
	golden.Equal(t, "arguments", []byte(strings.Join(prometheus.Arguments(), "\n")+"\n"))
}

// Another service adds its job and changes nothing else; so does another program of the monitoring,
// but for the lines that say that it is no service.
func TestAnotherSubjectAddsItsJob(t *testing.T) {
	before, err := prometheus.Config(example.Model())
	require.NoError(t, err)
	m := example.Model()
	m.Subjects = append(m.Subjects,
		watch.Subject{Name: "sonarr", Title: "Sonarr", Layer: watch.Service, Hostname: "sonarr.example.com", Target: watch.Target{Port: 81, Path: "/numbers"}, MemoryMiB: 1, Exporter: "wire"},
		watch.Subject{Name: "tempo", Title: "Tempo", Layer: watch.Monitoring, Target: watch.Target{Port: 3200, Path: "/metrics"}, MemoryMiB: 1})
	slices.SortFunc(m.Subjects, func(a, b watch.Subject) int { return cmp.Compare(a.Name, b.Name) })
	after, err := prometheus.Config(m)
	require.NoError(t, err)
	assert.Equal(t, []string{
		`      - source_labels: [container]`, `        regex: tempo`, `        target_label: layer`, `        replacement: monitoring`,
		`  - job_name: sonarr`, `    metrics_path: /numbers`, `    static_configs:`, `      - targets:`, `          - sonarr:81`, `        labels:`, `          host: homelab`, `          layer: service`, `          service: sonarr`,
		`    metric_relabel_configs:`, `      - source_labels: [__name__]`, `        regex: homelab_.+`, `        action: drop`,
		`  - job_name: tempo`, `    static_configs:`, `      - targets:`, `          - tempo:3200`, `        labels:`, `          host: homelab`, `          layer: monitoring`, `          service: tempo`,
		`    metric_relabel_configs:`, `      - source_labels: [__name__]`, `        regex: homelab_.+`, `        action: drop`,
	}, added(t, string(before), string(after)))
}

// added returns the lines that were added, and fails the test if others are missing.
func added(t *testing.T, before, after string) []string {
	t.Helper()
	rest := strings.Split(before, "\n")
	var out []string
	for line := range strings.SplitSeq(after, "\n") {
		// Lines repeat, so a line counts as old where the rest still ends as before.
		if len(rest) > 0 && line == rest[0] {
			rest = rest[1:]
			continue
		}
		out = append(out, line)
	}
	require.Empty(t, rest, "lines are gone or have moved")
	return out
}

// What an alert looks at is not among what is dropped.
func TestNothingThatAnAlertNeedsIsDropped(t *testing.T) {
	kept := append(append(prometheus.ContainerSeries(), prometheus.MachineSeries()...), prometheus.ProbeSeries()...)
	own := regexp.MustCompile(`\bhomelab:[a-zA-Z0-9_:]+`)
	name := regexp.MustCompile(`\b(container|node|probe)_[a-zA-Z0-9_]+`)
	found := 0
	asked := map[string]string{}
	for _, a := range rules.Alerts(example.Model()) {
		asked[a.Name+" of "+a.Service] = a.Expr
	}
	recorded := map[string]bool{}
	for _, r := range rules.Recordings(example.Model()) {
		asked[r.Name] = r.Expr
		recorded[r.Name] = true
	}
	for by, expr := range asked {
		for _, series := range name.FindAllString(own.ReplaceAllStringFunc(expr, func(series string) string {
			assert.True(t, recorded[series], "%s: nobody records %s", by, series)
			found++
			return ""
		}), -1) {
			assert.Contains(t, kept, series, by)
			found++
		}
	}
	assert.Greater(t, found, 25)
	for _, list := range [][]string{prometheus.ContainerSeries(), prometheus.MachineSeries(), prometheus.ProbeSeries()} {
		assert.IsIncreasing(t, list)
	}
}

// Every series has the same three labels, from wherever it comes.
func TestEveryTargetIsLabelled(t *testing.T) {
	data, err := prometheus.Config(example.Model())
	require.NoError(t, err)
	var c struct {
		Jobs []struct {
			Name    string `yaml:"job_name"`
			Configs []struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal(data, &c))
	require.Len(t, c.Jobs, 13)
	for _, job := range c.Jobs {
		for _, static := range job.Configs {
			for _, label := range []string{"service", "layer", "host"} {
				assert.NotEmpty(t, static.Labels[label], "%s: %s", job.Name, label)
			}
		}
	}
}
