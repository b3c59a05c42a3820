//go:build host

package host

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/internal/netns"
)

// counted is a machine with a real engine behind the deployment's filter, and homelab-metrics.
type counted struct {
	*filtered
	engine   *dockerEngine
	settings string
	cache    string
	output   string
}

// tunnelsWget is what Gluetun's image has, as far as homelab-metrics calls it: it asks for one
// address, and the answer names the VPN's.
const tunnelsWget = `#!/bin/busybox sh
[ "$*" = "-q -T 4 -O - https://1.1.1.1/cdn-cgi/trace" ] || exit 64
echo ip=193.138.218.80
`

func newCounted(t *testing.T) *counted {
	t.Helper()
	f, deployment := newFilter(t)
	f.load()
	c := &counted{filtered: f, engine: startDocker(t, f.machine), cache: f.dir + "/cache", output: f.dir + "/homelab.prom", settings: f.dir + "/metrics.json"}
	c.engine.importImage()
	c.addTools()
	for _, r := range deployment {
		if r.Type == "docker:index/network:Network" {
			c.engine.addNetwork(f, r)
		}
	}
	for _, r := range deployment {
		if r.Type == "docker:index/container:Container" && slices.Contains([]string{"authelia", "caddy", "jellyfin", theTunnel}, fmt.Sprint(r.Inputs["name"])) {
			c.addContainer(r)
		}
	}
	writeJSON(t, c.settings, metricsSettings(t, map[string]any{
		"output": c.output, "backup": "", "downloads": "", "media": nil, "torrent": map[string]any{"port": 8080, "uid": 0},
	}))
	return c
}

// addTools puts into the image what is called in it.
func (c *counted) addTools() {
	folder := c.dir + "/tools"
	require.NoError(c.t, os.Mkdir(folder, 0o755))
	require.NoError(c.t, os.WriteFile(folder+"/wget", []byte(tunnelsWget), 0o755))
	for _, tool := range []string{"cat", "sh"} {
		require.NoError(c.t, os.Symlink("busybox", folder+"/"+tool))
	}
	id := c.engine.run("create", "sample", "/bin/busybox", "true")
	for _, tool := range []string{"wget", "cat", "sh"} {
		c.engine.run("cp", folder+"/"+tool, id+":/bin/"+tool)
	}
	c.engine.run("commit", id, "sample")
	c.engine.run("rm", id)
}

// addContainer runs a container with the deployment's label and address, and with a health check
// that looks for a file.
func (c *counted) addContainer(r apitype.ResourceV3) {
	name := fmt.Sprint(r.Inputs["name"])
	made := &filteredContainer{addresses: map[string]netip.Addr{}}
	words := []string{"run", "--detach", "--name", name, "--label", "homelab.machine=1", "--cap-drop", "ALL",
		"--health-cmd", "/bin/busybox test ! -e /tmp/ill", "--health-interval", "1s", "--health-retries", "1"}
	list := r.Inputs["networksAdvanced"].([]any)
	for i, n := range list {
		of := n.(map[string]any)
		network, address := fmt.Sprint(of["name"]), fmt.Sprint(of["ipv4Address"])
		made.addresses[network] = netip.MustParseAddr(address)
		if i == 0 {
			made.home = network
			words = append(words, "--network", network, "--ip", address)
		}
	}
	c.engine.run(append(words, "sample", "/bin/busybox", "sleep", "100000")...)
	for _, n := range list[1:] {
		of := n.(map[string]any)
		c.engine.run("network", "connect", "--ip", fmt.Sprint(of["ipv4Address"]), fmt.Sprint(of["name"]), name)
	}
	pid, err := strconv.Atoi(c.engine.run("inspect", "--format", "{{.State.Pid}}", name))
	require.NoError(c.t, err)
	made.Namespace, err = netns.Of(name, pid)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = made.Namespace.Close() })
	c.containers[name] = made
	if name != theTunnel { // where a torrent client will listen
		c.answer(made)
	}
}

// measure runs the program on the machine and returns what it wrote. The parts that need what is
// not here are of another test.
func (c *counted) measure(t *testing.T) series {
	t.Helper()
	program, err := filepath.Abs(metricsProgram)
	require.NoError(t, err)
	run := exec.Command("/usr/bin/python3", program, "write", c.settings)
	run.Env = append(os.Environ(), "CACHE_DIRECTORY="+c.cache, "DOCKER_HOST="+c.engine.socket)
	var said strings.Builder
	run.Stderr = &said
	require.NoError(t, c.machine.Start(run))
	require.NoError(t, run.Wait(), said.String())
	now := readSeries(t, c.output)
	for _, part := range []string{"containers", "control_groups", "packet_filter", "torrent", "vpn", "vpn_address"} {
		require.InDelta(t, 0, now[`homelab_metrics_part_failed{part="`+part+`"}`], 0, said.String())
	}
	return now
}

// kept is the series of packets that the filter kept from whom.
func (s series) kept(from, to string) float64 {
	return s[fmt.Sprintf(`homelab_filter_dropped_packets_total{from="%s",to="%s"}`, from, to)]
}

// in is a container's address in a network, with a port.
func (c *counted) in(name, network string, port int) string {
	return netip.AddrPortFrom(c.containers[name].addresses[network], uint16(port)).String()
}

// TestMetricsOfTheFilter has real packets dropped on a real engine: they are counted by pair, and
// nothing passes that would not otherwise.
func TestMetricsOfTheFilter(t *testing.T) {
	c := newCounted(t)
	jellyfin, caddy, tunnel := c.containers["jellyfin"], c.containers["caddy"], c.containers[theTunnel]
	neighbour, gateway := c.in("authelia", "caddy-proxy", 9091), c.networks["caddy-proxy"].gateway+":80"
	before := c.measure(t)
	require.Zero(t, before.kept("jellyfin", "authelia"))

	require.Empty(t, connect(jellyfin.Namespace, []string{neighbour, gateway}))
	require.Empty(t, connect(c.containers["authelia"].Namespace, []string{theInternet + ":80"}))
	require.Empty(t, connect(tunnel.Namespace, []string{"45.83.220.9:443", "10.1.2.3:80"}))
	require.Empty(t, connect(c.outside, []string{c.in("jellyfin", "caddy-proxy", 8096)}))
	_ = c.machine.Run(nil, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "timeout", "0.5", "bash", "-c", ": </dev/tcp/"+theMetadata+"/80")
	now := c.measure(t)
	for _, pair := range [][2]string{
		{"jellyfin", "authelia"}, {"jellyfin", "machine"}, {"authelia", theInternet}, {theTunnel, "internet"}, {theTunnel, "10.1.2.3"},
		{"88.198.0.1", "jellyfin"}, {"machine", theMetadata},
	} {
		assert.Positive(t, now.kept(pair[0], pair[1]), "%v", pair)
	}
	assert.Zero(t, now.kept("caddy", "jellyfin"))
	assert.Equal(t, now.kept("jellyfin", "authelia"), c.measure(t).kept("jellyfin", "authelia"), "counted twice")

	t.Run("a reload", func(t *testing.T) {
		c.load()
		again := c.measure(t)
		assert.Equal(t, now.kept("jellyfin", "authelia"), again.kept("jellyfin", "authelia"), "it begins anew")
		require.Empty(t, connect(jellyfin.Namespace, []string{neighbour}))
		assert.Greater(t, c.measure(t).kept("jellyfin", "authelia"), again.kept("jellyfin", "authelia"))
	})
	t.Run("a scan", func(t *testing.T) {
		var all []string
		for n := range 60 {
			all = append(all, fmt.Sprintf("10.9.0.%d:80", n+1))
		}
		require.Empty(t, connect(jellyfin.Namespace, all))
		now, strangers := c.measure(t), 0
		for name := range now {
			if strings.Contains(name, `from="jellyfin",to="`) {
				strangers++
			}
		}
		assert.Less(t, strangers, 30)
		assert.Greater(t, now.kept("jellyfin", "other"), 30.0)
	})
	t.Run("a full set", func(t *testing.T) { c.full(t, neighbour) })
	t.Run("the filter's own proof", func(t *testing.T) {
		// Its addresses would be strangers.
		c.load()
		require.NoError(t, c.machine.Run(nil, "unshare", "--mount", "sh", "-ec", "mount -t tmpfs none /run; mkdir /run/netns; exec bash "+c.dir+"/files/homelab-filter-proof"))
		for name := range c.measure(t) {
			assert.NotRegexp(t, `192\.0\.2\.|198\.51\.100\.`, name)
		}
	})
	require.NotEmpty(t, connect(caddy.Namespace, []string{c.in("jellyfin", "caddy-proxy", 8096)}))
}

// full fills the sets: who is new is counted no more, and what passes is the same.
func (c *counted) full(t *testing.T, neighbour string) {
	c.load()
	var fill strings.Builder
	for n := range 1024 {
		for _, table := range []string{"bridge homelab", "inet homelab_containers"} {
			fmt.Fprintf(&fill, "add element %s dropped { 10.8.%d.%d . 10.8.0.1 counter }\n", table, n/256, n%256)
		}
	}
	require.NoError(t, c.machine.Run(strings.NewReader(fill.String()), "nft", "--file", "-"))
	require.Error(t, c.machine.Run(nil, "nft", "add", "element", "bridge", "homelab", "dropped", "{ 10.7.0.1 . 10.7.0.2 counter }"), "the set is not full")
	before := c.measure(t)
	jellyfin := c.containers["jellyfin"].Namespace
	assert.Empty(t, connect(jellyfin, []string{neighbour, c.networks["caddy-proxy"].gateway + ":80", "10.1.2.3:80"}))
	assert.Empty(t, connect(c.containers["authelia"].Namespace, []string{theInternet + ":80"}))
	assert.NotEmpty(t, connect(c.containers["caddy"].Namespace, []string{c.in("jellyfin", "caddy-proxy", 8096), theInternet + ":80"}))
	assert.Equal(t, before.kept("jellyfin", "authelia"), c.measure(t).kept("jellyfin", "authelia"))
	c.load()
}

// TestMetricsOfContainers measures containers of a real engine: how they are, and how often they
// started again, whoever did it; and a real qBittorrent behind the tunnel.
func TestMetricsOfContainers(t *testing.T) {
	c := newCounted(t)
	healthy := func(name string) func() bool {
		return func() bool { return c.measure(t)[`homelab_container_healthy{container="`+name+`"}`] == 1 }
	}
	for name := range c.containers {
		require.Eventually(t, healthy(name), 30*time.Second, 500*time.Millisecond, name)
	}
	of := func(s series, what, name string) float64 {
		value, found := s[`homelab_container_`+what+`{container="`+name+`"}`]
		require.True(t, found, "%s of %s", what, name)
		return value
	}
	c.engine.run("run", "--detach", "--name", "somebodys", "sample", "/bin/busybox", "sleep", "1000")
	now := c.measure(t)
	assert.InDelta(t, 0, of(now, "restarts_total", "caddy"), 0)
	assert.InDelta(t, 1, now["homelab_vpn_up"], 0)
	assert.InDelta(t, 0, now["homelab_vpn_leaking"], 0)
	assert.InDelta(t, 0, now["homelab_vpn_forwarded_port"], 0, "Gluetun has no file")
	assert.NotContains(t, now, `homelab_container_running{container="somebodys"}`)
	groups, err := os.ReadFile("/proc/" + c.engine.run("inspect", "--format", "{{.State.Pid}}", "caddy") + "/cgroup")
	require.NoError(t, err)
	group := regexp.MustCompile(`(?m)^0::(.*)$`).FindStringSubmatch(string(groups))
	require.NotNil(t, group, "%s", groups)
	assert.Contains(t, now, `homelab_container_info{container="caddy",id="`+group[1]+`"}`)

	c.engine.run("exec", "caddy", "/bin/busybox", "mkdir", "-p", "/tmp")
	c.engine.run("exec", "caddy", "/bin/busybox", "touch", "/tmp/ill")
	require.Eventually(t, func() bool { return !healthy("caddy")() }, 30*time.Second, 500*time.Millisecond)
	assert.InDelta(t, 1, of(c.measure(t), "running", "caddy"), 0)
	c.engine.run("restart", "--time", "0", "caddy") // as homelab-containers does
	assert.InDelta(t, 1, of(c.measure(t), "restarts_total", "caddy"), 0)
	c.engine.run("kill", "jellyfin")
	now = c.measure(t)
	assert.InDelta(t, 0, of(now, "running", "jellyfin"), 0)
	assert.InDelta(t, 0, of(now, "healthy", "jellyfin"), 0)
	assert.InDelta(t, 0, of(now, "restarts_total", "jellyfin"), 0)

	t.Run("the torrent client", func(t *testing.T) { c.torrentClient(t) })
}

// torrentClient runs behind the tunnel; which port it has is seen from outside.
func (c *counted) torrentClient(t *testing.T) {
	space := c.containers[theTunnel].Namespace
	c.ip(space, "link add tun0 type bridge", "address add "+insideTheVPN+"/32 dev tun0", "link set tun0 up")
	c.engine.run("exec", theTunnel, "/bin/busybox", "mkdir", "-p", "/tmp/gluetun")
	forward := func(text string) {
		c.engine.run("exec", theTunnel, "/bin/busybox", "sh", "-c", "printf '"+text+"' > /tmp/gluetun/forwarded_port")
	}
	forward(`51413\n`)
	assert.InDelta(t, 0, c.measure(t)["homelab_torrent_listening_port"], 0, "nothing runs behind the tunnel yet")
	q := startQBittorrent(t, space)
	listens := func(port int) func() bool {
		return func() bool { return int(c.measure(t)["homelab_torrent_listening_port"]) == port }
	}
	q.forwarded(51413, "tun0")
	require.Eventually(t, listens(51413), 30*time.Second, 500*time.Millisecond)
	assert.InDelta(t, 51413, c.measure(t)["homelab_vpn_forwarded_port"], 0)
	forward("")
	q.forwarded(0, "lo")
	require.Eventually(t, listens(0), 30*time.Second, 500*time.Millisecond, "it listens on the loopback alone")
	assert.InDelta(t, 0, c.measure(t)["homelab_vpn_forwarded_port"], 0)
}
