package link

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func tap(t *testing.T, n *Network, options TapOptions) *Tap {
	t.Helper()
	out, err := n.OpenTap(options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, out.Close()) })
	return out
}

// knockPacket is a packet that asks for a connection.
func knockPacket(from, to netip.AddrPort) []byte {
	segment := make([]byte, header.TCPMinimumSize)
	header.TCP(segment).Encode(&header.TCPFields{
		SrcPort: from.Port(), DstPort: to.Port(), SeqNum: 4711, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1024,
	})
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, tcpip.AddrFromSlice(from.Addr().AsSlice()), tcpip.AddrFromSlice(to.Addr().AsSlice()), header.TCPMinimumSize)
	header.TCP(segment).SetChecksum(^header.TCP(segment).CalculateChecksum(sum))
	return frameIP(from.Addr(), to.Addr(), protoTCP, 64, segment).ip()
}

// answer is the next packet that a tap gets: where from, and with which of TCP's flags.
func answer(t *testing.T, from *Tap) (netip.AddrPort, header.TCPFlags) {
	t.Helper()
	select {
	case b := <-from.Packets():
		p, err := parse(b)
		require.NoError(t, err)
		return netip.AddrPortFrom(p.src, p.sport), p.tcp
	case <-time.After(patience):
		require.Fail(t, "no answer")
		return netip.AddrPort{}, 0
	}
}

func TestATapSendsAndGetsPacketsOfItsOwn(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		require.NoError(t, n.SetFirewall(first.ID, []Rule{rule(t, "tcp", "443-444", everywhere...)}))
		g := boot(t, n, first)
		for _, port := range []uint16{22, 443} {
			g.listen(t, port)
		}
		at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(self(first), port) }
		stranger := tap(t, n, TapOptions{Address: outside})
		for _, port := range []uint16{22, 23, 443} {
			require.NoError(t, stranger.Send(knockPacket(netip.AddrPortFrom(outside, 40000), at(port))))
		}
		from, flags := answer(t, stranger)
		assert.Equal(t, at(443), from, "the others are shut")
		assert.Equal(t, header.TCPFlagSyn|header.TCPFlagAck, flags)
		require.NoError(t, stranger.Send(knockPacket(netip.AddrPortFrom(outside, 40000), at(444))))
		from, flags = answer(t, stranger)
		assert.Equal(t, at(444), from)
		assert.Equal(t, header.TCPFlagRst|header.TCPFlagAck, flags)
		assert.Equal(t, []Drop{{"tcp", 22, 1}, {"tcp", 23, 1}}, n.Stats(first.ID).Dropped)
		assert.Zero(t, stranger.Lost())
	})
}

func TestATapBehindTheFirewallSeesTheMachineWithoutIt(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		require.NoError(t, n.SetFirewall(first.ID, nil))
		g := boot(t, n, first)
		g.listen(t, 22)
		inside := tap(t, n, TapOptions{Address: outside, Behind: true})
		require.NoError(t, inside.Send(knockPacket(netip.AddrPortFrom(outside, 40000), netip.AddrPortFrom(self(first), 22))))
		from, flags := answer(t, inside)
		assert.Equal(t, netip.AddrPortFrom(self(first), 22), from)
		assert.Equal(t, header.TCPFlagSyn|header.TCPFlagAck, flags)
		assert.Empty(t, n.Stats(first.ID).Dropped)
		s, _ := n.locate(self(first))
		s.tracker.mu.Lock()
		defer s.tracker.mu.Unlock()
		assert.Empty(t, s.tracker.flows, "the firewall has seen nothing of it")
	})
}

func TestATapIsAHostOfItsOwn(t *testing.T) {
	n := network(t, Options{})
	boot(t, n, first)
	one := tap(t, n, TapOptions{Address: someone})
	for _, taken := range []netip.Addr{someone, first.IPv4, own6(first)} {
		_, err := n.OpenTap(TapOptions{Address: taken})
		require.ErrorContains(t, err, "somebody else's", taken)
	}
	_, err := n.OpenTap(TapOptions{})
	require.ErrorContains(t, err, "not the address of a host")
	_, err = n.Listen(netip.AddrPortFrom(someone, 80))
	require.ErrorContains(t, err, "the address of a tap")
	require.ErrorContains(t, n.HostDown(true, someone), "the address of a tap")

	require.ErrorContains(t, one.Send(knockPacket(netip.AddrPortFrom(server, 1), netip.AddrPortFrom(first.IPv4, 1))), "the packet says that it is from "+server.String())
	require.ErrorContains(t, one.Send([]byte("no packet")), "malformed")
	require.ErrorContains(t, one.Send(knockPacket(netip.AddrPortFrom(someone, 1), netip.AddrPortFrom(second.IPv4, 1))), "no route to host")

	// It reaches other hosts of the internet, and they it.
	l, err := n.Listen(netip.AddrPortFrom(server, 443))
	require.NoError(t, err)
	require.NoError(t, one.Send(knockPacket(netip.AddrPortFrom(someone, 40000), netip.AddrPortFrom(server, 443))))
	from, flags := answer(t, one)
	assert.Equal(t, netip.AddrPortFrom(server, 443), from)
	assert.Equal(t, header.TCPFlagSyn|header.TCPFlagAck, flags)
	require.NoError(t, l.Close())
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	_, err = n.Dial(ctx, "tcp", server, netip.AddrPortFrom(someone, 80))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, flags = answer(t, one)
	assert.NotZero(t, flags)

	require.NoError(t, one.Close())
	require.ErrorContains(t, one.Send(knockPacket(netip.AddrPortFrom(someone, 1), netip.AddrPortFrom(server, 1))), "network is down")
	for range one.Packets() {
		continue // what had come before; then it ends
	}
	_, err = n.Listen(netip.AddrPortFrom(someone, 80))
	require.NoError(t, err, "the address is free")
}

func TestHowOftenAMachineWasPluggedIn(t *testing.T) {
	n := network(t, Options{})
	now, times := n.Plugged(first.ID)
	assert.False(t, now)
	assert.Zero(t, times)
	for i := range 2 {
		g := boot(t, n, first)
		now, times = n.Plugged(first.ID)
		assert.True(t, now)
		assert.Equal(t, i+1, times)
		g.cut()
		require.NoError(t, <-g.ended)
		now, _ = n.Plugged(first.ID)
		assert.False(t, now)
	}
}
