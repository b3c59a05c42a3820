//go:build host

package host

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	components "homelab/components/host"
	"homelab/tests/internal/netns"
)

// theMachinesResolver is the name server in the resolv.conf of a machine with an engine.
const theMachinesResolver = theInternet

// dockerEngine is a real Docker engine in the machine's network namespace, with folders of its own.
type dockerEngine struct {
	t      *testing.T
	dir    string
	socket string
}

func startDocker(t *testing.T, machine *netns.Namespace) *dockerEngine {
	t.Helper()
	// Not the test's own folder: the path of a socket may have 107 characters.
	dir, err := os.MkdirTemp("/var/tmp", "homelab-docker-")
	require.NoError(t, err)
	e := &dockerEngine{t: t, dir: dir, socket: "unix://" + dir + "/docker.sock"}
	log, err := os.Create(dir + "/log")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/resolv.conf", []byte("nameserver "+theMachinesResolver+"\n"), 0o644))
	// In a mount namespace of its own, where the machine's resolv.conf is.
	daemon := exec.Command("unshare", "--mount", "sh", "-ec", `mount --bind "$0" "$(readlink -f /etc/resolv.conf)"; exec "$@"`, dir+"/resolv.conf",
		"dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "--host", e.socket,
		"--ip", "127.0.0.1", "--bip", "172.17.0.1/16", "--userland-proxy=false", "--storage-driver", "vfs", "--config-file", dir+"/none.json")
	daemon.Stdout, daemon.Stderr = log, log
	require.NoError(t, os.WriteFile(dir+"/none.json", []byte("{}"), 0o600))
	require.NoError(t, machine.Start(daemon))
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
		for _, mount := range mountsBelow(dir) {
			_ = exec.Command("umount", "--lazy", mount).Run()
		}
		_ = os.RemoveAll(dir)
	})
	require.Eventually(t, func() bool { return exec.Command("docker", "--host", e.socket, "info").Run() == nil }, 60*time.Second, 200*time.Millisecond,
		"the engine does not come up: %s", tail(dir+"/log"))
	return e
}

func mountsBelow(dir string) []string {
	text, _ := os.ReadFile("/proc/self/mounts")
	var out []string
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			out = append([]string{fields[1]}, out...)
		}
	}
	return out
}

func tail(file string) string {
	text, _ := os.ReadFile(file)
	return string(text[max(0, len(text)-3000):])
}

func (e *dockerEngine) run(words ...string) string {
	e.t.Helper()
	out, err := exec.Command("docker", append([]string{"--host", e.socket}, words...)...).CombinedOutput()
	require.NoError(e.t, err, "docker %v: %s%s", words, out, tail(e.dir+"/log"))
	return strings.TrimSpace(string(out))
}

// sharedLibrary is a shared library, or the loader, in the output of ldd.
var sharedLibrary = regexp.MustCompile(`(/\S+) \(0x`)

// importImage makes an image of busybox and its libraries: no registry is asked.
func (e *dockerEngine) importImage() {
	busybox, err := exec.LookPath("busybox")
	require.NoError(e.t, err)
	files := []string{busybox}
	linked, _ := exec.Command("ldd", busybox).Output() // fails for a static one, which needs none
	for _, m := range sharedLibrary.FindAllStringSubmatch(string(linked), -1) {
		files = append(files, m[1])
	}
	root := e.dir + "/root"
	for _, file := range files {
		target := filepath.Join(root, file)
		require.NoError(e.t, os.MkdirAll(filepath.Dir(target), 0o755))
		content, err := os.ReadFile(file)
		require.NoError(e.t, err)
		require.NoError(e.t, os.WriteFile(target, content, 0o755))
	}
	require.NoError(e.t, os.MkdirAll(root+"/bin", 0o755))
	if busybox != "/bin/busybox" {
		require.NoError(e.t, os.Symlink(busybox, root+"/bin/busybox"))
	}
	var archive bytes.Buffer
	tar := exec.Command("tar", "--create", "--directory", root, ".")
	tar.Stdout = &archive
	require.NoError(e.t, tar.Run())
	load := exec.Command("docker", "--host", e.socket, "import", "-", "sample")
	load.Stdin = &archive
	out, err := load.CombinedOutput()
	require.NoError(e.t, err, "%s", out)
}

// addNetwork makes a network as the deployment declares it.
func (e *dockerEngine) addNetwork(f *filtered, r apitype.ResourceV3) {
	ipam := r.Inputs["ipamConfigs"].([]any)[0].(map[string]any)
	name, subnet, gateway := fmt.Sprint(r.Inputs["name"]), fmt.Sprint(ipam["subnet"]), fmt.Sprint(ipam["gateway"])
	words := []string{"network", "create", "--driver", "bridge", "--subnet", subnet, "--gateway", gateway}
	if internal, _ := r.Inputs["internal"].(bool); internal {
		words = append(words, "--internal")
	}
	id := e.run(append(words, name)...)
	f.networks[name] = filteredNetwork{bridge: "br-" + id[:12], subnet: netip.MustParsePrefix(subnet), gateway: gateway}
	f.serve(f.machine, gateway, 80)
}

// addContainer runs a container that does nothing where the deployment's would be, and answers
// inside its namespace.
func (e *dockerEngine) addContainer(f *filtered, r apitype.ResourceV3) {
	name := fmt.Sprint(r.Inputs["name"])
	c := &filteredContainer{addresses: map[string]netip.Addr{}, hosts: hostsOf(r)}
	words := []string{"run", "--detach", "--name", name, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"}
	if f.isBehind(r) {
		require.Empty(e.t, r.Inputs["dns"], "Docker refuses name servers for %s", name)
		e.run(append(words, "--network", "container:"+theTunnel, "sample", "/bin/busybox", "sleep", "100000")...)
		return
	}
	servers, _ := r.Inputs["dns"].([]any)
	require.NotEmpty(e.t, servers, "%s has no name servers of its own", name)
	for _, server := range servers {
		words = append(words, "--dns", fmt.Sprint(server))
	}
	list := r.Inputs["networksAdvanced"].([]any)
	for i, n := range list {
		of := n.(map[string]any)
		network, address := fmt.Sprint(of["name"]), fmt.Sprint(of["ipv4Address"])
		c.addresses[network] = netip.MustParseAddr(address)
		if i == 0 {
			c.home = network
			words = append(words, "--network", network, "--ip", address)
		}
	}
	ports, _ := r.Inputs["ports"].([]any)
	for i, p := range ports {
		of := p.(map[string]any)
		words = append(words, "--publish", fmt.Sprintf("%s:%v:%v", machines[i], of["external"], of["internal"]))
		if port := int(of["internal"].(float64)); !slices.Contains(f.ports, port) {
			f.ports = append(f.ports, port)
		}
	}
	e.run(append(words, "sample", "/bin/busybox", "sleep", "100000")...)
	for _, n := range list[1:] {
		of := n.(map[string]any)
		e.run("network", "connect", "--ip", fmt.Sprint(of["ipv4Address"]), fmt.Sprint(of["name"]), name)
	}
	pid, err := strconv.Atoi(e.run("inspect", "--format", "{{.State.Pid}}", name))
	require.NoError(e.t, err)
	c.Namespace, err = netns.Of(name, pid)
	require.NoError(e.t, err)
	e.t.Cleanup(func() { _ = c.Namespace.Close() })
	f.containers[name] = c
}

// On a real engine, with its own rules, bridges and translation of addresses, as much passes as in
// the graph, and the proxy's ports stay published. The filter is there before the engine, as after
// a boot, and is loaded again after it.
func TestTheFilterOnARealEngine(t *testing.T) {
	f, deployment := newFilter(t)
	f.load()
	e := startDocker(t, f.machine)
	e.importImage()
	for _, r := range deployment {
		if r.Type == "docker:index/network:Network" {
			e.addNetwork(f, r)
		}
	}
	for _, r := range deployment { // what is behind the tunnel depends on it, so it comes after it
		if r.Type == "docker:index/container:Container" {
			e.addContainer(f, r)
		}
	}
	for _, c := range f.containers {
		f.answer(c)
	}
	check := func(t *testing.T) {
		f.t = t
		f.everyPair(t)
		f.nothingElse(t)
		f.waysOut(t)
		f.fromOutside(t)
		f.published(t)
		f.build(t, e)
	}
	t.Run("the filter was there first", check)
	f.load()
	t.Run("loaded again", check)
	t.Run("the monitoring", f.monitoring)
	t.Run("names", func(t *testing.T) { f.names(t, e) })

	// What the filter is for: without it Docker lets neighbours talk.
	require.NoError(t, f.machine.Run(nil, "nft", "delete", "table", "bridge", "homelab"))
	require.NoError(t, f.machine.Run(nil, "nft", "delete", "table", "inet", "homelab_containers"))
	neighbour := netip.AddrPortFrom(f.containers["authelia"].addresses["caddy-proxy"], 9091).String()
	assert.Equal(t, []string{neighbour}, connect(f.containers["jellyfin"].Namespace, []string{neighbour}), "this test proves nothing")
}

// build tries what a step of an image's build may reach: it runs on Docker's own bridge.
func (f *filtered) build(t *testing.T, e *dockerEngine) {
	id := e.run("run", "--detach", "--rm", "sample", "/bin/busybox", "sleep", "1000")
	defer e.run("kill", id)
	pid, err := strconv.Atoi(e.run("inspect", "--format", "{{.State.Pid}}", id))
	require.NoError(t, err)
	step, err := netns.Of("build", pid)
	require.NoError(t, err)
	defer step.Close()
	closed := []string{"172.17.0.1:22", "172.17.0.1:80"}
	for _, address := range append(slices.Clone(mustStayClosed), machines...) {
		closed = append(closed, address+":22", address+":80")
	}
	for _, n := range f.networks {
		closed = append(closed, n.gateway+":80")
	}
	for _, c := range f.containers {
		for _, address := range c.addresses {
			for _, port := range f.ports {
				closed = append(closed, netip.AddrPortFrom(address, uint16(port)).String())
			}
		}
	}
	assert.Empty(t, connect(step, closed), "from the build of an image")
	assert.Len(t, connect(step, []string{theInternet + ":80"}), 1, "a build fetches modules")
}

// names asks Docker's own resolver, in containers, for a name that only the internet knows: whoever
// has no way out cannot send anything out in the names that it asks for.
//
// The resolver asks the name servers that the container is given from inside the container. Those of
// the machine's resolv.conf, which it asks where the container has none, Debian's Docker (20.10) asks
// from there too. From version 28 on Docker asks them from the machine's own namespace, past the
// filter, and a container with a way to nothing has one by name. So this test holds every container
// to name servers of its own, and no container to what Docker does with the machine's.
func (f *filtered) names(t *testing.T, e *dockerEngine) {
	asked := f.nameServers(t)
	query := func(container string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "docker", "--host", e.socket, "exec", container, "/bin/busybox", "nslookup", "secret."+container+".example", "127.0.0.11").CombinedOutput()
		return string(out), err
	}
	var wg sync.WaitGroup
	for _, name := range append(slices.Collect(maps.Keys(f.containers)), f.behind...) {
		wg.Go(func() {
			out, err := query(name)
			if f.internet[name] {
				assert.NoError(t, err, "%s: %s", name, out)
				assert.Contains(t, components.Resolvers(), asked(name), name)
				return
			}
			assert.Error(t, err, "%s resolves names of the internet: %s", name, out)
			assert.Empty(t, asked(name), "%s sent a name out", name)
		})
	}
	wg.Wait()

	// A container that is given no name servers.
	for name := range f.networks {
		container := "stray-" + name
		e.run("run", "--detach", "--name", container, "--network", name, "sample", "/bin/busybox", "sleep", "1000")
		if out, err := query(container); e.asksFromTheMachine() {
			t.Logf("on %s, a container without name servers of its own asked %q: %v %s", name, asked(container), err, out)
		} else {
			assert.Error(t, err, "on %s: %s", name, out)
			assert.Empty(t, asked(container), "on %s", name)
		}
	}
	// The build of an image may reach the internet, and finds the machine's name server.
	e.run("run", "--rm", "sample", "/bin/busybox", "nslookup", "secret.build.example", theMachinesResolver)
	assert.Equal(t, theMachinesResolver, asked("build"), "nobody answers there, so this test proves nothing")
}

// asksFromTheMachine reports whether the engine asks the machine's name servers from the machine's
// namespace.
func (e *dockerEngine) asksFromTheMachine() bool {
	version := e.run("version", "--format", "{{.Server.Version}}")
	major, err := strconv.Atoi(strings.Split(version, ".")[0])
	require.NoError(e.t, err, version)
	return major >= 28
}

// nameServers are those of the containers and of the machine. The function that it returns says
// which of them was asked for secret.NAME.example, if any.
func (f *filtered) nameServers(t *testing.T) func(name string) string {
	var asked sync.Map
	for _, address := range append(components.Resolvers(), theMachinesResolver) {
		_ = f.outside.IP("address add " + address + "/32 dev lo")
		var server net.PacketConn
		require.NoError(t, f.outside.Do(func() (err error) {
			server, err = net.ListenPacket("udp", address+":53")
			return err
		}))
		t.Cleanup(func() { _ = server.Close() })
		go answerNames(server, func(name string) { asked.Store(name, address) })
	}
	return func(name string) string {
		address, _ := asked.Load("secret." + name + ".example.")
		text, _ := address.(string)
		return text
	}
}

// answerNames gives every name an address, and tells of each.
func answerNames(server net.PacketConn, tell func(name string)) {
	buffer := make([]byte, 512)
	for {
		n, from, err := server.ReadFrom(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		tell(m.Questions[0].Name.String())
		m.Response = true
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(theInternet).As4()},
			}}
		}
		m.Additionals = nil
		if answer, err := m.Pack(); err == nil {
			_, _ = server.WriteTo(answer, from)
		}
	}
}

// published tries the proxy's ports: the tailnet and Cloudflare come in, nobody else.
func (f *filtered) published(t *testing.T) {
	const cloudflare = "173.245.48.5"
	_ = f.outside.IP("address add " + cloudflare + "/32 dev lo")
	_ = f.machine.IP("route add " + cloudflare + "/32 via 88.198.0.1")
	from := func(source, to string) error {
		return f.outside.Do(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
			conn, err := dialer.DialContext(ctx, "tcp", to)
			if err == nil {
				_ = conn.Close()
			}
			return err
		})
	}
	require.NoError(t, from(cloudflare, machinesPublic+":443"), "Cloudflare does not reach the proxy")
	require.NoError(t, from("100.64.0.1", machinesTail+":443"), "the tailnet does not reach the proxy")
	require.Error(t, from("88.198.0.1", machinesPublic+":443"), "anybody reaches the proxy past Cloudflare")
}
