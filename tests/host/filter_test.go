//go:build host

package host

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/internal/netns"
)

// What every container is tried on beside its own ports: those that a break-in would try first.
var temptations = []int{22, 6060, 6379, 8080, 9091, 9959}

// Addresses outside the container networks, all of which answer in these tests.
const (
	theInternet    = "9.9.9.9"
	theMetadata    = "169.254.169.254"
	machinesPublic = "88.198.0.2"
	machinesTail   = "100.64.0.7"
)

var (
	mustStayClosed = []string{theMetadata, "169.254.1.1", "10.1.2.3", "172.16.9.9", "192.168.7.7", "100.101.102.103"}
	// The machine's own addresses beside those on the container networks.
	machines = []string{machinesPublic, machinesTail}
)

// patience is how long a connection may take; on one machine an answer takes less than a
// millisecond.
const patience = 400 * time.Millisecond

// connect tries many addresses at once from one namespace and returns those that answered. The time
// runs once all are being tried: hundreds of them take a while on a busy machine.
func connect(n *netns.Namespace, addresses []string) []string {
	begun := map[int]string{}
	for _, address := range addresses {
		if fd, err := dialing(n, address, 0); err == nil {
			begun[fd] = address
		}
	}
	answered := established(begun)
	slices.Sort(answered)
	return answered
}

// Every edge of the graph passes, and nothing else does, with and without Docker's own setting that
// shows bridged packets to the other families' chains.
func TestOnlyTheEdgesOfTheGraphPass(t *testing.T) {
	f := newFiltered(t)
	for _, bridged := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+bridged, func(t *testing.T) {
			f.t = t
			f.showBridgedPackets(bridged)
			f.everyPair(t)
			f.nothingElse(t)
			f.waysOut(t)
			f.fromOutside(t)
			f.monitoring(t)
		})
	}
}

func (f *filtered) showBridgedPackets(value string) {
	f.t.Helper()
	_ = exec.Command("modprobe", "br_netfilter").Run()
	for _, name := range []string{"iptables", "ip6tables"} {
		require.NoError(f.t, f.machine.Run(nil, "sh", "-ec", "echo "+value+" > /proc/sys/net/bridge/bridge-nf-call-"+name))
	}
}

func (f *filtered) everyPair(t *testing.T) {
	tried, all, want := 0, map[string][]string{}, map[string][]string{}
	for from := range f.containers {
		all[from], want[from] = f.tries(from, func(p pair) bool { return f.edges[p] })
		tried += len(all[from])
	}
	answered := f.connectFrom(all)
	for from := range all {
		assert.Equal(t, want[from], answered[from], "from %s", from)
	}
	assert.Greater(t, tried, 400)
}

// tries returns every port of every other container that one tries, and which of them it may reach.
func (f *filtered) tries(from string, may func(pair) bool) (all, reached []string) {
	c := f.containers[from]
	for to, other := range f.containers {
		if from == to {
			continue
		}
		for network, address := range other.addresses {
			way := c.through(other) == network
			for _, port := range f.ports {
				at := netip.AddrPortFrom(address, uint16(port)).String()
				all = append(all, at)
				if way && may(pair{from, to, port}) {
					reached = append(reached, at)
				}
			}
		}
	}
	slices.Sort(reached)
	return all, reached
}

// through is the network in which a container reaches another one: that one's first, if it is there
// too, or else the one that both are on.
func (c *filteredContainer) through(other *filteredContainer) string {
	if _, shared := c.addresses[other.home]; shared {
		return other.home
	}
	for network := range c.addresses {
		if _, shared := other.addresses[network]; shared {
			return network
		}
	}
	return ""
}

// nothingElse tries what is not TCP over IPv4, between all pairs.
func (f *filtered) nothingElse(t *testing.T) {
	six := map[string][]string{}
	for from, c := range f.containers {
		for to, other := range f.containers {
			if from == to {
				continue
			}
			for _, address := range other.addresses {
				for _, port := range f.ports {
					f.datagram(c, netip.AddrPortFrom(address, uint16(port)).String())
				}
			}
		}
		own := f.ownAddresses(c)
		for network := range len(f.networks) {
			for member := range len(f.containers) + 1 {
				for _, port := range f.ports {
					at := netip.MustParseAddrPort(fmt.Sprintf("[fd00:%d::%d]:%d", network, member, port))
					if !own[at.Addr()] {
						six[from] = append(six[from], at.String())
					}
				}
			}
		}
	}
	assert.Empty(t, f.connectFrom(six), "over IPv6")
	var wg sync.WaitGroup
	for name, c := range f.containers {
		for _, conn := range c.udp {
			wg.Go(func() {
				assert.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
				_, sender, err := conn.ReadFrom(make([]byte, 64))
				assert.Error(t, err, "a datagram from %v reached %s", sender, name)
			})
		}
	}
	wg.Wait()
}

func (f *filtered) datagram(c *filteredContainer, to string) {
	_ = c.Do(func() error {
		conn, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("x"))
		return err
	})
}

func (f *filtered) ownAddresses(c *filteredContainer) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	require.NoError(f.t, c.Do(func() error {
		addresses, err := net.InterfaceAddrs()
		for _, a := range addresses {
			out[netip.MustParsePrefix(a.String()).Addr()] = true
		}
		return err
	}))
	return out
}

func (f *filtered) waysOut(t *testing.T) {
	other := netip.AddrPortFrom(f.vpn.Addr(), 53)
	var byTCP, byUDP []string
	for _, at := range []netip.AddrPort{f.vpn, other, netip.MustParseAddrPort(theInternet + ":80")} {
		byTCP, byUDP = append(byTCP, at.String()), append(byUDP, at.String())
	}
	slices.Sort(byTCP)
	slices.Sort(byUDP)
	outside := slices.Clone(byTCP)
	for _, address := range mustStayClosed {
		outside = append(outside, address+":80")
	}
	for _, address := range machines {
		outside = append(outside, address+":22", address+":80", address+":41641")
	}
	for _, n := range f.networks {
		outside = append(outside, n.gateway+":80")
	}
	tries := map[string][]string{}
	for name := range f.containers {
		tries[name] = outside
	}
	answered, answeredUDP := f.connectFrom(tries), f.askFrom(t, slices.Collect(maps.Keys(tries)), byUDP)
	for name := range tries {
		var wantTCP, wantUDP []string
		switch {
		case f.internet[name]:
			wantTCP, wantUDP = byTCP, byUDP
		case name == theTunnel:
			wantUDP = []string{f.vpn.String()}
		}
		assert.Equal(t, wantTCP, answered[name], "%s and what is no container", name)
		assert.Equal(t, wantUDP, answeredUDP[name], "%s and the internet by UDP", name)
	}
}

// ask sends a datagram to each address and returns those that answered.
func ask(t *testing.T, n *netns.Namespace, addresses []string) []string {
	var mu sync.Mutex
	var answered []string
	var wg sync.WaitGroup
	for _, address := range addresses {
		conn, err := n.DialContext(t.Context(), "udp", address)
		if err != nil {
			continue // it has no route
		}
		wg.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := conn.Write([]byte("hello")); err != nil {
				return
			}
			if _, err := conn.Read(make([]byte, 64)); err == nil {
				mu.Lock()
				defer mu.Unlock()
				answered = append(answered, address)
			}
		})
	}
	wg.Wait()
	slices.Sort(answered)
	return answered
}

// fromOutside tries the way past the published ports, and who asks for the metadata on the machine.
func (f *filtered) fromOutside(t *testing.T) {
	var all []string
	for _, c := range f.containers {
		for _, address := range c.addresses {
			for _, port := range f.ports {
				all = append(all, netip.AddrPortFrom(address, uint16(port)).String())
			}
		}
	}
	assert.Empty(t, connect(f.outside, all), "from outside, straight to a container")
	const ask = ": </dev/tcp/" + theMetadata + "/80"
	require.NoError(t, f.machine.Run(nil, "timeout", "2", "bash", "-c", ask), "root is refused the metadata service")
	require.Error(t, f.machine.Run(nil, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "timeout", "1", "bash", "-c", ask), "anybody may ask the metadata service")
	require.NoError(t, f.machine.Run(nil, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "timeout", "2", "bash", "-c", ": </dev/tcp/"+theInternet+"/80"))
}

// A reload cuts no connection, and an edge that goes ends those that it let through: within one
// network, and out of it.
func TestAReloadCutsNothing(t *testing.T) {
	f := newFiltered(t)
	jellyfin := netip.AddrPortFrom(f.containers["jellyfin"].addresses["caddy-proxy"], 8096).String()
	edges := f.dir + "/files/container-caddy.nft"
	content, err := os.ReadFile(edges)
	require.NoError(t, err)
	for name, c := range map[string]struct{ bridged, to string }{
		"bridged":               {"0", jellyfin},
		"bridged and filtered":  {"1", jellyfin},
		"routed":                {"0", theInternet + ":80"},
		"routed, bridged shown": {"1", theInternet + ":80"},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			f.showBridgedPackets(c.bridged)
			require.NoError(t, os.WriteFile(edges, content, 0o600))
			f.load()
			conn, err := f.containers["caddy"].DialContext(t.Context(), "tcp", c.to)
			require.NoError(t, err)
			defer conn.Close()
			for range 20 {
				require.NoError(t, talk(conn))
				f.load()
			}
			require.NoError(t, talk(conn))

			require.NoError(t, os.Remove(edges))
			f.load()
			require.Error(t, talk(conn), "a connection goes on without its edge")
			assert.Empty(t, connect(f.containers["caddy"].Namespace, []string{c.to}))
			assert.NotEmpty(t, connect(f.containers["jellyseerr"].Namespace, []string{c.to}))
		})
	}
}

// talk sends a word and waits for the answer.
func talk(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 64))
	return err
}

// The way back of an edge is for answers: whoever took a service over opens nothing from the port
// that its answers come from.
func TestAServiceOpensNothingFromItsOwnPort(t *testing.T) {
	f := newFiltered(t)
	for _, bridged := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+bridged, func(t *testing.T) {
			f.t = t
			f.showBridgedPackets(bridged)
			begun := map[int]string{}
			for edge := range f.edges {
				from, to := f.containers[edge.from], f.containers[edge.to]
				if listener, ok := to.listeners[edge.port]; ok {
					_ = listener.Close() // it would keep the port
				}
				for network, address := range from.addresses {
					if _, shared := to.addresses[network]; !shared {
						continue
					}
					fd, err := dialing(to.Namespace, netip.AddrPortFrom(address, 22).String(), edge.port)
					require.NoError(t, err)
					begun[fd] = fmt.Sprintf("%s reaches %s from port %d", edge.to, edge.from, edge.port)
				}
			}
			tried := len(begun)
			assert.Empty(t, settled(begun))
			assert.GreaterOrEqual(t, tried, len(f.edges))
		})
	}
}

// The proof that runs before the first gate is opened passes with the filter, and with nothing
// less, also where Docker's own rules drop what they do not know: those must neither hide that the
// filter is missing nor drop what it lets through.
func TestTheProofOfTheFilter(t *testing.T) {
	f := newFiltered(t)
	t.Run("without an engine", func(t *testing.T) { f.t = t; f.prove(t) })
	// As Docker sets it where it is the one to switch forwarding on: on every new machine.
	require.NoError(t, f.machine.Run(nil, "iptables", "--wait", "--policy", "FORWARD", "DROP"))
	t.Run("with an engine's rules", func(t *testing.T) { f.t = t; f.prove(t) })
}

func (f *filtered) prove(t *testing.T) {
	program := f.dir + "/files/homelab-filter-proof"
	prove := func() error {
		return f.machine.Run(nil, "unshare", "--mount", "sh", "-ec", "mount -t tmpfs none /run; mkdir /run/netns; exec bash "+program)
	}
	f.load()
	f.showBridgedPackets("1")
	require.NoError(t, prove())
	f.showBridgedPackets("0") // or the other families' chains would drop what the bridge lets through
	require.NoError(t, prove())
	for what, rule := range map[string]string{
		"between containers":    "flush chain bridge homelab forward; chain bridge homelab forward { policy accept; }",
		"between networks":      "flush chain inet homelab_containers from_container; flush chain inet homelab_containers to_container",
		"to the machine":        "flush chain inet homelab_containers to_machine",
		"nothing passes at all": "flush chain bridge homelab forward",
		"no table":              "delete table bridge homelab",
	} {
		t.Run(what, func(t *testing.T) {
			f.load()
			require.NoError(t, f.machine.Run(strings.NewReader(rule), "nft", "--file", "-"))
			if what == "to the machine" { // the machine's own filter would still drop it
				require.NoError(t, f.machine.Run(strings.NewReader("delete table inet homelab"), "nft", "--file", "-"))
			}
			require.Error(t, prove())
		})
	}
	f.load()
	require.NoError(t, prove())
	require.NoError(t, f.machine.Run(nil, "sh", "-c", "! iptables --wait --list-rules FORWARD | grep hlproof"), "the proof leaves a rule behind")
}
