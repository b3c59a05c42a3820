//go:build chain

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
)

// monitoring returns the folder of the goldens of one of the monitoring's renderers.
func monitoring(t *testing.T, renderer string) string {
	t.Helper()
	root, err := toolchain.Root()
	require.NoError(t, err)
	return filepath.Join(root, "components/monitoring/internal", renderer, "testdata")
}

// golden returns a golden of one of the monitoring's renderers.
func monitoringGolden(t *testing.T, renderer, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(monitoring(t, renderer), name+".golden"))
	require.NoError(t, err)
	return string(data)
}

// ruleFiles writes the rule files into a folder, under the names that they have on the server, and
// returns these.
func ruleFiles(t *testing.T, dir string) []string {
	t.Helper()
	goldens, err := filepath.Glob(filepath.Join(monitoring(t, "rules"), "*.yml.golden"))
	require.NoError(t, err)
	require.Greater(t, len(goldens), 10)
	var names []string
	for _, golden := range goldens {
		name := strings.TrimSuffix(filepath.Base(golden), ".golden")
		write(t, filepath.Join(dir, name), monitoringGolden(t, "rules", name))
		names = append(names, name)
	}
	return names
}

// prometheusConfig writes Prometheus' configuration around our files and returns the path of
// prometheus.yml.
func prometheusConfig(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	ruleFiles(t, filepath.Join(dir, "rules"))
	path := filepath.Join(dir, "prometheus.yml")
	write(t, path, replaced(t, monitoringGolden(t, "prometheus", name), "/etc/prometheus/", dir+"/"))
	return path
}

func TestPrometheusAccepts(t *testing.T) {
	promtool := built(t, toolchain.PromtoolTool)
	for _, name := range []string{"prometheus", "little"} {
		config := prometheusConfig(t, name)
		out := accepted(t, promtool, "check", "config", "--lint=all", "--lint-fatal", config)
		assert.Contains(t, out, "rules found", "the rules are checked too")
		assert.Contains(t, accepted(t, promtool, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(filepath.Dir(config), "rules/chain.yml")), "rules found")
	}
}

func TestPrometheusRefuses(t *testing.T) {
	promtool := built(t, toolchain.PromtoolTool)
	for file, change := range map[string][2]string{
		"prometheus.yml":          {"metric_relabel_configs", "metrics_relabel_configs"},
		"rules/chain.yml":         {"vector(1)", "vectors(1)"},
		"rules/service-caddy.yml": {"severity: critical", "severity: {}"},
	} {
		t.Run(file, func(t *testing.T) {
			config := prometheusConfig(t, "prometheus")
			path := filepath.Join(filepath.Dir(config), file)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			write(t, path, replaced(t, string(data), change[0], change[1]))
			out, err := run(t, promtool, "check", "config", config)
			require.Error(t, err, out)
		})
	}
}

func TestAlertmanagerAccepts(t *testing.T) {
	amtool := built(t, toolchain.AmtoolTool)
	for _, name := range []string{"everybody", "nobody", "switch", "webhook", "webhook-and-switch", "mail", "mail-by-tls"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "alertmanager.yml")
			write(t, path, monitoringGolden(t, "alertmanager", name))
			assert.Contains(t, accepted(t, amtool, "check-config", path), "SUCCESS")
		})
	}
}

func TestAlertmanagerRefuses(t *testing.T) {
	amtool := built(t, toolchain.AmtoolTool)
	for name, change := range map[string][2]string{
		"an unknown key":      {"url_file:", "urlfile:"},
		"an unknown receiver": {"receiver: operator", "receiver: operators"},
		"a broken matcher":    {`alertname="Watchdog"`, `alertname=="Watchdog"`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "alertmanager.yml")
			write(t, path, replaced(t, monitoringGolden(t, "alertmanager", "everybody"), change[0], change[1]))
			out, err := run(t, amtool, "check-config", path)
			require.Error(t, err, out)
		})
	}
}

// The program itself says who hears of an alert.
func TestAlertmanagerRoutes(t *testing.T) {
	amtool := built(t, toolchain.AmtoolTool)
	for name, c := range map[string]struct {
		config string
		labels []string
		want   string
	}{
		"an alert":                        {"everybody", []string{"alertname=DiskNearlyFull", "severity=warning"}, "operator"},
		"a critical alert":                {"everybody", []string{"alertname=ServiceDown", "severity=critical"}, "operator"},
		"a test":                          {"everybody", []string{"alertname=HomelabTestNotification"}, "operator"},
		"the watchdog":                    {"everybody", []string{"alertname=Watchdog", "severity=none"}, "dead-mans-switch"},
		"the watchdog without a switch":   {"webhook", []string{"alertname=Watchdog", "severity=none"}, "nobody"},
		"an alert with only a switch":     {"switch", []string{"alertname=ServiceDown", "severity=critical"}, "nobody"},
		"an alert of which nobody hears":  {"nobody", []string{"alertname=ServiceDown", "severity=critical"}, "nobody"},
		"a test of which nobody hears":    {"nobody", []string{"alertname=HomelabTestNotification"}, "nobody"},
		"the watchdog with nobody at all": {"nobody", []string{"alertname=Watchdog", "severity=none"}, "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "alertmanager.yml")
			write(t, path, monitoringGolden(t, "alertmanager", c.config))
			args := append([]string{"config", "routes", "test", "--config.file=" + path, "--verify.receivers=" + c.want}, c.labels...)
			assert.Equal(t, c.want, strings.TrimSpace(accepted(t, amtool, args...)))
		})
	}
}

func TestBlackboxAccepts(t *testing.T) {
	blackbox := built(t, toolchain.BlackboxTool)
	for _, name := range []string{"blackbox", "nothing"} {
		path := filepath.Join(t.TempDir(), "blackbox.yml")
		write(t, path, monitoringGolden(t, "blackbox", name))
		assert.Contains(t, accepted(t, blackbox, "--config.check", "--config.file="+path), "ok")
	}
}

func TestBlackboxRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blackbox.yml")
	write(t, path, replaced(t, monitoringGolden(t, "blackbox", "blackbox"), "min_version: TLS13", "min_version: TLS14"))
	out, err := run(t, built(t, toolchain.BlackboxTool), "--config.check", "--config.file="+path)
	require.Error(t, err, out)
}
