//go:build host

package host

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/require"

	"homelab/internal/workspace"
	"homelab/tests/internal/netns"
)

// filtered is a machine with the deployment's packet filter, and one namespace per container on the
// bridge of its network.
type filtered struct {
	t          *testing.T
	dir        string
	machine    *netns.Namespace
	outside    *netns.Namespace
	containers map[string]*filteredContainer
	networks   map[string]filteredNetwork
	behind     []string // containers in the tunnel's namespace
	rendered   map[string]string
	ports      []int
	graph
}

type filteredContainer struct {
	*netns.Namespace
	addresses map[string]netip.Addr // by network
	home      string                // the first of its networks
	hosts     map[string]string     // addresses by names that are no containers'
	listeners map[int]net.Listener  // by port
	udp       []net.PacketConn
}

type filteredNetwork struct {
	bridge  string
	subnet  netip.Prefix
	gateway string
}

func newFiltered(t *testing.T) *filtered {
	t.Helper()
	f, deployment := newFilter(t)
	f.addContainers(deployment)
	f.load()
	return f
}

// addContainers adds the networks and containers of a deployment.
func (f *filtered) addContainers(deployment []apitype.ResourceV3) {
	for _, r := range deployment {
		if r.Type == "docker:index/network:Network" {
			f.addNetwork(fmt.Sprint(r.Inputs["name"]), r.Inputs["ipamConfigs"].([]any)[0].(map[string]any))
		}
	}
	for _, r := range deployment {
		if r.Type == "docker:index/container:Container" {
			f.addContainer(r)
		}
	}
}

// newFilter returns a machine without containers, whose filter is not loaded, and the deployment
// that it belongs to.
func newFilter(t *testing.T) (*filtered, []apitype.ResourceV3) {
	t.Helper()
	w := simulate(t, ownServices)
	deployment, err := w.Deployment()
	require.NoError(t, err)
	return filterOf(t, w), deployment.Resources
}

// filterOf is the machine of a deployment.
func filterOf(t *testing.T, w *workspace.Simulation) *filtered {
	t.Helper()
	f := &filtered{t: t, dir: t.TempDir(), containers: map[string]*filteredContainer{}, networks: map[string]filteredNetwork{}}
	f.graph = whatTheGraphSays(t)
	f.rendered = files(t, commands(w))
	f.ports = slices.Clone(temptations)
	for p := range f.edges {
		f.ports = append(f.ports, p.port)
	}
	slices.Sort(f.ports)
	f.ports = slices.Compact(f.ports)
	f.writeFiles(w)
	f.wireOutside()
	return f
}

// writeFiles puts the filter of the first boot and the deployment's files where nft finds them.
func (f *filtered) writeFiles(w *workspace.Simulation) {
	require.NoError(f.t, os.Mkdir(f.dir+"/files", 0o700))
	writeFilter(f.t, bootFiles(f.t, w.World().Machines()[0].UserData), f.dir, f.dir+"/files/*.nft", "")
	for _, c := range w.World().Commands("") {
		_, target, ok := strings.Cut(c.Script, " /opt/homelab/firewall/")
		if !ok || !strings.Contains(c.Script, "homelab-file put ") {
			continue
		}
		target, _, _ = strings.Cut(target, " ")
		file := filepath.Join(f.dir, "files", target)
		require.NoFileExists(f.t, file, "two resources write one file of the filter")
		require.NoError(f.t, os.WriteFile(file, []byte(c.Stdin), 0o700))
	}
}

func (f *filtered) wireOutside() {
	t := f.t
	var err error
	f.machine, err = netns.New("machine")
	require.NoError(t, err)
	f.outside, err = netns.New("outside")
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.machine.Close(); _ = f.outside.Close() })
	require.NoError(t, f.machine.Forward())
	require.NoError(t, netns.Connect(f.machine, "pub0", f.outside, "net0"))
	require.NoError(t, netns.Connect(f.machine, "tailscale0", f.outside, "tail0"))
	f.ip(f.machine, "address add "+machinesPublic+"/24 dev pub0", "link set pub0 up", "address add "+machinesTail+"/24 dev tailscale0", "link set tailscale0 up",
		"route add default via 88.198.0.1", "route add 100.101.102.0/24 via 100.64.0.1")
	f.ip(f.outside, "address add 88.198.0.1/24 dev net0", "link set net0 up", "address add 100.64.0.1/24 dev tail0", "link set tail0 up",
		"route add 172.30.0.0/16 via "+machinesPublic)
	for _, address := range append([]string{theInternet}, mustStayClosed...) {
		f.ip(f.outside, "address add "+address+"/32 dev lo")
		f.serve(f.outside, address, 80)
	}
	f.ip(f.outside, fmt.Sprintf("address add %s/32 dev lo", f.vpn.Addr()))
	for _, at := range []netip.AddrPort{f.vpn, netip.AddrPortFrom(f.vpn.Addr(), 53)} {
		f.serve(f.outside, at.Addr().String(), int(at.Port()))
		f.echo(f.outside, at.String())
	}
	f.echo(f.outside, theInternet+":80")
	for _, address := range machines {
		for _, port := range []int{22, 80, 41641} {
			f.serve(f.machine, address, port)
		}
	}
}

func (f *filtered) ip(n *netns.Namespace, commands ...string) {
	f.t.Helper()
	for _, c := range commands {
		require.NoError(f.t, n.IP(c))
	}
}

// serve answers every connection with what it is sent.
func (f *filtered) serve(n *netns.Namespace, address string, port int) net.Listener {
	f.t.Helper()
	listener, err := n.Listen(net.JoinHostPort(address, strconv.Itoa(port)))
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 64)
				for {
					read, err := conn.Read(buffer)
					if err != nil {
						return
					}
					if _, err := conn.Write(buffer[:read]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener
}

// echo answers every datagram with what it is.
func (f *filtered) echo(n *netns.Namespace, address string) {
	f.t.Helper()
	var server net.PacketConn
	require.NoError(f.t, n.Do(func() (err error) {
		server, err = net.ListenPacket("udp", address)
		return err
	}))
	f.t.Cleanup(func() { _ = server.Close() })
	go func() {
		buffer := make([]byte, 64)
		for {
			read, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(buffer[:read], from)
		}
	}()
}

func (f *filtered) addNetwork(name string, ipam map[string]any) {
	subnet := netip.MustParsePrefix(fmt.Sprint(ipam["subnet"]))
	n := filteredNetwork{bridge: fmt.Sprintf("br-%d", len(f.networks)), subnet: subnet, gateway: fmt.Sprint(ipam["gateway"])}
	require.NoError(f.t, f.machine.Switch(n.bridge, fmt.Sprintf("%s/%d", n.gateway, subnet.Bits())))
	f.ip(f.machine, fmt.Sprintf("address add fd00:%d::1/64 dev %s nodad", len(f.networks), n.bridge))
	f.networks[name] = n
	f.serve(f.machine, n.gateway, 80)
}

// isBehind notes a container that has the tunnel's network in place of its own.
func (f *filtered) isBehind(r apitype.ResourceV3) bool {
	mode, _ := r.Inputs["networkMode"].(string)
	if !strings.HasPrefix(mode, "container:") {
		return false
	}
	require.Empty(f.t, r.Inputs["networksAdvanced"])
	f.behind = append(f.behind, fmt.Sprint(r.Inputs["name"]))
	return true
}

func (f *filtered) addContainer(r apitype.ResourceV3) {
	if f.isBehind(r) {
		return // it can do what the tunnel can
	}
	t, name, networks := f.t, fmt.Sprint(r.Inputs["name"]), r.Inputs["networksAdvanced"].([]any)
	space, err := netns.New(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = space.Close() })
	c := &filteredContainer{Namespace: space, addresses: map[string]netip.Addr{}, hosts: hostsOf(r)}
	f.containers[name] = c
	for i, n := range networks {
		of := n.(map[string]any)
		network, ok := f.networks[fmt.Sprint(of["name"])]
		require.True(t, ok, "%s is on %v", name, of)
		address := netip.MustParseAddr(fmt.Sprint(of["ipv4Address"]))
		require.True(t, network.subnet.Contains(address), "%s has %s", name, address)
		outer, inner := fmt.Sprintf("v%d-%d", len(f.containers), i), fmt.Sprintf("eth%d", i)
		require.NoError(t, netns.Connect(f.machine, outer, space, inner))
		f.ip(f.machine, "link set "+outer+" master "+network.bridge, "link set "+outer+" up")
		f.ip(space, fmt.Sprintf("address add %s/%d dev %s", address, network.subnet.Bits(), inner), "link set "+inner+" up",
			fmt.Sprintf("address add fd00:%s::%d/64 dev %s nodad", strings.TrimPrefix(network.bridge, "br-"), len(f.containers), inner))
		if i == 0 {
			f.ip(space, "route add default via "+network.gateway)
			c.home = fmt.Sprint(of["name"])
		}
		c.addresses[fmt.Sprint(of["name"])] = address
	}
	f.answer(c)
}

// hostsOf are the names that a container is given with their addresses.
func hostsOf(r apitype.ResourceV3) map[string]string {
	out := map[string]string{}
	list, _ := r.Inputs["hosts"].([]any)
	for _, h := range list {
		of := h.(map[string]any)
		out[fmt.Sprint(of["host"])] = fmt.Sprint(of["ip"])
	}
	return out
}

// answer lets a container answer on every port, and take datagrams.
func (f *filtered) answer(c *filteredContainer) {
	t, space := f.t, c.Namespace
	c.listeners = map[int]net.Listener{}
	for _, port := range f.ports {
		c.listeners[port] = f.serve(space, "", port)
		require.NoError(t, space.Do(func() error {
			conn, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
			c.udp = append(c.udp, conn)
			return err
		}))
	}
	t.Cleanup(func() {
		for _, conn := range c.udp {
			_ = conn.Close()
		}
	})
}

func (f *filtered) load() {
	f.t.Helper()
	require.NoError(f.t, f.machine.Run(nil, "nft", "--file", f.dir+"/firewall.nft"))
}
