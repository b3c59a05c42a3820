//go:build chain

package config

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// The hub's own items are fetched by the container at its start. Here stand the smallest items of
// the same names that our files refer to: a rule set for AppSec, and parsers that set what the
// hub's set.
var hubItems = map[string]string{
	"appsec-configs/appsec-default.yaml": `
name: crowdsecurity/appsec-default
default_remediation: ban
inband_rules: [homelab/test]
`,
	"appsec-rules/test.yaml": `
name: homelab/test
description: blocks one path
rules:
  - zones: [URI]
    transform: [lowercase]
    match: {type: contains, value: /blocked-by-appsec}
`,
	"parsers/s00-raw/raw.yaml": `
name: homelab/raw
filter: "true"
onsuccess: next_stage
statics:
  - {parsed: message, expression: evt.Line.Raw}
  - {parsed: program, expression: evt.Line.Labels.type}
`,
	"parsers/s01-parse/caddy.yaml": `
name: homelab/caddy
filter: evt.Parsed.program == 'caddy' && UnmarshalJSON(evt.Parsed.message, evt.Unmarshaled, 'caddy') in ['', nil]
onsuccess: next_stage
statics:
  - {meta: log_type, value: http_access-log}
  - {meta: source_ip, expression: evt.Unmarshaled.caddy.request.client_ip}
  - {meta: http_status, expression: int(evt.Unmarshaled.caddy.status)}
  - {meta: target_fqdn, expression: evt.Unmarshaled.caddy.request.host}
`,
}

// crowdsecConfig writes a configuration around our files and returns the path of config.yaml, and
// the local API's address.
func crowdsecConfig(t *testing.T) (config, api string) {
	t.Helper()
	dir := t.TempDir()
	base, err := yaml.Marshal(map[string]any{
		"common": map[string]any{"log_media": "file", "log_level": "debug", "log_dir": dir},
		"config_paths": map[string]any{
			"config_dir": dir, "data_dir": filepath.Join(dir, "data"), "simulation_path": filepath.Join(dir, "simulation.yaml"),
			"hub_dir": filepath.Join(dir, "hub"), "index_path": filepath.Join(dir, "hub/.index.json"),
			"notification_dir": filepath.Join(dir, "notifications"), "plugin_dir": filepath.Join(dir, "plugins"),
		},
		"crowdsec_service": map[string]any{"acquisition_dir": filepath.Join(dir, "acquis.d"), "parser_routines": 1},
		"db_config":        map[string]any{"type": "sqlite", "db_path": filepath.Join(dir, "data/crowdsec.db")},
		"api": map[string]any{
			"client": map[string]any{"credentials_path": filepath.Join(dir, "credentials.yaml")},
			"server": map[string]any{"profiles_path": filepath.Join(dir, "profiles.yaml"), "listen_uri": "127.0.0.1:1"},
		},
		"prometheus": map[string]any{"enabled": false},
	})
	require.NoError(t, err)
	api = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	write(t, filepath.Join(dir, "config.yaml"), string(base))
	write(t, filepath.Join(dir, "config.yaml.local"), replaced(t, rendered(t, "crowdsec", "config-local"), "0.0.0.0:8080", api))
	write(t, filepath.Join(dir, "simulation.yaml"), "simulation: false\n")
	write(t, filepath.Join(dir, "hub/.index.json"), "{}")
	write(t, filepath.Join(dir, "credentials.yaml"), "url: http://"+api+"\nlogin: test\npassword: test\n")
	for _, keep := range []string{"data", "patterns", "notifications", "plugins", "scenarios", "logs/caddy", "logs/authelia"} {
		write(t, filepath.Join(dir, keep, ".keep"), "")
	}
	for path, content := range hubItems {
		write(t, filepath.Join(dir, path), content)
	}
	write(t, filepath.Join(dir, "profiles.yaml"), rendered(t, "crowdsec", "profiles"))
	write(t, filepath.Join(dir, "parsers/s02-enrich/homelab-ranges.yaml"), rendered(t, "crowdsec", "whitelist-ranges"))
	write(t, filepath.Join(dir, "parsers/s02-enrich/homelab-sessions.yaml"), rendered(t, "crowdsec", "whitelist-sessions"))
	write(t, filepath.Join(dir, "parsers/s02-enrich/homelab-visitors.yaml"), rendered(t, "crowdsec", "parser-visitors"))
	write(t, filepath.Join(dir, "scenarios/homelab-second-factor.yaml"), rendered(t, "crowdsec", "scenario-second"))
	for _, source := range []string{"caddy", "authelia"} {
		write(t, filepath.Join(dir, "acquis.d", source+".yaml"), replaced(t, rendered(t, "crowdsec", "acquis-"+source), "/logs/", dir+"/logs/"))
	}
	write(t, filepath.Join(dir, "acquis.d/appsec.yaml"), rendered(t, "crowdsec", "acquis-appsec"))
	return filepath.Join(dir, "config.yaml"), api
}

func TestCrowdSecAccepts(t *testing.T) {
	config, _ := crowdsecConfig(t)
	out := accepted(t, built(t, crowdsecTool), "-c", config, "-t")
	assert.Contains(t, out, "Configuration test done")
	assert.Contains(t, out, "Loaded 1 inband rules")
	assert.Contains(t, out, "homelab/second-factor")
	assert.Contains(t, out, `"level":"info"`, "the settings of config.yaml.local hold")
}

// The engine skips a profile, an acquisition or a parser for few mistakes only; the others must
// stop it.
func TestCrowdSecRefuses(t *testing.T) {
	crowdsec := built(t, crowdsecTool)
	for file, content := range map[string]string{
		"profiles.yaml":                            replaced(t, rendered(t, "crowdsec", "profiles"), "Alert.GetScope()", "Alert.Nonsense()"),
		"acquis.d/appsec.yaml":                     replaced(t, rendered(t, "crowdsec", "acquis-appsec"), "crowdsecurity/appsec-default", "crowdsecurity/none"),
		"acquis.d/caddy.yaml":                      replaced(t, rendered(t, "crowdsec", "acquis-caddy"), "filenames:", "file_names:"),
		"parsers/s02-enrich/homelab-ranges.yaml":   replaced(t, rendered(t, "crowdsec", "whitelist-ranges"), "103.21.244.0/22", "103.21.244.0/222"),
		"parsers/s02-enrich/homelab-sessions.yaml": replaced(t, rendered(t, "crowdsec", "whitelist-sessions"), "Split(", "Splice("),
		"parsers/s02-enrich/homelab-visitors.yaml": replaced(t, rendered(t, "crowdsec", "parser-visitors"), "IpToRange(", "IpToRanges("),
		"scenarios/homelab-second-factor.yaml":     replaced(t, rendered(t, "crowdsec", "scenario-second"), "groupby:", "group_by:"),
	} {
		t.Run(file, func(t *testing.T) {
			config, _ := crowdsecConfig(t)
			write(t, filepath.Join(filepath.Dir(config), file), content)
			out, err := run(t, crowdsec, "-c", config, "-t")
			require.Error(t, err, out)
		})
	}
}

// Each line goes through the engine's own parsers and whitelists.
func TestCrowdSecWhitelists(t *testing.T) {
	crowdsec, cscli := built(t, crowdsecTool), built(t, cscliTool)
	config, api := crowdsecConfig(t)
	accepted(t, cscli, "-c", config, "machines", "add", "test", "--password", "test", "--file", os.DevNull, "--force")
	start(t, crowdsec, "-c", config, "-no-cs")
	answers(t, api)
	const line = `{"level":"info","ts":1795418971.9,"logger":"http.log.access","msg":"handled request",` +
		`"request":{"remote_ip":"173.245.48.9","remote_port":"1","client_ip":%q,"host":%q,"uri":"/"},"status":%d}`
	for name, c := range map[string]struct {
		ip, host string
		status   int
		want     bool
	}{
		"a visitor":                              {"198.51.100.7", "requests.example.com", 403, false},
		"a visitor whose session has ended":      {"198.51.100.7", "requests.example.com", 401, true},
		"the same on another port":               {"198.51.100.7", "requests.example.com:8443", 401, true},
		"a failed login at a service of its own": {"198.51.100.7", "photos.example.com", 401, false},
		"a failed login at the portal":           {"198.51.100.7", "auth.example.com", 401, false},
		"the edge":                               {"173.245.48.9", "requests.example.com", 403, true},
		"the edge by IPv6":                       {"2400:cb00::1", "requests.example.com", 403, true},
		"a device of the tailnet":                {"100.100.1.2", "grafana.example.com", 403, true},
		"a container":                            {"172.30.1.5", "grafana.example.com", 403, true},
		"the machine itself":                     {"127.0.0.1", "grafana.example.com", 403, true},
		"a visitor by IPv6":                      {"2001:db8::7", "requests.example.com", 403, false},
		"a device of the tailnet by IPv6":        {"fd7a:115c:a1e0::1", "grafana.example.com", 403, true},
	} {
		t.Run(name, func(t *testing.T) {
			out := accepted(t, cscli, "-c", config, "explain", "--crowdsec", crowdsec, "--type", "caddy", "--verbose", "--log", fmt.Sprintf(line, c.ip, c.host, c.status))
			assert.Contains(t, out, "homelab/caddy", "the parser must have read the line")
			if c.want {
				assert.Contains(t, out, "whitelisted")
				return
			}
			assert.NotContains(t, out, "whitelisted")
		})
	}
}
