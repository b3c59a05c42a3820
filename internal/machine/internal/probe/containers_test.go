package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

// engineWorld is a machine in a network namespace of its own, with containers on a bridge and a host
// of the internet behind it, as the kernel and Docker's folder show them.
type engineWorld struct {
	dir  string
	name string // of the machine's namespace
}

func command(t *testing.T, words ...string) string {
	t.Helper()
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", words, out)
	return string(out)
}

// namespace makes a network that is gone with the test.
func (w *engineWorld) namespace(t *testing.T, short string) string {
	t.Helper()
	name := w.name + short
	command(t, "ip", "netns", "add", name)
	t.Cleanup(func() { command(t, "ip", "netns", "del", name) })
	command(t, "ip", "-n", name, "link", "set", "lo", "up")
	return name
}

// on runs a script of the shell in a network.
func on(t *testing.T, namespace, script string) {
	t.Helper()
	command(t, "ip", "netns", "exec", namespace, "sh", "-ec", script)
}

// background runs something in a network until the end of the test, and returns its process.
func background(t *testing.T, namespace string, words ...string) int {
	t.Helper()
	// exec all the way, so that the process is the program.
	cmd := exec.Command("ip", append([]string{"netns", "exec", namespace}, words...)...)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// newEngineWorld makes the machine, with its bridge, and the host that stands for the internet.
func newEngineWorld(t *testing.T) *engineWorld {
	t.Helper()
	require.Zero(t, os.Geteuid(), "namespaces of its own need root")
	dir := t.TempDir()
	w := &engineWorld{dir: dir, name: "probe" + strconv.Itoa(os.Getpid()%10000)}
	w.name = w.namespace(t, "")
	outside := w.namespace(t, "o")
	on(t, w.name, fmt.Sprintf(`
		sysctl -qw net.ipv4.ip_forward=1
		ip link add br-x type bridge
		ip address add 10.99.1.1/24 dev br-x
		ip address add fd99::1/64 dev br-x nodad
		ip link set br-x up
		ip link add out type veth peer name out netns %[1]s
		ip address add 192.0.2.1/24 dev out
		ip link set out up
		ip -n %[1]s address add 192.0.2.2/24 dev out
		ip -n %[1]s address add 203.0.113.5/32 dev lo
		ip -n %[1]s address add 169.254.169.254/32 dev lo
		ip -n %[1]s link set out up
		ip -n %[1]s route add 10.99.1.0/24 via 192.0.2.1
		ip route add 203.0.113.5 via 192.0.2.2
		ip route add 169.254.169.254 via 192.0.2.2`, outside))
	background(t, outside, listen(443)...)
	background(t, outside, listen(80)...)
	w.sockets(t)
	return w
}

// listen is a program that listens at a port, of every address of both versions of IP.
func listen(ports ...int) []string {
	text, _ := json.Marshal(ports)
	return []string{"python3", "-c", `
import json, select, socket, sys
all = [socket.create_server(("", p), family=socket.AF_INET6, dualstack_ipv6=True) for p in json.loads(sys.argv[1])]
while True:
    for s in select.select(all, [], [])[0]:
        s.accept()[0].close()`, string(text)}
}

// sockets makes the engine's socket, on a file system as /run is one.
func (w *engineWorld) sockets(t *testing.T) {
	t.Helper()
	run := filepath.Join(w.dir, "run")
	require.NoError(t, os.Mkdir(run, 0o755))
	command(t, "mount", "-t", "tmpfs", "probe", run)
	t.Cleanup(func() { command(t, "umount", "--lazy", run) })
	require.NoError(t, os.WriteFile(filepath.Join(run, "docker.sock"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(run, "gates"), 0o755))
}

// container makes one that listens at ports; number is the last of its addresses, and mounted a part
// of the machine's /run that it has.
func (w *engineWorld) container(t *testing.T, name string, number int, mounted string, ports ...int) {
	t.Helper()
	space := w.namespace(t, name[:1])
	on(t, w.name, fmt.Sprintf(`
		ip link add v%[1]d type veth peer name eth0 netns %[2]s
		ip link set v%[1]d master br-x up
		ip -n %[2]s address add 10.99.1.%[1]d/24 dev eth0
		ip -n %[2]s address add fd99::%[1]d/64 dev eth0 nodad
		ip -n %[2]s link set eth0 up
		ip -n %[2]s route add default via 10.99.1.1
		ip -n %[2]s -6 route add default via fd99::1`, number, space))
	w.process(t, name, space, mounted, ports...)
}

// process lets a container's program run in a network, with mounts of its own.
func (w *engineWorld) process(t *testing.T, name, space, mounted string, ports ...int) {
	t.Helper()
	port := ports[0]
	bind := ""
	if mounted != "" {
		bind = `mkdir "$0/at-` + name + `"; touch "$0/on-` + name + `"; mount --bind "$0/run` + mounted + `" "$0/` +
			map[bool]string{true: "on-", false: "at-"}[strings.HasSuffix(mounted, ".sock")] + name + `"; `
	}
	pid := background(t, space, append([]string{"unshare", "--mount", "sh", "-ec", bind + `umount --lazy "$0/run"; exec "$@"`, w.dir}, listen(ports...)...)...)
	id := fmt.Sprintf("%064x", pid)
	group := filepath.Join(w.dir, "cgroup", "system.slice", "docker-"+id+".scope")
	require.NoError(t, os.MkdirAll(group, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)+"\n"), 0o644))
	folder := filepath.Join(w.dir, "docker", "containers", id)
	require.NoError(t, os.MkdirAll(folder, 0o755))
	text, err := json.Marshal(map[string]any{"Name": "/" + name, "State": map[string]any{"Pid": pid, "Running": true}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "config.v2.json"), text, 0o600))
	require.Eventually(t, func() bool { // its mounts and its ports are there
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		table, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp6", pid))
		return err == nil && !strings.Contains(string(mounts), w.dir+"/run ") && strings.Contains(string(table), fmt.Sprintf(":%04X ", port))
	}, 20*time.Second, 10*time.Millisecond)
}

// root runs a script on the machine.
func (w *engineWorld) root(ctx context.Context, script string) (string, error) {
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", w.name, "bash", "-c", script)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, errOut.String())
	}
	return string(out), err
}

func (w *engineWorld) containers(declared rehearsal.Declared) *Containers {
	return &Containers{
		Declared: declared, Machine: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		Internet: []Outsider{{"tcp", netip.MustParseAddrPort("203.0.113.5:443")}},
		on: enginePlaces{filepath.Join(w.dir, "cgroup"), filepath.Join(w.dir, "docker"), []string{
			filepath.Join(w.dir, "run", "docker.sock"), filepath.Join(w.dir, "run", "nothing.sock"),
		}},
	}
}

// pass makes one pass, and reports what it found.
func (w *engineWorld) pass(t *testing.T, declared rehearsal.Declared) Report {
	t.Helper()
	r := &Running{options: Options{Root: w.root, Containers: w.containers(declared)}, record: newRecord(func() int { return 1 })}
	r.lookFromContainers(t.Context(), 0)
	report := r.record.report(true)
	if r.edges.blind() {
		report.Problems = append(report.Problems, blindContainers)
	}
	return report
}

var engineDeclared = rehearsal.Declared{
	Containers: []rehearsal.DeclaredContainer{{Name: "alpha", Internet: true}, {Name: "beta"}, {Name: "gamma", Engine: true}, {Name: "tail", Behind: "gamma"}},
	Edges:      []rehearsal.DeclaredEdge{{From: "alpha", To: "beta", Port: 8080}, {From: "beta", To: "tail", Port: 7000}},
}

// filter is as strict as the deployment's.
const filter = `
	nft -f - <<'END'
	table bridge homelab {
		chain forward {
			type filter hook forward priority filter; policy drop;
			ether type arp accept
			ip saddr 10.99.1.2 ip daddr 10.99.1.3 tcp dport 8080 accept
			ip saddr 10.99.1.3 ip daddr 10.99.1.2 tcp sport 8080 accept
			ip saddr 10.99.1.3 ip daddr 10.99.1.4 tcp dport 7000 accept
			ip saddr 10.99.1.4 ip daddr 10.99.1.3 tcp sport 7000 accept
		}
	}
	table inet homelab {
		chain forward {
			type filter hook forward priority filter; policy drop;
			ct state established accept
			ip daddr 169.254.169.254 drop
			# Where Docker has the kernel show bridged packets here too.
			ip saddr 10.99.1.3 ip daddr 10.99.1.4 tcp dport 7000 accept
			ip saddr 10.99.1.2 accept
		}
		chain input {
			type filter hook input priority filter; policy accept;
			iifname "br-x" drop
		}
	}
END`

func TestContainersReachWhatIsDeclared(t *testing.T) {
	w := newEngineWorld(t)
	w.container(t, "alpha", 2, "", 9000)
	w.container(t, "beta", 3, "/gates", 8080)
	w.container(t, "gamma", 4, "/docker.sock", 7000)
	w.process(t, "tail", w.name+"g", "", 7001)
	background(t, w.name, listen(22)...)
	on(t, w.name, filter)
	report := w.pass(t, engineDeclared)
	require.NoError(t, report.Err())
	assert.Equal(t, []string{
		"inside alpha: tcp 443 open the internet, 203.0.113.5",
		"inside alpha: tcp 8080 open beta at 10.99.1.3",
		"inside beta: tcp 7000 open gamma, tail at 10.99.1.4",
		"inside gamma: unix 0 open " + w.dir + "/run/docker.sock",
	}, brief(report.Seen))
	require.Len(t, report.Looks, 1)
	assert.Equal(t, containersName, report.Looks[0].Where)
	// Three networks: what the others have, what the machine has, metadata and the internet.
	assert.Greater(t, report.Looks[0].Tries, 100)
}

// Each way that a filter could leave open is found, and so is what a container should not have been
// given.
func TestContainersThatReachWhatTheyMustNot(t *testing.T) {
	w := newEngineWorld(t)
	w.container(t, "alpha", 2, "/", 9000)
	w.container(t, "beta", 3, "", 8080)
	w.container(t, "gamma", 4, "/docker.sock", 7000)
	w.process(t, "stray", w.name+"b", "", 8081)
	w.process(t, "host", w.name, "", 22)
	declared := engineDeclared
	declared.Containers = append(slices.Clone(declared.Containers[:2]), rehearsal.DeclaredContainer{Name: "gamma"}, rehearsal.DeclaredContainer{Name: "host"})
	declared.Edges = declared.Edges[:1]
	report := w.pass(t, declared)
	assert.Empty(t, report.Problems)
	found := brief(report.Forbidden)
	for _, want := range []string{
		// Between containers, by both versions of IP: where somebody listens, where nobody does, and
		// by the other protocols.
		"inside alpha: icmp 0 open beta, stray at 10.99.1.3",
		"inside alpha: icmp 0 open beta, stray at fd99::3",
		"inside alpha: tcp 40711 refused beta, stray at 10.99.1.3",
		"inside alpha: tcp 8081 open beta, stray at 10.99.1.3",
		"inside alpha: tcp 7000 open gamma at 10.99.1.4",
		"inside alpha: tcp 7000 open gamma at fd99::4",
		"inside alpha: udp 40711 refused gamma at 10.99.1.4",
		"inside beta, stray: tcp 9000 open alpha at 10.99.1.2",
		"inside gamma: tcp 8080 open beta, stray at fd99::3", // the edge is alpha's
		// To the machine, at every address that it has.
		"inside gamma: tcp 22 open the machine at 10.99.1.1",
		"inside gamma: tcp 22 open the machine at 192.0.2.1",
		"inside gamma: tcp 22 open the machine at fd99::1",
		"inside gamma: icmp 0 open the machine at 10.99.1.1",
		"inside beta, stray: tcp 80 refused the machine at 10.99.1.1",
		// Out.
		"inside alpha: tcp 80 open the metadata service",
		"inside gamma: tcp 443 open the internet, 203.0.113.5",
		// What it was given.
		"inside alpha: unix 0 open " + w.dir + "/run/docker.sock",
		"inside gamma: unix 0 open " + w.dir + "/run/docker.sock",
		"inside host: network 0 open the machine's own",
		"inside beta: network 0 open that of stray",
	} {
		assert.Contains(t, found, want)
	}
	local := slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, "inside gamma: tcp 9000 open alpha at fe80:") })
	assert.True(t, local, "the link's own addresses of IPv6 are an address more")
	seen := brief(report.Seen)
	assert.Contains(t, seen, "inside stray: container 0 open not one of the deployment's")
	assert.Contains(t, seen, "inside alpha: tcp 8080 open beta, stray at 10.99.1.3")
	assert.NotContains(t, found, "inside alpha: tcp 8080 open beta, stray at 10.99.1.3")
}

// A probe that sees nothing says so.
func TestContainersThatAnswerNobody(t *testing.T) {
	w := newEngineWorld(t)
	w.container(t, "alpha", 2, "", 9000)
	w.container(t, "beta", 3, "", 8080)
	on(t, w.name, strings.ReplaceAll(filter, "8080 accept", "8080 drop"))
	report := w.pass(t, engineDeclared)
	assert.Empty(t, report.Forbidden)
	require.Len(t, report.Problems, 1)
	assert.Contains(t, report.Problems[0], "no edge that is declared ever answered")
}

func TestAScriptThatSaysSomethingElse(t *testing.T) {
	for said, want := range map[string]string{
		"": `the script said ""`, "Traceback": "Traceback", `{"machines": []}`: "unknown field",
		`{"containers": [], "machine": {"addresses": []}, "spaces": [{"containers": ["alpha"], "addresses": [], "listening": [], "failed": "OSError: 1"}]}`: "inside alpha: OSError: 1",
	} {
		r := &Running{record: newRecord(func() int { return 1 })}
		r.options = Options{Containers: &Containers{}, Root: func(context.Context, string) (string, error) { return said, nil }}
		r.lookFromContainers(t.Context(), 0)
		report := r.record.report(true)
		require.Len(t, report.Problems, 1, said)
		assert.Contains(t, report.Problems[0], want)
	}
}
