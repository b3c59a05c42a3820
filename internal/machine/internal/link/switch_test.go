package link

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

func TestTwoMachinesMeetThroughTheirFirewalls(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		only := netip.PrefixFrom(self(first), self(first).BitLen()).String()
		require.NoError(t, n.SetFirewall(first.ID, nil))
		require.NoError(t, n.SetFirewall(second.ID, []Rule{rule(t, "tcp", "22", only)}))
		a, b := boot(t, n, first), boot(t, n, second)
		a.listen(t, 22)
		b.listen(t, 22)
		b.listen(t, 80)
		c, err := a.dial(netip.AddrPortFrom(self(second), 22))
		require.NoError(t, err)
		echoes(t, c, "from one to the other")
		for _, shut := range []struct {
			from *guest
			to   netip.AddrPort
		}{{a, netip.AddrPortFrom(self(second), 80)}, {b, netip.AddrPortFrom(self(first), 22)}} {
			remote, protocol := address(shut.to)
			ctx, cancel := context.WithTimeout(context.Background(), silence)
			_, err := gonet.DialTCPWithBind(ctx, shut.from.stack, shut.from.from(shut.to.Addr()), remote, protocol)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		_, err = knock(n, "tcp", outside, netip.AddrPortFrom(self(second), 22))
		require.ErrorIs(t, err, context.DeadlineExceeded, "the rule is for the other machine only")
	})
}

func TestHostsOfTheInternetReachEachOther(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, _ func(Machine) netip.Addr) {
		n := network(t, Options{})
		l, err := n.Listen(netip.AddrPortFrom(outside, 443))
		require.NoError(t, err)
		p, err := n.ListenPacket(netip.AddrPortFrom(outside, 443))
		require.NoError(t, err)
		go repeatPackets(p)
		from := source(outside)
		var all sync.WaitGroup
		for range 4 {
			c, err := n.Dial(t.Context(), "tcp", from, netip.AddrPortFrom(outside, 443))
			require.NoError(t, err)
			other, err := l.Accept()
			require.NoError(t, err)
			all.Go(func() { transfer(t, c, other, 4<<20) })
		}
		all.Wait()
		u, err := n.Dial(t.Context(), "udp", from, netip.AddrPortFrom(outside, 443))
		require.NoError(t, err)
		again(t, u, 5000)
		require.NoError(t, pong(n, from, outside))
		_, err = n.Dial(t.Context(), "tcp", from, netip.AddrPortFrom(outside, 444))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}

func TestAServerThatReplacesAnotherTakesItsAddresses(t *testing.T) {
	n := network(t, Options{})
	require.NoError(t, n.SetFirewall(first.ID, nil))
	next := first
	next.ID, next.MAC = "4713", net.HardwareAddr{0x96, 0, 0, 1, 2, 9}
	old := boot(t, n, first)
	near, _ := socketPair(t)
	require.ErrorContains(t, n.Attach(near, next), "machine 4711 is plugged in")
	assert.True(t, n.Unplug(first.ID))
	require.NoError(t, <-old.ended)
	assert.False(t, n.Unplug(first.ID))
	assert.False(t, n.Unplug("nobody"))

	g := boot(t, n, next)
	g.listen(t, 22)
	c, err := call(n, "tcp", someone, netip.AddrPortFrom(first.IPv4, 22))
	require.NoError(t, err, "the firewall of the old server is not the new one's")
	echoes(t, c, "new")
	near, _ = socketPair(t)
	require.ErrorContains(t, n.Attach(near, first), "machine 4713 is plugged in")

	n.Forget(next.ID)
	require.NoError(t, <-g.ended)
	assert.Empty(t, n.Stats(next.ID))
	_, err = n.Listen(netip.AddrPortFrom(first.IPv4, 80))
	require.NoError(t, err, "a deleted server's address is free")
}

// transfer sends random bytes from one end to the other, and expects the same there. Both ways at
// once, through somebody who repeats them, would be more than two stacks of this version can do: their
// windows close for ever (https://github.com/google/gvisor/issues/10312). Linux's do not.
func transfer(t *testing.T, from, to net.Conn, size int) {
	data := make([]byte, size)
	_, err := rand.Read(data)
	require.NoError(t, err)
	for _, c := range []net.Conn{from, to} {
		require.NoError(t, c.SetDeadline(time.Now().Add(3*patience)))
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		_, err := from.Write(data)
		assert.NoError(t, err)
		assert.NoError(t, from.(interface{ CloseWrite() error }).CloseWrite())
	})
	received, err := io.ReadAll(to)
	assert.NoError(t, err)
	sending.Wait()
	assert.True(t, bytes.Equal(data, received), "what arrives is what was sent")
}

func TestLargeTransfers(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		g := boot(t, n, first)
		inside := g.accept(t, netip.AddrPortFrom(self(first), 22))
		l, err := n.Listen(netip.AddrPortFrom(outside, 443))
		require.NoError(t, err)
		const size = 16 << 20
		var all sync.WaitGroup
		for range 2 {
			client, err := g.dial(netip.AddrPortFrom(outside, 443))
			require.NoError(t, err)
			server, err := l.Accept()
			require.NoError(t, err)
			all.Go(func() { transfer(t, client, server, size) })

			visitor, err := call(n, "tcp", outside, netip.AddrPortFrom(self(first), 22))
			require.NoError(t, err)
			host, err := inside.Accept()
			require.NoError(t, err)
			all.Go(func() { transfer(t, visitor, host, size) })
		}
		all.Wait()
		assert.Zero(t, n.Stats(first.ID).Malformed)
	})
}

func TestTransfersSurviveLoss(t *testing.T) {
	n := network(t, Options{})
	n.queue = 64
	g := boot(t, n, first)
	l, err := n.Listen(netip.AddrPortFrom(server, 443))
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 8 {
		near, err := g.dial(netip.AddrPortFrom(server, 443))
		require.NoError(t, err)
		far, err := l.Accept()
		require.NoError(t, err)
		all.Go(func() { transfer(t, far, near, 4<<20) })
	}
	all.Wait()
	assert.NotZero(t, n.Stats(first.ID).Overflow, "nothing was lost: this shows nothing")
}

// again sends a datagram and expects it back.
func again(t *testing.T, c net.Conn, size int) {
	t.Helper()
	data, back := make([]byte, size), make([]byte, 1<<16)
	_, err := rand.Read(data)
	require.NoError(t, err)
	_, err = c.Write(data)
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	got, err := c.Read(back)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, back[:got]))
}

func TestDatagramsThatDoNotFitComeInFragments(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		require.NoError(t, n.SetFirewall(first.ID, []Rule{rule(t, "udp", "7", everywhere...)}))
		p, err := n.ListenPacket(netip.AddrPortFrom(outside, 7))
		require.NoError(t, err)
		go repeatPackets(p)
		g := boot(t, n, first)
		g.listenUDP(t, 7)
		g.listenUDP(t, 8)
		again(t, g.dialUDP(t, netip.AddrPortFrom(outside, 7)), 5000)
		in, err := call(n, "udp", outside, netip.AddrPortFrom(self(first), 7))
		require.NoError(t, err)
		again(t, in, 5000)
		assert.Empty(t, n.Stats(first.ID).Dropped)

		shut, err := call(n, "udp", outside, netip.AddrPortFrom(self(first), 8))
		require.NoError(t, err)
		_, err = shut.Write(make([]byte, 5000))
		require.NoError(t, err)
		require.NoError(t, shut.SetDeadline(time.Now().Add(silence)))
		_, err = shut.Read(make([]byte, 5000))
		require.ErrorContains(t, err, "timeout")
		assert.Equal(t, []Drop{{"udp", 0, 3}, {"udp", 8, 1}}, n.Stats(first.ID).Dropped, "no fragment has passed")
	})
}

func TestAMachineThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	n := network(t, Options{})
	near, far := socketPair(t)
	defer func() { _ = far.Close() }()
	ended := make(chan error, 1)
	go func() { ended <- n.Attach(near, second) }()
	g := boot(t, n, first)
	g.listen(t, 22)
	u, err := n.Dial(context.Background(), "udp", someone, netip.AddrPortFrom(second.IPv4, 9))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for range 1000 {
			_, _ = u.Write(make([]byte, 1000))
		}
		return n.Stats(second.ID).Overflow > 0
	}, patience, time.Millisecond)
	c, err := call(n, "tcp", someone, netip.AddrPortFrom(first.IPv4, 22))
	require.NoError(t, err)
	echoes(t, c, "the others go on")
	assert.True(t, n.Unplug(second.ID))
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "Attach has not returned")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	n, err := New(Options{})
	require.NoError(t, err)
	l, err := n.Listen(netip.AddrPortFrom(server, 443))
	require.NoError(t, err)
	p, err := n.ListenPacket(netip.AddrPortFrom(server, 443))
	require.NoError(t, err)
	near, far := socketPair(t)
	results := make(chan error, 4)
	go func() { results <- n.Attach(near, first) }()
	go func() { _, err := l.Accept(); results <- err }()
	go func() { _, _, err := p.ReadFrom(make([]byte, 1)); results <- err }()
	u, err := n.Dial(context.Background(), "udp", someone, netip.AddrPortFrom(server, 443))
	require.NoError(t, err)
	go func() { _, err := u.Read(make([]byte, 1)); results <- err }()
	require.Eventually(t, func() bool { s, _ := n.locate(first.IPv4); return s != nil }, patience, time.Millisecond)

	require.NoError(t, n.Close())
	require.NoError(t, n.Close())
	for range 4 {
		select {
		case err := <-results:
			assert.True(t, err == nil || errors.Is(err, net.ErrClosed), err)
		case <-time.After(patience):
			require.Fail(t, "somebody still waits")
		}
	}
	require.NoError(t, far.Close())
	_, err = n.Listen(netip.AddrPortFrom(server, 80))
	require.ErrorIs(t, err, net.ErrClosed)
	near, _ = socketPair(t)
	require.ErrorIs(t, n.Attach(near, first), net.ErrClosed)
	for end := time.Now().Add(patience); runtime.NumGoroutine() > before && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if !assert.LessOrEqual(t, runtime.NumGoroutine(), before, "something still runs") {
		stacks := make([]byte, 1<<16)
		t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
	}
}

// BenchmarkDownload and its likes are read as a ratio: what the network carries, to a plain Unix
// socket. Most of the time is the guest's own stack's.
func BenchmarkDownload(b *testing.B) {
	n := network(b, Options{})
	g := boot(b, n, first)
	l, err := n.Listen(netip.AddrPortFrom(server, 443))
	require.NoError(b, err)
	go pour(l.Accept)
	c, err := g.dial(netip.AddrPortFrom(server, 443))
	require.NoError(b, err)
	drain(b, c)
	b.ReportMetric(float64(n.Stats(first.ID).Overflow), "lost")
}

func BenchmarkUpload(b *testing.B) {
	n := network(b, Options{})
	g := boot(b, n, first)
	l, err := n.Listen(netip.AddrPortFrom(server, 443))
	require.NoError(b, err)
	go pour(func() (net.Conn, error) { return g.dial(netip.AddrPortFrom(server, 443)) })
	c, err := l.Accept()
	require.NoError(b, err)
	drain(b, c)
}

func BenchmarkUnixSocket(b *testing.B) {
	near, far := socketPair(b)
	go pour(func() (net.Conn, error) { return near, nil })
	drain(b, far)
}

const chunk = 1 << 20

func pour(from func() (net.Conn, error)) {
	c, err := from()
	if err != nil {
		return
	}
	for data := make([]byte, chunk); err == nil; {
		_, err = c.Write(data)
	}
}

func drain(b *testing.B, c net.Conn) {
	b.SetBytes(chunk)
	data := make([]byte, chunk)
	for b.Loop() {
		_, err := io.ReadFull(c, data)
		require.NoError(b, err)
	}
	_ = c.Close()
}
