package host

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/internet"
)

func address(last byte) netip.Addr { return netip.AddrFrom4([4]byte{172, 30, 1, last}) }

func TestContainersFilter(t *testing.T) {
	rendered, err := renderContainers()
	require.NoError(t, err)
	golden(t, "containers.nft", rendered)
}

// The file is the same whatever the order of the declarations.
func TestReach(t *testing.T) {
	edges := []Edge{{address(5), address(4), 9091}, {address(5), address(2), 8080}, {address(5), address(2), 7422}, {address(5), address(4), 9091}}
	rendered, err := Reach{Container: "caddy", Edges: edges, Internet: []netip.Addr{address(5)}}.Render()
	require.NoError(t, err)
	golden(t, "reach.nft", rendered)
	again, err := Reach{Container: "caddy", Edges: []Edge{edges[2], edges[1], edges[0]}, Internet: []netip.Addr{address(5)}}.Render()
	require.NoError(t, err)
	assert.Equal(t, rendered, again)

	none, err := Reach{Container: "quiet"}.Render()
	require.NoError(t, err)
	assert.Equal(t, "# What quiet may reach.\n", none)
}

func TestReachOfATunnel(t *testing.T) {
	server, other := netip.MustParseAddr("193.138.218.74"), netip.MustParseAddr("45.83.220.9")
	ways := []TunnelWay{{address(9), server, UDP, 51820}, {address(9), other, TCP, 443}, {address(9), server, UDP, 51820}}
	rendered, err := Reach{Container: "gluetun", Tunnel: ways}.Render()
	require.NoError(t, err)
	golden(t, "reach-tunnel.nft", rendered)
	again, err := Reach{Container: "gluetun", Tunnel: []TunnelWay{ways[1], ways[0]}}.Render()
	require.NoError(t, err)
	assert.Equal(t, rendered, again)
}

// Everything wrong with a tunnel's reach is refused, and so is every address that is not on the
// internet.
func TestTunnelThatIsRefused(t *testing.T) {
	server := netip.MustParseAddr("193.138.218.74")
	way := func(change func(*TunnelWay)) Reach {
		w := TunnelWay{address(9), server, UDP, 51820}
		change(&w)
		return Reach{Container: "gluetun", Tunnel: []TunnelWay{w}}
	}
	for _, to := range []string{"0.0.0.0", "10.64.0.1", "100.100.100.100", "127.0.0.11", metadata, "172.30.1.2", "192.168.1.1", "224.0.0.1", "255.255.255.255", "2a03:1b20::1", "::ffff:193.138.218.74"} {
		_, err := way(func(w *TunnelWay) { w.To = netip.MustParseAddr(to) }).Render()
		require.ErrorContains(t, err, "the VPN server's address "+to+" is not a public IPv4 address")
	}
	for _, r := range internet.Closed() {
		prefix, err := netip.ParsePrefix(r)
		require.NoError(t, err)
		assert.False(t, internet.Public(prefix.Addr()), r)
	}
	both := way(func(*TunnelWay) {})
	both.Internet = []netip.Addr{address(9)}
	for want, r := range map[string]Reach{
		"the VPN server's address invalid IP":              way(func(w *TunnelWay) { w.To = netip.Addr{} }),
		"own address 193.138.218.74 is not a private IPv4": way(func(w *TunnelWay) { w.From = server }),
		"own address fd00::9 is not a private IPv4":        way(func(w *TunnelWay) { w.From = netip.MustParseAddr("fd00::9") }),
		`"" is not the protocol of a tunnel: udp or tcp`:   way(func(w *TunnelWay) { w.Protocol = "" }),
		`"icmp" is not the protocol of a tunnel`:           way(func(w *TunnelWay) { w.Protocol = "icmp" }),
		`"udp . 53 }\nadd rule" is not the protocol`:       way(func(w *TunnelWay) { w.Protocol = "udp . 53 }\nadd rule" }),
		"0 is not a port":     way(func(w *TunnelWay) { w.Port = 0 }),
		"65536 is not a port": way(func(w *TunnelWay) { w.Port = 65536 }),
		"a tunnel's container reaches its VPN server only": both,
	} {
		_, err := r.Render()
		require.ErrorContains(t, err, want)
	}
}

// A word more in these files would be a rule.
func TestReachThatIsRefused(t *testing.T) {
	public, six := netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("fd00::1")
	for want, r := range map[string]Reach{
		"is not the name of a container":     {Container: "x.nft\nadd rule"},
		"is not between private IPv4":        {Container: "x", Edges: []Edge{{address(2), public, 80}}},
		"edge from fd00::1":                  {Container: "x", Edges: []Edge{{six, address(2), 80}}},
		"leads nowhere":                      {Container: "x", Edges: []Edge{{address(2), address(2), 80}}},
		"0 is not a port":                    {Container: "x", Edges: []Edge{{address(2), address(3), 0}}},
		"70000 is not a port":                {Container: "x", Edges: []Edge{{address(2), address(3), 70000}}},
		"9.9.9.9 is not a private":           {Container: "x", Internet: []netip.Addr{public}},
		"invalid IP is not a private":        {Container: "x", Internet: []netip.Addr{{}}},
		"edge from invalid IP to invalid IP": {Container: "x", Edges: []Edge{{Port: 1}}},
	} {
		_, err := r.Render()
		require.ErrorContains(t, err, want)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run: go test ./components/host -update")
	assert.Equal(t, string(want), got)
}
