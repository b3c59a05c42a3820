//go:build chain

package config

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
)

// haste is how much faster time passes in the test: in our files, an interval is that much shorter.
const haste = 20

// inHaste shortens every interval of a rendered file.
func inHaste(t *testing.T, text string) string {
	t.Helper()
	interval := regexp.MustCompile(`(?m)^(\s*(?:- )?(?:scrape_interval|evaluation_interval|for|keep_firing_for|group_wait|group_interval|repeat_interval): )(\d+[smhd])$`)
	require.Regexp(t, interval, text)
	return interval.ReplaceAllStringFunc(text, func(line string) string {
		parts := interval.FindStringSubmatch(line)
		return parts[1] + fmt.Sprintf("%dms", (waits(t, parts[2])/haste).Milliseconds())
	})
}

// message is what Alertmanager posts to a webhook.
type message struct {
	Status string `json:"status"`
	Alerts []struct {
		Status string            `json:"status"`
		Labels map[string]string `json:"labels"`
	} `json:"alerts"`
}

// mailbox is where messages arrive.
type mailbox struct {
	sync.Mutex
	got []message
}

func (m *mailbox) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var got message
	if json.NewDecoder(r.Body).Decode(&got) != nil {
		return
	}
	m.Lock()
	defer m.Unlock()
	m.got = append(m.got, got)
}

// about returns what messages of a status have said, as "alert of service", sorted and each once.
func (m *mailbox) about(status string) []string {
	m.Lock()
	defer m.Unlock()
	said := map[string]bool{}
	for _, one := range m.got {
		for _, a := range one.Alerts {
			if a.Status == status {
				said[a.Labels["alertname"]+" of "+a.Labels["service"]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(said))
}

// system is the monitoring, running from our files on the loopback address. What it watches are
// stand-ins, but for itself.
type system struct {
	prometheus, alertmanager string
	rules, textfile          string
	operator, outside        mailbox
	targets                  map[string]*http.Server
	machine                  map[string]float64
}

// targetOf finds a target's name and port in prometheus.yml.
var targetOf = regexp.MustCompile(`(?m)^ +- ([a-z-]+):(\d+)$`)

// startMonitoring starts it.
func startMonitoring(t *testing.T) *system {
	t.Helper()
	dir := t.TempDir()
	s := &system{rules: filepath.Join(dir, "rules"), textfile: filepath.Join(dir, "textfile/homelab.prom"), targets: map[string]*http.Server{}, machine: healthy()}
	for _, name := range ruleFiles(t, s.rules) {
		text := monitoringGolden(t, "rules", name)
		if name != recordings { // it holds no interval
			text = inHaste(t, text)
		}
		write(t, filepath.Join(s.rules, name), text)
	}
	config := monitoringGolden(t, "prometheus", "prometheus")
	own, ca := map[string]string{}, newIssuer(t)
	for _, found := range targetOf.FindAllStringSubmatch(config, -1) {
		name, port := found[1], found[2]
		if !strings.Contains(config, name+":"+port) {
			continue // It was replaced in both places.
		}
		address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		switch name {
		case "prometheus", "alertmanager", "blackbox", "node-exporter":
			own[name] = address
		case "caddy":
			if port != "9180" {
				address = ca.listens(t, time.Now().Add(90*24*time.Hour), "auth.example.com", "grafana.example.com", "jellyfin.example.com", "requests.example.com")
				break
			}
			s.standIn(t, name, address)
		default:
			s.standIn(t, name, address)
		}
		config = strings.ReplaceAll(config, name+":"+port, address)
	}
	s.prometheus, s.alertmanager = "http://"+own["prometheus"], "http://"+own["alertmanager"]

	write(t, filepath.Join(dir, "secrets/webhook"), serve(t, &s.operator)+"\n")
	write(t, filepath.Join(dir, "secrets/dead-mans-switch"), serve(t, &s.outside))
	write(t, filepath.Join(dir, "alertmanager.yml"), inHaste(t, replaced(t, monitoringGolden(t, "alertmanager", "webhook-and-switch"), "/etc/alertmanager/", dir+"/")))
	start(t, built(t, toolchain.AlertmanagerTool), "--config.file="+filepath.Join(dir, "alertmanager.yml"),
		"--storage.path="+filepath.Join(dir, "alertmanager"), "--cluster.listen-address=", "--web.listen-address="+own["alertmanager"])

	write(t, filepath.Join(dir, "blackbox.yml"), monitoringGolden(t, "blackbox", "blackbox"))
	start(t, built(t, toolchain.BlackboxTool), "--config.file="+filepath.Join(dir, "blackbox.yml"), "--web.listen-address="+own["blackbox"])

	s.report(t)
	start(t, built(t, toolchain.NodeExporterTool), "--collector.disable-defaults", "--collector.textfile", "--collector.meminfo",
		"--collector.textfile.directory="+filepath.Dir(s.textfile), "--web.listen-address="+own["node-exporter"])

	write(t, filepath.Join(dir, "prometheus.yml"), inHaste(t, replaced(t, config, "/etc/prometheus/", dir+"/",
		// A probe ends half a second before the scrape does.
		"scrape_timeout: 10s", "scrape_timeout: 1500ms")))
	arguments := replaced(t, monitoringGolden(t, "prometheus", "arguments"), "/etc/prometheus", dir, "=/prometheus", "="+filepath.Join(dir, "data"), "=10s", "=1s")
	start(t, built(t, toolchain.PrometheusTool), append(strings.Fields(arguments), "--web.listen-address="+own["prometheus"])...)
	ready(t, s.prometheus)
	ready(t, s.alertmanager)
	return s
}

// exampleContainers are the containers of the model that our files are rendered from.
var exampleContainers = []string{
	"alertmanager", "alloy", "authelia", "authelia-store", "blackbox", "caddy", "cadvisor", "crowdsec", "docker-api", "gluetun", "grafana", "jellyfin", "jellyseerr",
	"loki", "node-exporter", "prometheus", "qbittorrent", "radarr", "wire",
}

// healthy is what the machine says when all is well, without the times.
func healthy() map[string]float64 {
	out := map[string]float64{"homelab_media_mounted": 1, "homelab_vpn_up": 1, "homelab_tailnet_connected": 1, `homelab_fail2ban_banned{jail="sshd"}`: 0}
	for _, name := range exampleContainers {
		out[fmt.Sprintf("homelab_container_running{container=%q}", name)] = 1
		out[fmt.Sprintf("homelab_container_healthy{container=%q}", name)] = 1
		out[fmt.Sprintf("homelab_container_info{container=%q,id=%q}", name, scope(name))] = 1
	}
	return out
}

// set changes what the machine says of containers.
func (s *system) set(t *testing.T, value float64, containers ...string) {
	t.Helper()
	for _, name := range containers {
		s.machine[fmt.Sprintf("homelab_container_running{container=%q}", name)] = value
		s.machine[fmt.Sprintf("homelab_container_healthy{container=%q}", name)] = value
	}
	s.report(t)
}

// report writes what the machine says, as its program does: whole or not at all.
func (s *system) report(t *testing.T) {
	t.Helper()
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.machine)) {
		fmt.Fprintf(&out, "%s %g\n", name, s.machine[name])
	}
	for _, name := range []string{"homelab_metrics_last_run_timestamp_seconds", "homelab_backup_last_success_timestamp_seconds", "homelab_drill_last_success_timestamp_seconds"} {
		fmt.Fprintf(&out, "%s %d\n", name, time.Now().Unix())
	}
	write(t, s.textfile+".new", out.String())
	require.NoError(t, os.Chmod(s.textfile+".new", 0o644))
	require.NoError(t, os.Rename(s.textfile+".new", s.textfile))
}

// standIn serves series as the program does whose name it has: those that our files relabel or that
// must not stand still.
func (s *system) standIn(t *testing.T, name, address string) {
	t.Helper()
	began := time.Now()
	var used strings.Builder
	for _, id := range []string{"/", scope("somebodys"), scope("jellyfin") + "/inner"} {
		fmt.Fprintf(&used, "container_memory_working_set_bytes{id=%q} 5\n", id)
	}
	for i, container := range exampleContainers {
		fmt.Fprintf(&used, "container_memory_working_set_bytes{id=%q} %d\n", scope(container), 1000+i)
	}
	series := map[string]string{
		"cadvisor": used.String() + `container_cpu_usage_seconds_total{cpu="total",id="` + scope("jellyfin") + `"} SINCE
container_spec_memory_limit_bytes{id="` + scope("jellyfin") + `"} 1
`,
		"caddy": `homelab_guard_response_duration_seconds_count{code="2xx",host="radarr.example.com",server="tailnet"} 5
homelab_guard_last_pull_timestamp_seconds NOW
`,
		"loki":  "loki_distributor_lines_received_total SINCE\n",
		"alloy": "loki_source_journal_target_lines_total SINCE\n",
	}[name]
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		text := strings.NewReplacer("NOW", strconv.FormatInt(now.Unix(), 10), "SINCE", fmt.Sprint(now.Sub(began).Seconds())).Replace(series)
		_, _ = io.WriteString(w, text+"standin_up 1\n")
	})}
	go func() { _ = server.ListenAndServe() }()
	t.Cleanup(func() { _ = server.Close() })
	s.targets[name] = server
}

// query returns the results of an expression: their labels.
func (s *system) query(t *testing.T, expr string) []map[string]string {
	t.Helper()
	var out struct {
		Data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
			} `json:"result"`
		} `json:"data"`
	}
	get(t, s.prometheus+"/api/v1/query?query="+url.QueryEscape(expr), &out)
	var labels []map[string]string
	for _, r := range out.Data.Result {
		labels = append(labels, r.Metric)
	}
	return labels
}

// down returns what Prometheus cannot scrape, with the reasons, and how many targets there are.
func (s *system) down(t *testing.T) (bad []string, all int) {
	t.Helper()
	var out struct {
		Data struct {
			Active []struct {
				ScrapePool, Health, LastError string
			} `json:"activeTargets"`
		} `json:"data"`
	}
	get(t, s.prometheus+"/api/v1/targets?state=active", &out)
	for _, one := range out.Data.Active {
		if one.Health != "up" {
			bad = append(bad, one.ScrapePool+" "+one.LastError)
		}
	}
	return bad, len(out.Data.Active)
}

// get decodes what an address answers. It may be called while something is waited for.
func get(t *testing.T, address string, out any) {
	t.Helper()
	response, err := http.Get(address)
	if !assert.NoError(t, err) {
		return
	}
	defer func() { _ = response.Body.Close() }()
	assert.Equal(t, http.StatusOK, response.StatusCode, address)
	assert.NoError(t, json.NewDecoder(response.Body).Decode(out), address)
}

// ready waits until a program says that it is.
func ready(t *testing.T, address string) {
	t.Helper()
	require.Eventually(t, func() bool {
		response, err := http.Get(address + "/-/ready")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}, 30*time.Second, 100*time.Millisecond, address)
}

// The real programs run from our files: they find every target, and tell the operator of what
// fails, each cause in one message.
func TestMonitoringRuns(t *testing.T) {
	s := startMonitoring(t)
	var missing []string
	found := 0
	assert.Eventually(t, func() bool {
		missing, found = s.down(t)
		return len(missing) == 0 && len(s.query(t, "probe_success == 1")) == 4
	}, 30*time.Second, time.Second)
	require.Empty(t, missing, "every target is up")
	require.Equal(t, 16, found)
	s.seriesAreLabelled(t)

	require.Eventually(t, func() bool { return slices.Equal(s.outside.about("firing"), []string{"Watchdog of prometheus"}) }, time.Minute, time.Second)
	s.testArrives(t)

	// A target that stops; a container that stops, with its target; and the library, with all that
	// need it. What follows from another one is told nobody.
	require.NoError(t, s.targets["wire"].Close())
	require.NoError(t, s.targets["authelia"].Close())
	s.machine["homelab_media_mounted"] = 0
	s.set(t, 0, "authelia", "jellyfin", "radarr")
	told := []string{"HomelabTestNotification of ", "MediaMissing of machine", "ServiceDown of authelia", "TargetDown of wire"}
	require.Eventually(t, func() bool {
		s.report(t)
		return slices.Equal(told, s.operator.about("firing"))
	}, 2*time.Minute, time.Second, "each cause is told")
	var pending []string
	for _, a := range s.query(t, `ALERTS{alertstate="firing"}`) {
		pending = append(pending, a["alertname"]+" of "+a["service"])
	}
	for _, consequence := range []string{"ServiceDown of jellyfin", "ServiceDown of radarr", "TargetDown of authelia"} {
		assert.Contains(t, pending, consequence, "it fires, or its inhibition shows nothing")
	}

	// The library comes back first; what needs it follows.
	s.machine["homelab_media_mounted"] = 1
	s.set(t, 1, "authelia")
	time.Sleep(5 * time.Second)
	s.set(t, 1, "jellyfin", "radarr")
	require.Eventually(t, func() bool {
		s.report(t)
		return slices.Contains(s.operator.about("resolved"), "MediaMissing of machine") && slices.Contains(s.operator.about("resolved"), "ServiceDown of authelia")
	}, 2*time.Minute, time.Second, "the end is told")
	// The portal's target is still gone, and its container no longer says it.
	require.Eventually(t, func() bool {
		s.report(t)
		return slices.Contains(s.operator.about("firing"), "TargetDown of authelia")
	}, time.Minute, time.Second)
	assert.ElementsMatch(t, append(told, "TargetDown of authelia"), s.operator.about("firing"))
	assert.Equal(t, []string{"Watchdog of prometheus"}, s.outside.about("firing"))
	s.reloads(t)
	s.oneMessageForAnApp(t)
}

// oneMessageForAnApp sends Alertmanager what Prometheus does when an application is down: that it
// cannot be connected follows from that, and of another one it does not.
func (s *system) oneMessageForAnApp(t *testing.T) {
	t.Helper()
	response, err := http.Post(s.alertmanager+"/api/v2/alerts", "application/json", strings.NewReader(`[
		{"labels":{"alertname":"ServiceDown","service":"sonarr","layer":"service","severity":"critical"}},
		{"labels":{"alertname":"WiringFailed","service":"sonarr","layer":"service","severity":"warning","app":"sonarr"}},
		{"labels":{"alertname":"WiringFailed","service":"prowlarr","layer":"service","severity":"warning","app":"prowlarr"}}]`))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	states := func() map[string]string {
		var alerts []struct {
			Labels map[string]string      `json:"labels"`
			Status struct{ State string } `json:"status"`
		}
		get(t, s.alertmanager+"/api/v2/alerts?filter=alertname=WiringFailed", &alerts)
		out := map[string]string{}
		for _, a := range alerts {
			out[a.Labels["app"]] = a.Status.State
		}
		return out
	}
	require.Eventually(t, func() bool {
		return maps.Equal(states(), map[string]string{"sonarr": "suppressed", "prowlarr": "active"})
	}, 20*time.Second, 200*time.Millisecond)
}

// seriesAreLabelled looks at what our files relabel.
func (s *system) seriesAreLabelled(t *testing.T) {
	t.Helper()
	const memory, cpu = "homelab:container_memory_working_set_bytes", "homelab:container_cpu_usage_seconds:rate5m"
	require.Eventually(t, func() bool { return len(s.query(t, memory)) > 0 && len(s.query(t, cpu+" > 0")) > 0 }, 20*time.Second, 500*time.Millisecond)
	assert.Len(t, s.query(t, memory+" >= 1000"), len(exampleContainers))
	assert.Len(t, s.query(t, memory), len(exampleContainers), "nobody knows the name of another one")
	assert.Equal(t, []map[string]string{{"__name__": cpu, "host": "homelab", "service": "jellyfin", "layer": "service"}}, s.query(t, cpu))
	// What cAdvisor measured tells only the control group.
	for _, label := range []string{"service", "layer", "host"} {
		assert.Empty(t, s.query(t, fmt.Sprintf(`{__name__=~".+",__name__!~"ALERTS.*|container_.+",%s=""}`, label)), "a series without %s", label)
	}
	assert.Len(t, s.query(t, `container_memory_working_set_bytes{host="homelab",service="",layer=""}`), len(exampleContainers)+1, "neither the machine nor what is within a container is one")
	assert.Empty(t, s.query(t, "container_spec_memory_limit_bytes"), "what nobody looks at is dropped")
	assert.Len(t, s.query(t, `homelab_guard_response_duration_seconds_count{hostname="radarr.example.com",host="homelab",exported_host=""}`), 1)
	assert.Len(t, s.query(t, `homelab_container_healthy{service="radarr",layer="service",container=""} == 1`), 1)
	assert.Len(t, s.query(t, `homelab_container_healthy{service="caddy",layer="gateway"} == 1`), 1)
	assert.Len(t, s.query(t, `homelab_media_mounted{service="machine",layer="machine"} == 1`), 1)
	assert.Len(t, s.query(t, `node_memory_MemAvailable_bytes{service="machine"} > 0`), 1)
	assert.Empty(t, s.query(t, "node_memory_Buffers_bytes"), "what nobody looks at is dropped")
	assert.Len(t, s.query(t, `probe_success{service="jellyfin",hostname="jellyfin.example.com",instance="jellyfin.example.com"} == 1`), 1)
	assert.Len(t, s.query(t, `probe_tls_version_info{version="TLS 1.3"}`), 4)
	assert.Len(t, s.query(t, "prometheus_tsdb_retention_limit_bytes == 5 * 1024 * 1024 * 1024"), 1, "the retention of the configuration is in force")
}

// testArrives sends the alert that a deployment sends. It is delivered at once.
func (s *system) testArrives(t *testing.T) {
	t.Helper()
	response, err := http.Post(s.alertmanager+"/api/v2/alerts", "application/json", strings.NewReader(
		`[{"labels":{"alertname":"HomelabTestNotification","id":"1"},"annotations":{"summary":"A test","description":"Nothing is wrong."}}]`))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Eventually(t, func() bool { return slices.Contains(s.operator.about("firing"), "HomelabTestNotification of ") }, 5*time.Second, 100*time.Millisecond)
}

// reloads takes a rule file away, which Prometheus sees by itself.
func (s *system) reloads(t *testing.T) {
	t.Helper()
	groups := func() string {
		var out struct {
			Data struct {
				Groups []struct{ Name string } `json:"groups"`
			} `json:"data"`
		}
		get(t, s.prometheus+"/api/v1/rules", &out)
		return fmt.Sprint(out.Data.Groups)
	}
	require.Contains(t, groups(), "{wire}")
	require.NoError(t, os.Remove(filepath.Join(s.rules, "service-wire.yml")))
	require.Eventually(t, func() bool { return !strings.Contains(groups(), "{wire}") }, 20*time.Second, time.Second)
	require.Contains(t, groups(), "{radarr}")
}
