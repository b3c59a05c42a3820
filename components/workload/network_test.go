package workload

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-docker/sdk/v4/go/docker"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/host"
)

func TestAddressesOfANetwork(t *testing.T) {
	n := &Network{name: "n", subnet: netip.MustParsePrefix("172.30.1.0/25"), claimed: map[int]string{}}
	for slot, want := range map[int]string{16: "172.30.1.16", 63: "172.30.1.63", 126: "172.30.1.126"} {
		got, err := n.address(slot)
		require.NoError(t, err)
		assert.Equal(t, want, got.String())
	}
	for _, slot := range []int{-1, 0, 1, 2, 15, 127, 128} {
		_, err := n.address(slot)
		require.ErrorContains(t, err, "is not between 16 and 126, the containers of network n", "%d", slot)
	}
	wide := &Network{name: "wide", subnet: netip.MustParsePrefix("10.0.0.0/8")}
	got, err := wide.address(300)
	require.NoError(t, err)
	assert.Equal(t, "10.0.1.44", got.String())

	require.NoError(t, n.claim(5, "caddy"))
	require.ErrorContains(t, n.claim(5, "other"), "its slot 5 in network n is that of caddy")
	require.NoError(t, n.claim(6, "other"))
}

// Docker takes the default route through the network whose name comes first, of those that are not
// internal. A way out must be through that one, because the filter knows no other.
func TestTheWayOutIsTheDefaultRoute(t *testing.T) {
	network := func(name string, internal bool) *Network {
		return &Network{name: name, internal: internal, subnet: netip.MustParsePrefix("172.30.1.0/24"), resource: &docker.Network{}}
	}
	first, second, internal := network("b", false), network("c", false), network("a", true)
	refused := func(out WayOut, networks ...*Network) bool {
		return strings.Contains((&Spec{Networks: networks, Slot: 38, WayOut: out}).Validate("consumer").Error(), "its default route through")
	}
	assert.False(t, refused(Internet, first, second))
	assert.True(t, refused(Internet, second, first))
	assert.False(t, refused(Internet, first, internal), "an internal network has no default route")
	assert.False(t, refused(WayOut{}, second, first))
	server := ToServer(VPNServer{Address: netip.MustParseAddr("193.138.218.74"), Protocol: host.UDP, Port: 51820})
	assert.True(t, refused(server, second, first))
	reach, err := (&Spec{Networks: []*Network{first, second}, Slot: 38, WayOut: server}).reach("tunnel")
	require.NoError(t, err)
	assert.Len(t, reach.Tunnel, 1)
}

// Two containers that share two networks reach each other through the provider's own; one on no
// shared network is refused.
func TestEdgesFollowTheNetworks(t *testing.T) {
	one := &Network{name: "one", subnet: netip.MustParsePrefix("172.30.1.0/24")}
	two := &Network{name: "two", subnet: netip.MustParsePrefix("172.30.2.0/24")}
	provider := &Container{name: "provider", networks: []*Network{one, two}, slot: 39}
	spec := &Spec{Networks: []*Network{one, two}, Slot: 38, Uses: []Endpoint{{container: provider, port: 80}}, WayOut: Internet}
	reach, err := spec.reach("consumer")
	require.NoError(t, err)
	require.Len(t, reach.Edges, 1)
	assert.Equal(t, "172.30.1.38", reach.Edges[0].From.String())
	assert.Equal(t, "172.30.1.39", reach.Edges[0].To.String())
	assert.Equal(t, []netip.Addr{netip.MustParseAddr("172.30.1.38")}, reach.Internet, "its way out is one")

	spec.Networks, spec.WayOut = []*Network{two}, WayOut{}
	reach, err = spec.reach("consumer")
	require.NoError(t, err)
	require.Len(t, reach.Edges, 1)
	assert.Equal(t, "172.30.2.39", reach.Edges[0].To.String(), "it is not on the provider's own")
	assert.Empty(t, reach.Internet)

	provider.networks = []*Network{one}
	assert.ErrorContains(t, spec.Validate("consumer"), "it uses provider:80, which is on none of its networks")
}
