package policy

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/media"
	"homelab/components/service"
	"homelab/components/stack"
	"homelab/policy/audit"
	"homelab/policy/rules"
)

func (s *state) audit() *audit.Report {
	export, err := rules.ReadExport(bytes.NewReader(s.text()))
	require.NoError(s.t, err)
	return audit.Of(export)
}

// changed is the stack with one thing done to it.
func changed(t testing.TB, do func(*state)) *state {
	s := newState(t)
	do(s)
	return s
}

func TestTheReportFitsItsSchema(t *testing.T) {
	schema, err := os.ReadFile("../../docs/audit.schema.json")
	require.NoError(t, err)
	// The committed schema lets later versions add properties; today's report has none beyond it.
	strict := strings.ReplaceAll(string(schema), `"properties": {`, `"additionalProperties": false, "properties": {`)
	compiled, err := jsonschema.CompileString("audit.schema.json", strict)
	require.NoError(t, err)
	broken := changed(t, setValue(record, "jellyseerr", false, "proxied")).audit()
	broken.Compare(newState(t).audit())
	broken.Pending = append(broken.Pending, "urn:x")
	for _, report := range []*audit.Report{newState(t).audit(), broken} {
		text, err := json.Marshal(report)
		require.NoError(t, err)
		var document any
		require.NoError(t, json.Unmarshal(text, &document))
		assert.NoError(t, compiled.Validate(document))
	}
}

func TestWhatAnExportChangedInExposure(t *testing.T) {
	before := newState(t).audit()
	for name, c := range map[string]struct {
		do   func(*state)
		want []string
	}{
		"nothing": {func(*state) {}, []string{}},
		"a group": {
			replaceText(command, "authelia-configuration.yml", "stdin",
				"- requests.example.com\n      policy: two_factor\n      subject:\n        - - group:users",
				"- requests.example.com\n      policy: two_factor\n      subject:\n        - - group:everybody"),
			[]string{"requests.example.com is reachable from the internet by group everybody (two factor), and was from the internet by group users (two factor)"},
		},
		"a factor": {
			replaceText(command, "authelia-configuration.yml", "stdin", "- requests.example.com\n      policy: two_factor", "- requests.example.com\n      policy: one_factor"),
			[]string{
				"requests.example.com is reachable from the internet by group users (one factor), and was from the internet by group users (two factor)",
				"the rule portal-second-factor is broken now",
			},
		},
		"the rate limit": {func(s *state) { s.get(record, "jellyseerr").forget(s.get(ruleset, "edge-rate-limit")) }, []string{
			"requests.example.com lost its rate limit", "the rule record-rate-limit is broken now",
		}},
		"to the internet": {setValue(record, "jellyfin", "198.51.100.25", "content"), []string{
			"jellyfin.example.com is reachable from the internet, with the service's own login, and was on the tailnet, with the service's own login",
			"the rule record-proxied is broken now",
		}},
		"a bypass": {
			replaceText(command, "authelia-configuration.yml", "stdin", "  rules:\n", "  rules:\n    - domain:\n        - requests.example.com\n      policy: bypass\n      methods: [GET]\n      resources: ['^/api/status$']\n"),
			[]string{"requests.example.com asks nobody to log in for GET ^/api/status$"},
		},
		"an edge": {func(s *state) {
			p := s.get(command, "jellyseerr-reach")
			p.set(p.at("stdin").(string)+"add element bridge homelab edges { 172.30.1.33 . 172.30.1.18 . 9091 }\n", "stdin")
		}, []string{"jellyseerr may reach authelia on port 9091 now", "the rule network-edges is broken now"}},
		"another VPN server": {func(s *state) {
			s.get(command, "gluetun-reach").replace("stdin", "185.213.154.68", "185.213.154.69")
			tellAlso("WIREGUARD_ENDPOINT_IP=185.213.154.69")(s)
		}, []string{
			"gluetun may reach the VPN server 185.213.154.68:51820/udp no longer", "gluetun may reach the VPN server 185.213.154.69:51820/udp now",
		}},
		"the tunnel": {func(s *state) {
			s.get(docker, "qbittorrent").set("", "networkMode")
			s.get(docker, "qbittorrent").set([]any{object{"name": "caddy-proxy", "ipv4Address": "172.30.1.99"}}, "networksAdvanced")
		}, []string{
			"qbittorrent is behind no tunnel now, and was behind gluetun", "qbittorrent.example.com leads to gluetun, and led to qbittorrent",
			"qbittorrent.example.com lost its service", "the rule container-orphan is broken now", "the rule container-torrent is broken now",
			"the rule network-filter-first is broken now", "the rule network-names is broken now", "the rule record-upstream is broken now",
		}},
		"a folder of the machine": {mountAlso("jellyseerr", "/var/log/journal", true), []string{
			"jellyseerr has /var/log/journal of the machine now", "the rule container-mounts is broken now",
		}},
		"a port": {firewallRule(object{"protocol": "tcp", "port": "8080", "sourceIps": anywhere, "description": "test"}), []string{
			"tcp port 8080 was opened (firewall: test)", "the rule firewall-closed is broken now",
		}},
		"a port for anybody": {func(s *state) {
			s.get("firewall:Firewall", "homelab-firewall").each("rules", func(r object) {
				if r["port"] == "443" {
					r["sourceIps"] = anywhere
				}
			})
		}, []string{"tcp port 443 was opened to anybody (firewall: HTTPS from Cloudflare)", "the rule firewall-closed is broken now"}},
		"a name less": {func(s *state) { s.remove(s.get(record, "jellyfin")) }, []string{
			"jellyfin.example.com is no longer reachable", "the rule proxy-stray-route is broken now",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			report := changed(t, c.do).audit()
			report.Compare(before)
			assert.Equal(t, c.want, report.Changes)
		})
	}
	// The other way round, a new name is one that became reachable.
	report := newState(t).audit()
	report.Compare(changed(t, func(s *state) { s.remove(s.get(record, "jellyseerr")) }).audit())
	assert.Contains(t, report.Changes, "requests.example.com became reachable from the internet by group users (two factor)")
}

func TestInventory(t *testing.T) {
	i := newState(t).audit().Inventory
	leadsTo := map[string]string{}
	for _, h := range i.Hostnames {
		leadsTo[h.Name] = h.Container
		for _, e := range h.Chain {
			assert.NotEmpty(t, e.Resources, "%s: %s", h.Name, e.Layer)
		}
	}
	assert.Equal(t, "jellyseerr", leadsTo["requests.example.com"])
	assert.Equal(t, "authelia", leadsTo["auth.example.com"])
	assert.Contains(t, i.Edges, rules.Edge{From: "jellyseerr", To: "jellyfin", Port: 8096})
	for _, c := range i.Containers {
		assert.Regexp(t, `@sha256:[0-9a-f]{64}$|^homelab/`, c.Image)
	}
	// The tunnel is what it is: it leads to its server, and the torrent client answers behind it.
	assert.Equal(t, "qbittorrent", leadsTo["qbittorrent.example.com"])
	assert.Contains(t, i.Edges, rules.Edge{From: "gluetun", To: "VPN server 185.213.154.68:51820/udp", Port: 51820})
	ways := map[string]string{}
	for _, c := range i.Containers {
		ways[c.Name] = i.WayOut(c)
		assert.Equal(t, c.Name == "qbittorrent", c.Behind() == "gluetun", c.Name)
	}
	for name, want := range map[string]string{
		"gluetun": "VPN server 185.213.154.68:51820/udp", "qbittorrent": "through gluetun", "radarr": "yes", "wire": "no",
	} {
		assert.Equal(t, want, ways[name], name)
	}
	// The monitoring is there, with what it has of the machine.
	assert.Equal(t, "grafana", leadsTo["grafana.example.com"])
	assert.Equal(t, "home", leadsTo["home.example.com"])
	assert.Equal(t, []rules.Asker{{Container: "docker-api"}, {Container: "alloy", Through: "docker-api"}}, i.Engine)
	machine := map[string][]string{}
	for _, c := range i.Containers {
		if len(c.Machine) > 0 {
			machine[c.Name] = c.Machine
		}
	}
	assert.Equal(t, map[string][]string{"alloy": {"/var/log/journal"}, "cadvisor": {"/sys/fs/cgroup"}, "docker-api": {"/run/docker.sock"}}, machine)
	assert.Equal(t, "yes", ways["alertmanager"])
	for _, name := range []string{"prometheus", "loki", "alloy", "grafana", "node-exporter", "cadvisor", "blackbox", "docker-api", "home"} {
		assert.Equal(t, "no", ways[name], name)
	}
	assert.NotContains(t, leadsTo, "prometheus.example.com")
	text, err := exported()
	require.NoError(t, err)
	assert.NotEmpty(t, i.Secrets)
	for _, ciphertext := range regexp.MustCompile(`"ciphertext":"([^"]+)"`).FindAllSubmatch(text, -1) {
		for _, s := range i.Secrets {
			assert.NotContains(t, s.Name, string(ciphertext[1]))
		}
	}
}

func TestSARIF(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, changed(t, setValue(record, "jellyseerr", false, "proxied")).audit().WriteSARIF(&out))
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
					LogicalLocations []struct{ FullyQualifiedName string }
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &log))
	assert.Equal(t, "2.1.0", log.Version)
	require.Len(t, log.Runs, 1)
	require.Len(t, log.Runs[0].Results, 1)
	result := log.Runs[0].Results[0]
	assert.Equal(t, "record-proxied", result.RuleID)
	assert.Equal(t, "record-proxied", log.Runs[0].Tool.Driver.Rules[result.RuleIndex].ID)
	assert.Equal(t, "error", result.Level)
	assert.Contains(t, result.Message.Text, "requests.example.com leads to 198.51.100.")
	assert.Equal(t, "Pulumi.yaml", result.Locations[0].PhysicalLocation.ArtifactLocation.URI)
	assert.Contains(t, result.Locations[0].LogicalLocations[0].FullyQualifiedName, "DnsRecord::jellyseerr")
}

// The page is whole in itself, and escapes what an export says.
func TestThePage(t *testing.T) {
	s := newState(t)
	s.get(record, "jellyseerr").set("<script>alert(1)</script>.example.com", "name")
	var out bytes.Buffer
	require.NoError(t, s.audit().WriteHTML(&out))
	page := out.String()
	assert.NotContains(t, page, "<script")
	assert.NotRegexp(t, `(?:src|href|url)\s*[=(]\s*["']?https?:`, page)
	assert.Contains(t, page, "default-src 'none'")
	assert.Contains(t, page, `id="jellyfin.example.com"`)
	assert.Contains(t, page, `<html lang="en">`)
	again := newState(t)
	var first, second bytes.Buffer
	require.NoError(t, again.audit().WriteHTML(&first))
	require.NoError(t, again.audit().WriteHTML(&second))
	assert.Equal(t, first.String(), second.String())
}

// small is a stack with three services and nothing that measures, as pulumi stack export writes it.
var small = sync.OnceValues(func() ([]byte, error) {
	return deploy(stack.FromCatalog([]service.Definition{media.Jellyfin(), media.Jellyseerr(), media.QBittorrent()}), nil)
})

// Where nothing measures, no rule about that is broken, and each says what it has not found.
func TestWithoutMonitoring(t *testing.T) {
	text, err := small()
	require.NoError(t, err)
	export, err := rules.ReadExport(bytes.NewReader(text))
	require.NoError(t, err)
	reasons := map[string]string{}
	for _, v := range rules.Judge(export.Graph) {
		assert.NotEqual(t, rules.Failed, v.Status, "%s: %v", v.Rule.ID, v.Findings)
		if v.Status == rules.NotApplicable {
			reasons[v.Rule.ID] = v.Reason
		}
	}
	assert.Equal(t, map[string]string{
		"engine-socket":       "no container with the engine's socket found",
		"home-identity":       "no start page found",
		"monitoring-alerts":   "no Alertmanager found",
		"monitoring-complete": "no Prometheus found",
		"monitoring-grafana":  "no Grafana found",
		"monitoring-internal": "no Prometheus found",
		"monitoring-reach":    "no program of a monitoring found",
		"monitoring-secrets":  "no program of a monitoring found",
		"proxy-inner":         "no listener for containers found",
	}, reasons)
}

// The picture of the README is what homelab graph draws of the stack with three services: what plays,
// what takes requests, and what is behind the tunnel. Others would make it no clearer.
func TestThePictureOfTheReadme(t *testing.T) {
	const file = "../../docs/stack.svg"
	text, err := small()
	require.NoError(t, err)
	export, err := rules.ReadExport(bytes.NewReader(text))
	require.NoError(t, err)
	svg := audit.Whole(rules.TakeInventory(export.Graph)).SVG("Who may talk to whom in the production example")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(svg), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), svg, "run: go test ./tests/policy -run %s -update", t.Name())
	dot := audit.Whole(newState(t).audit().Inventory).DOT()
	assert.Contains(t, dot, `"container:jellyseerr" -> "container:jellyfin" [label="8096"];`)
	assert.Contains(t, dot, `"container:gluetun" -> "container:qbittorrent" [label="its network"];`)
	assert.Contains(t, dot, `"container:gluetun" -> "VPN server 185.213.154.68:51820/udp" [label="51820/udp"];`)
	assert.Contains(t, dot, `"VPN server 185.213.154.68:51820/udp" [label="VPN 185.213.154.68"];`)
	assert.NotContains(t, dot, `"container:gluetun" -> "container:VPN`)
}

// many is an export of that many resources: the stack, again and again under other names.
func many(t testing.TB, resources int) []byte {
	s := newState(t)
	one, err := json.Marshal(s.resources())
	require.NoError(t, err)
	var all []any
	for n := 0; len(all) < resources; n++ {
		text := strings.ReplaceAll(string(one), "urn:pulumi:prod::homelab::", "urn:pulumi:prod::homelab"+strconv.Itoa(n)+"::")
		var more []any
		require.NoError(t, json.Unmarshal([]byte(text), &more))
		all = append(all, more...)
	}
	s.file["deployment"].(object)["resources"] = all[:resources]
	return s.text()
}

// BenchmarkAudit audits 5,000 resources, and reports the memory that it took at the most.
func BenchmarkAudit(b *testing.B) {
	text := many(b, 5000)
	var peak uint64
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse)
			}
		}
	}()
	for b.Loop() {
		export, err := rules.ReadExport(bytes.NewReader(text))
		require.NoError(b, err)
		var out bytes.Buffer
		require.NoError(b, audit.Of(export).WriteHTML(&out))
	}
	close(done)
	b.ReportMetric(float64(peak)/(1<<20), "MiB")
}
