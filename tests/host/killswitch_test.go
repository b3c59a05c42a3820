//go:build host

package host

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	components "homelab/components/host"
)

// wayTo is what may leave the machine of a tunnel's container.
func wayTo(server string) string { return fmt.Sprintf("udp %s:%d", server, vpnPort) }

// A torrent client sends all the time, as root and by every way. In each state that its VPN's
// container can be in, nothing of it leaves the machine but the tunnel itself.
func TestTheKillSwitch(t *testing.T) {
	k := newKillSwitch(t)
	k.allow(tunnelTo(vpnServer))

	k.newContainer()
	k.sendsEverything("before Gluetun has rules")
	k.onlyTo("before Gluetun has rules", vpnServer)

	k.loadGluetunsRules(vpnServer)
	k.goesOn()
	k.onlyTo("Gluetun's rules are loaded, and no tunnel is up", vpnServer)

	stop := k.startTunnel(vpnServer)
	k.goesOn()
	assert.False(t, k.throughTheTunnel())
	assert.Empty(t, k.askedFrom(), "a question for a name reached the internet")
	k.onlyTo("the tunnel starts, and the server does not answer", vpnServer)

	k.startServer()
	k.reachesTheInternet("the tunnel is up")
	k.onlyTo("the tunnel is up", vpnServer)

	for range 3 {
		stop()
		k.goesOn()
		k.onlyTo("the tunnel is down between two starts", vpnServer)
		stop = k.startTunnel(vpnServer)
		k.reachesTheInternet("the tunnel is up again")
		k.onlyTo("the tunnel is up again", vpnServer)
	}

	k.openGluetunsRules()
	k.goesOn()
	k.onlyTo("Gluetun fell back to accept everything, and the tunnel is up", vpnServer)
	stop()
	k.sendsEverything("Gluetun fell back to accept everything, and has no tunnel")
	require.Eventually(t, func() bool { return k.inner.has("icmp 3/3 to " + vpnServer) }, 10*time.Second, 20*time.Millisecond,
		"the container tells the VPN's server nothing about its closed port: the filter's answer to that is not tried")
	k.onlyTo("Gluetun fell back to accept everything, and has no tunnel", vpnServer)
}

// The container is made anew at its old address, and a client sends before anything else happens in
// it, while the old one's connections are still known to the machine.
func TestTheKillSwitchOfAnotherContainer(t *testing.T) {
	k := newKillSwitch(t)
	k.allow(tunnelTo(vpnServer))
	k.startServer()
	for range 3 {
		k.newContainer()
		k.sendsEverything("a new container")
		k.onlyTo("a new container", vpnServer)
		k.loadGluetunsRules(vpnServer)
		k.startTunnel(vpnServer)
		k.reachesTheInternet("a new container's tunnel")
		k.onlyTo("a new container's tunnel", vpnServer)
	}
	k.goesOn() // so that something of it is seen between the two looks
	k.removeContainer()
	k.onlyTo("the container is gone", vpnServer)
	k.outer.upToNow()
	time.Sleep(300 * time.Millisecond)
	k.onlyTo("the container has been gone", "")
}

// A deployment that removes the container closes its way first: not even the tunnel, which has been
// up until then, sends another packet.
func TestTheKillSwitchWithoutTheTunnelsWay(t *testing.T) {
	k := newKillSwitch(t)
	k.allow(tunnelTo(vpnServer))
	k.startServer()
	k.newContainer()
	k.loadGluetunsRules(vpnServer)
	k.startTunnel(vpnServer)
	k.reachesTheInternet("the tunnel is up")

	k.removeReach()
	k.outer.upToNow()
	k.sendsTunnels()
	k.onlyTo("the way is closed", "")
	assert.False(t, k.throughTheTunnel())

	k.allow(tunnelTo(vpnServer))
	k.reachesTheInternet("the way is open again")
	k.onlyTo("the way is open again", vpnServer)

	// The settings name another server: the old one gets nothing more, though the old tunnel, whose
	// rules know no other, goes on sending until its container is made anew.
	k.allow(tunnelTo(otherServer))
	k.outer.upToNow()
	k.sendsTunnels()
	assert.False(t, k.throughTheTunnel())
	k.onlyTo("another server", "")
	k.newContainer()
	k.loadGluetunsRules(otherServer)
	k.startTunnel(otherServer)
	k.reachesTheInternet("the other server's tunnel")
	k.onlyTo("the other server's tunnel", otherServer)
}

// A tunnel by TCP, as OpenVPN's may be: its port is open and no other, over TCP alone, and what is
// established ends with its way.
func TestTheKillSwitchOfATunnelByTCP(t *testing.T) {
	k := newKillSwitch(t)
	const server = vpnServer + ":443"
	k.newContainer()
	k.allow(components.Reach{Tunnel: []components.TunnelWay{{
		From: netip.MustParseAddr(tunnelAddress), To: netip.MustParseAddr(vpnServer), Protocol: components.TCP, Port: 443,
	}}})
	k.outer.upToNow()
	assert.Equal(t, []string{server}, connect(k.tunnel, []string{server, vpnServer + ":80", theInternet + ":80", "1.1.1.1:443"}))
	k.sendsEverything("a tunnel by TCP")
	assert.Equal(t, []string{"tcp " + server}, slices.Collect(maps.Keys(k.outer.upToNow())))

	conn, err := k.tunnel.DialContext(t.Context(), "tcp", server)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, talk(conn))
	k.load()
	require.NoError(t, talk(conn), "a filter that is loaded again cuts the tunnel")
	k.removeReach()
	k.outer.upToNow()
	require.Error(t, talk(conn))
	k.sendsEverything("a tunnel by TCP is closed")
	k.onlyTo("a tunnel by TCP is closed", "")
}

// With the internet instead of the tunnel, and with no filter at all, the same client is seen: so
// the tests above would fail if the filter were open. What was established then ends when it is
// closed.
func TestTheKillSwitchCanFail(t *testing.T) {
	k := newKillSwitch(t)
	k.newContainer()
	k.allow(components.Reach{Internet: []netip.Addr{netip.MustParseAddr(tunnelAddress)}})
	k.leaks("tcp 1.1.1.1:443", "udp "+theInternet+":53", "icmp 8/0 to "+theInternet, "protocol 47 to 1.1.1.1")
	assert.False(t, k.outer.has("tcp ["), "IPv6 leaves with the internet")
	require.Eventually(t, func() bool { return len(k.askedFrom()) > 0 }, 20*time.Second, 100*time.Millisecond, "no name server is asked")

	conn, err := k.tunnel.DialContext(t.Context(), "tcp", theInternet+":80")
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, talk(conn))
	var datagrams net.Conn
	require.NoError(t, k.tunnel.Do(func() error {
		datagrams, err = net.Dial("udp", theInternet+":53")
		return err
	}))
	defer datagrams.Close()
	require.NoError(t, talk(datagrams))

	k.nft(k.machine, "flush chain inet homelab_containers from_container")
	k.leaks("tcp [2620:fe::fe]:80", "udp [2606:4700::1111]:53", "icmpv6 128/0 to 2620:fe::fe")

	k.allow(tunnelTo(vpnServer))
	k.outer.upToNow()
	require.Error(t, talk(conn))
	require.Error(t, talk(datagrams))
	k.sendsEverything("closed again")
	k.onlyTo("closed again", vpnServer)
}

// sendsEverything waits until the container sends what would be seen if it got out.
func (k *killswitch) sendsEverything(state string) {
	k.t.Helper()
	for _, what := range []string{
		"tcp 1.1.1.1:443", "udp " + theInternet + ":53", "udp 45.83.220.9:6881", wayTo(vpnServer), wayTo(otherServer), "tcp " + vpnServer + ":443",
		"icmp 8/0 to " + theInternet, "tcp [2620:fe::fe]:80", "udp [2606:4700::1111]:53", "icmpv6 128/0 to 2620:fe::fe", "protocol 47 to 1.1.1.1",
	} {
		before := k.inner.seen()[what]
		require.Eventually(k.t, func() bool { return k.inner.seen()[what] > before+1 }, 10*time.Second, 10*time.Millisecond,
			"%s: the client does not send %s", state, what)
	}
}

// sendsTunnels waits until the container has sent several packets by its tunnel.
func (k *killswitch) sendsTunnels() {
	k.t.Helper()
	before := k.inner.seen()[wayTo(vpnServer)]
	require.Eventually(k.t, func() bool { return k.inner.seen()[wayTo(vpnServer)] > before+200 }, 20*time.Second, 10*time.Millisecond,
		"the tunnel sends nothing")
}

// goesOn lets the client send for some of its rounds.
func (k *killswitch) goesOn() { time.Sleep(700 * time.Millisecond) }

// reachesTheInternet waits until the tunnel works, and shows that it is the VPN's server from which
// the internet is reached.
func (k *killswitch) reachesTheInternet(state string) {
	k.t.Helper()
	k.askedFrom()
	require.Eventually(k.t, k.throughTheTunnel, 20*time.Second, 50*time.Millisecond, "%s: no answer", state)
	var from map[string]bool
	require.Eventually(k.t, func() bool { from = k.askedFrom(); return len(from) > 0 }, 10*time.Second, 20*time.Millisecond, "%s: no name is asked for", state)
	assert.Equal(k.t, map[string]bool{vpnServer: true}, from, state)
}

// onlyTo fails if something left the machine since the last look, other than the tunnel to a server
// or, if that is empty, anything; and if no packet of the tunnel did.
func (k *killswitch) onlyTo(state, server string) {
	k.t.Helper()
	left := k.outer.upToNow()
	if server == "" {
		assert.Empty(k.t, left, state)
		return
	}
	assert.Equal(k.t, []string{wayTo(server)}, slices.Sorted(maps.Keys(left)), "%s: %v", state, left)
	assert.Positive(k.t, left[wayTo(server)], state)
}

// leaks waits until all of it has been seen outside the machine.
func (k *killswitch) leaks(wanted ...string) {
	k.t.Helper()
	for _, what := range wanted {
		require.Eventually(k.t, func() bool { return k.outer.seen()[what] > 0 }, 10*time.Second, 10*time.Millisecond, "%s is not seen outside: this test proves nothing", what)
	}
}
