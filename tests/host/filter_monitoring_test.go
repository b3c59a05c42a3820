//go:build host

package host

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// Of the monitoring: its network, the proxy that is on it too, and the portal's name.
const (
	theMonitorings = "grafana-monitoring"
	theProxy       = "caddy"
	thePortal      = "auth.example.com"
)

// who may open a connection to a container's port, by what the port is for. The list is by hand: a
// definition that lets somebody else in must change it.
var who = map[pair][]string{
	{to: "prometheus", port: 9090}:    {"grafana", "home"},
	{to: "alertmanager", port: 9093}:  {"grafana", "home", "prometheus"},
	{to: "loki", port: 3100}:          {theShipper, "grafana", "prometheus"},
	{to: "docker-api", port: 2375}:    {theShipper},
	{to: "grafana", port: 3000}:       {theProxy, "prometheus"},
	{to: "home", port: 8080}:          {theProxy},
	{to: theProxy, port: 443}:         {"grafana"},
	{to: theProxy, port: 9180}:        {"prometheus"},
	{to: "crowdsec", port: 6060}:      {"prometheus"},
	{to: "authelia", port: 9959}:      {"prometheus"},
	{to: theWiring, port: 9797}:       {"prometheus"},
	{to: "node-exporter", port: 9100}: {"prometheus"},
	{to: "cadvisor", port: 8080}:      {"prometheus"},
	{to: theShipper, port: 12345}:     {"prometheus"},
	{to: "home", port: 9798}:          {"prometheus"},
	{to: "blackbox", port: 9115}:      {"prometheus"},
}

// monitoring tries with real packets what the monitoring may do.
func (f *filtered) monitoring(t *testing.T) {
	t.Run("each port is reached by whom it is for", f.whoMeasures)
	t.Run("what its files name is reached and nothing else", f.whatItsFilesName)
	t.Run("its network leads nowhere", f.nothingLeavesTheMonitoring)
}

// everyAddress returns a container's addresses with a port.
func (f *filtered) everyAddress(name string, port int) []string {
	var out []string
	for _, address := range f.containers[name].addresses {
		out = append(out, netip.AddrPortFrom(address, uint16(port)).String())
	}
	return out
}

func (f *filtered) whoMeasures(t *testing.T) {
	tries, at, got := map[string][]string{}, map[string]pair{}, map[pair][]string{}
	for from := range f.containers {
		for to := range who {
			if to.to == from {
				continue
			}
			for _, address := range f.everyAddress(to.to, to.port) {
				tries[from], at[address] = append(tries[from], address), to
			}
		}
	}
	for from, answered := range f.connectFrom(tries) {
		for _, address := range answered {
			got[at[address]] = append(got[at[address]], from)
		}
	}
	for to, want := range who {
		slices.Sort(got[to])
		assert.Equal(t, want, got[to], "who reaches %s:%d", to.to, to.port)
	}
}

// whatItsFilesName compares three things: the addresses in the rendered files of a program, its
// edges, and what answers it.
func (f *filtered) whatItsFilesName(t *testing.T) {
	all, want := map[string][]string{}, map[string][]string{}
	for from, named := range f.named(t) {
		require.NotEmpty(t, named, from)
		var edges []pair
		for p := range f.edges {
			if p.from == from {
				edges = append(edges, p)
			}
		}
		assert.ElementsMatch(t, edges, named, "%s has the edges that its files name", from)
		all[from], want[from] = f.tries(from, func(p pair) bool { return slices.Contains(named, p) })
	}
	assert.Equal(t, want, f.connectFrom(all))
}

// inURL finds the container and the port in an address of a rendered file.
var inURL = regexp.MustCompile(`\b(?:http|tcp)://([a-z][a-z0-9-]*):([0-9]+)`)

// named is what each program of the monitoring is told to reach, in its own files.
func (f *filtered) named(t *testing.T) map[string][]pair {
	t.Helper()
	out := map[string][]pair{}
	name := func(from, to, port string) {
		number, err := strconv.Atoi(port)
		require.NoError(t, err)
		require.Contains(t, f.containers, to, "%s is to reach something that is no container", from)
		if p := (pair{from, to, number}); from != to && !slices.Contains(out[from], p) {
			out[from] = append(out[from], p)
		}
	}
	for from, file := range map[string]string{
		theShipper: "/opt/homelab/alloy/files-etc-alloy/config.alloy", "home": "/opt/homelab/home/files-etc-home/page.json",
		"grafana": "/opt/homelab/grafana/files-etc-grafana/provisioning/datasources/homelab.yaml",
	} {
		require.Contains(t, f.rendered, file, slices.Sorted(maps.Keys(f.rendered)))
		for _, found := range inURL.FindAllStringSubmatch(f.rendered[file], -1) {
			name(from, found[1], found[2])
		}
	}
	// Grafana asks the portal by its own name, which it finds at the proxy.
	require.Contains(t, f.rendered["/opt/homelab/grafana/files-etc-grafana/grafana.ini"], "token_url = https://"+thePortal+"/")
	require.Equal(t, map[string]string{thePortal: f.containers[theProxy].addresses[theMonitorings].String()}, f.containers["grafana"].hosts)
	name("grafana", theProxy, "443")
	f.namedByPrometheus(t, name)
	return out
}

// namedByPrometheus reads prometheus.yml: one of its jobs is asked for by another program.
func (f *filtered) namedByPrometheus(t *testing.T, name func(from, to, port string)) {
	t.Helper()
	type static []struct {
		Targets []string `yaml:"targets"`
	}
	var config struct {
		Alerting struct {
			Alertmanagers []struct {
				Static static `yaml:"static_configs"`
			} `yaml:"alertmanagers"`
		} `yaml:"alerting"`
		Jobs []struct {
			Name   string `yaml:"job_name"`
			Static static `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(f.rendered["/opt/homelab/prometheus/files-etc-prometheus/prometheus.yml"]), &config))
	tell := func(from string, list static) {
		for _, s := range list {
			for _, target := range s.Targets {
				at := regexp.MustCompile(`^([a-z][a-z0-9-]*):([0-9]+)$`).FindStringSubmatch(target)
				require.NotNil(t, at, target)
				name(from, at[1], at[2])
			}
		}
	}
	for _, a := range config.Alerting.Alertmanagers {
		tell("prometheus", a.Static)
	}
	for _, job := range config.Jobs {
		from := "prometheus"
		if job.Name == "certificates" {
			from = "blackbox"
		}
		tell(from, job.Static)
	}
}

// nothingLeavesTheMonitoring sends everything that is on the monitoring's network out by the
// machine's address there. Those who have a way out have it in another network.
func (f *filtered) nothingLeavesTheMonitoring(t *testing.T) {
	out := []string{theInternet + ":80", netip.AddrPortFrom(f.vpn.Addr(), 53).String(), f.vpn.String()}
	tries := map[string][]string{}
	for name, c := range f.containers {
		if _, on := c.addresses[theMonitorings]; on {
			tries[name] = out
		}
	}
	members := slices.Sorted(maps.Keys(tries))
	route := func(through func(*filteredContainer) string) {
		for _, name := range members {
			c := f.containers[name]
			f.ip(c.Namespace, "route replace default via "+f.networks[through(c)].gateway)
		}
	}
	offered, own := offeredServices(), []string{}
	for _, name := range slices.Sorted(maps.Keys(f.connectFrom(tries))) {
		if offered[name].Monitored {
			own = append(own, name)
		}
	}
	assert.Equal(t, []string{"alertmanager"}, own, "the programs of the monitoring that reach the internet")
	require.NotEqual(t, theMonitorings, f.containers["alertmanager"].home)

	route(func(*filteredContainer) string { return theMonitorings })
	assert.Empty(t, f.connectFrom(tries), "they get out through the monitoring's network")
	assert.Empty(t, f.askFrom(t, members, out), "they get out through the monitoring's network by UDP")
	route(func(c *filteredContainer) string { return c.home })
}
