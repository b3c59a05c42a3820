package link

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRulesAsHetznersAPIHasThem(t *testing.T) {
	for _, c := range []struct {
		protocol, port string
		sources        []string
		problem        string
	}{
		{"tcp", "80", everywhere, ""},
		{"tcp", "80-85", everywhere, ""},
		{"udp", "any", []string{"10.0.0.0/8"}, ""},
		{"icmp", "", everywhere, ""},
		{"esp", "", everywhere, ""},
		{"gre", "", []string{"2001:db8::/32"}, ""},
		{"tcp", "", everywhere, "needs a port"},
		{"tcp", "85-80", everywhere, "85-80 is none"},
		{"tcp", "0", everywhere, "needs a port"},
		{"udp", "65536", everywhere, "neither a port"},
		{"udp", "ssh", everywhere, "neither a port"},
		{"udp", "1-2-3", everywhere, "neither a port"},
		{"icmp", "80", everywhere, "icmp has no ports"},
		{"sctp", "80", everywhere, `protocol "sctp"`},
		{"TCP", "80", everywhere, `protocol "TCP"`},
		{"tcp", "80", nil, "no sources"},
		{"tcp", "80", []string{"198.51.100.7"}, "no '/'"},
		{"tcp", "80", []string{"198.51.100.7/24"}, "not the beginning of a network"},
	} {
		_, err := ParseRule(c.protocol, c.port, c.sources)
		if c.problem == "" {
			assert.NoError(t, err, c)
		} else {
			assert.ErrorContains(t, err, c.problem, c)
		}
	}
	n := network(t, Options{})
	assert.ErrorContains(t, n.SetFirewall(first.ID, []Rule{{Protocol: "tcp", First: 1, Last: 1}}), "rule 1: firewall rule: tcp has no sources")
}

// source is a host outside, of the version of IP that the test is for.
func source(outside netip.Addr) netip.Addr {
	if outside.Is4() {
		return someone
	}
	return someone6
}

func TestWithoutAFirewallEverythingComesIn(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		g := boot(t, n, first)
		g.listen(t, 8080)
		g.listenUDP(t, 53)
		c, err := call(n, "tcp", outside, netip.AddrPortFrom(self(first), 8080))
		require.NoError(t, err)
		echoes(t, c, "open")
		u, err := call(n, "udp", outside, netip.AddrPortFrom(self(first), 53))
		require.NoError(t, err)
		echoes(t, u, "open")
		require.NoError(t, pong(n, outside, self(first)))
		_, err = call(n, "tcp", outside, netip.AddrPortFrom(self(first), 81))
		require.ErrorContains(t, err, "refused", "the machine itself answers")
		assert.Empty(t, n.Stats(first.ID).Dropped)
	})
}

// pong expects the answer to an echo, ping does not.
func pong(n *Network, from, to netip.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.Ping(ctx, from, to)
}

func ping(n *Network, from, to netip.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	return n.Ping(ctx, from, to)
}

func TestTheFirewallLetsInWhatItsRulesAllow(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		only := netip.PrefixFrom(outside, outside.BitLen()).String()
		require.NoError(t, n.SetFirewall(first.ID, []Rule{
			rule(t, "tcp", "443", only), rule(t, "tcp", "8000-8001", everywhere...), rule(t, "udp", "41641", everywhere...), rule(t, "icmp", "", only),
		}))
		g := boot(t, n, first)
		for _, port := range []uint16{22, 443, 7999, 8000, 8001, 8002} {
			g.listen(t, port)
		}
		g.listenUDP(t, 41641)
		g.listenUDP(t, 443)
		at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(self(first), port) }
		stranger := source(outside)

		for port, from := range map[uint16]netip.Addr{443: outside, 8000: stranger, 8001: stranger} {
			c, err := call(n, "tcp", from, at(port))
			require.NoError(t, err, port)
			echoes(t, c, "let in")
		}
		for port, from := range map[uint16]netip.Addr{22: outside, 443: stranger, 7999: outside, 8002: outside, 9: outside} {
			_, err := knock(n, "tcp", from, at(port))
			require.ErrorIs(t, err, context.DeadlineExceeded, "port %d must not answer, not even with a refusal", port)
		}
		u, err := call(n, "udp", stranger, at(41641))
		require.NoError(t, err)
		echoes(t, u, "let in")
		mute(t, n, stranger, at(443))
		require.NoError(t, pong(n, outside, self(first)))
		require.ErrorIs(t, ping(n, stranger, self(first)), context.DeadlineExceeded)

		dropped := n.Stats(first.ID).Dropped
		for _, d := range []Drop{{"icmp", 0, 1}, {"tcp", 9, 1}, {"tcp", 22, 1}, {"tcp", 443, 1}, {"tcp", 7999, 1}, {"tcp", 8002, 1}, {"udp", 443, 1}} {
			assert.Contains(t, dropped, d)
		}
		assert.Len(t, dropped, 7)
	})
}

// mute sends a datagram that nobody may answer.
func mute(t *testing.T, n *Network, from netip.Addr, to netip.AddrPort) {
	t.Helper()
	u, err := call(n, "udp", from, to)
	require.NoError(t, err)
	_, err = u.Write([]byte("anybody?"))
	require.NoError(t, err)
	require.NoError(t, u.SetDeadline(time.Now().Add(silence)))
	_, err = u.Read(make([]byte, 16))
	require.ErrorContains(t, err, "timeout", "neither an answer nor a refusal")
}

func TestNoRulesKeepEverythingOut(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		require.NoError(t, n.SetFirewall(first.ID, nil))
		g := boot(t, n, first)
		g.listen(t, 22)
		_, err := knock(n, "tcp", outside, netip.AddrPortFrom(self(first), 22))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, ping(n, outside, self(first)), context.DeadlineExceeded)

		n.RemoveFirewall(first.ID)
		c, err := call(n, "tcp", outside, netip.AddrPortFrom(self(first), 22))
		require.NoError(t, err)
		echoes(t, c, "open")
	})
}

func TestAnswersToTheMachinePassTheFirewall(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		require.NoError(t, n.SetFirewall(first.ID, nil))
		l, err := n.Listen(netip.AddrPortFrom(outside, 443))
		require.NoError(t, err)
		go repeatStreams(l)
		p, err := n.ListenPacket(netip.AddrPortFrom(outside, 3478))
		require.NoError(t, err)
		go repeatPackets(p)
		g := boot(t, n, first)

		c, err := g.dial(netip.AddrPortFrom(outside, 443))
		require.NoError(t, err)
		echoes(t, c, "an answer")
		_, err = g.dial(netip.AddrPortFrom(outside, 444))
		require.ErrorContains(t, err, "refused", "a refusal is an answer")
		u := g.dialUDP(t, netip.AddrPortFrom(outside, 3478))
		echoes(t, u, "an answer")
		refused := g.dialUDP(t, netip.AddrPortFrom(outside, 3479))
		_, err = refused.Write([]byte("anybody?"))
		require.NoError(t, err)
		_, err = refused.Read(make([]byte, 16))
		require.ErrorContains(t, err, "refused", "an ICMP error about the machine's own packet is an answer")
		require.NoError(t, g.ping(outside))
		assert.Empty(t, n.Stats(first.ID).Dropped)

		// Nobody but the server is answering, and it only from that port.
		from := u.LocalAddr().(interface{ String() string }).String()
		at := netip.MustParseAddrPort(from)
		mute(t, n, source(outside), netip.AddrPortFrom(self(first), at.Port()))
		mute(t, n, outside, netip.AddrPortFrom(self(first), at.Port()))
	})
}

func TestARuleThatIsGoneEndsItsConnections(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		ssh, web := rule(t, "tcp", "22", everywhere...), rule(t, "tcp", "443", everywhere...)
		require.NoError(t, n.SetFirewall(first.ID, []Rule{ssh, web}))
		g := boot(t, n, first)
		g.listen(t, 22)
		g.listen(t, 443)
		stays, err := call(n, "tcp", outside, netip.AddrPortFrom(self(first), 443))
		require.NoError(t, err)
		goes, err := call(n, "tcp", outside, netip.AddrPortFrom(self(first), 22))
		require.NoError(t, err)
		echoes(t, goes, "before")

		require.NoError(t, n.SetFirewall(first.ID, []Rule{web}))
		echoes(t, stays, "after")
		_, err = goes.Write([]byte("after"))
		require.NoError(t, err)
		require.NoError(t, goes.SetReadDeadline(time.Now().Add(silence)))
		_, err = goes.Read(make([]byte, 16))
		require.ErrorContains(t, err, "timeout")
	})
}
