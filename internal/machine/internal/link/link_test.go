package link

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// both runs a test for both versions of IP.
func both(t *testing.T, f func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr)) {
	t.Run("IPv4", func(t *testing.T) { f(t, server, func(m Machine) netip.Addr { return m.IPv4 }) })
	t.Run("IPv6", func(t *testing.T) { f(t, server6, own6) })
}

func TestConnectionsOut(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		at := netip.AddrPortFrom(outside, 443)
		l, err := n.Listen(at)
		require.NoError(t, err)
		seen := make(chan net.Addr, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			seen <- c.RemoteAddr()
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}()
		g := boot(t, n, first)
		c, err := g.dial(at)
		require.NoError(t, err)
		b := make([]byte, 16)
		size, err := c.Read(b)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(b[:size]))
		assert.Equal(t, self(first), (<-seen).(*net.TCPAddr).AddrPort().Addr().Unmap(), "the server sees the machine's own address")
	})
}

func TestConnectionsIn(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		g := boot(t, n, first)
		g.listen(t, 22)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := n.Dial(ctx, "tcp", outside, netip.AddrPortFrom(self(first), 22))
		require.NoError(t, err)
		echoes(t, c, "is anybody there?")
		assert.Equal(t, outside, c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
		require.NoError(t, c.Close())
	})
}

// ask asks one of Hetzner's name servers from the machine.
func ask(t *testing.T, g *guest, server netip.Addr, name string, kind uint16) *dns.Msg {
	t.Helper()
	c := &dns.Conn{Conn: g.dialUDP(t, netip.AddrPortFrom(server, 53))}
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	require.NoError(t, c.WriteMsg(q))
	m, err := c.ReadMsg()
	require.NoError(t, err)
	require.Equal(t, q.Id, m.Id)
	return m
}

func TestNamesAreResolved(t *testing.T) {
	n := network(t, Options{})
	n.Name("www.Example.com", server, server6)
	g := boot(t, n, first)
	for _, s := range append(slices.Clone(NameServers), OpenResolver) {
		m := ask(t, g, s, "WWW.example.com", dns.TypeA)
		require.Len(t, m.Answer, 1, s)
		assert.Equal(t, server.String(), m.Answer[0].(*dns.A).A.String())
		m = ask(t, g, s, "www.example.com", dns.TypeAAAA)
		require.Len(t, m.Answer, 1, s)
		assert.Equal(t, server6.String(), m.Answer[0].(*dns.AAAA).AAAA.String())
	}
	m := ask(t, g, NameServers[0], "nobody.example.com", dns.TypeA)
	assert.Equal(t, dns.RcodeNameError, m.Rcode)
	assert.Len(t, m.Ns, 1, "an SOA, or the answer is not kept")
	assert.Equal(t, []string{"nobody.example.com"}, n.UnknownNames())
	for _, exists := range []string{"www.example.com", "example.com"} {
		m = ask(t, g, NameServers[0], exists, dns.TypeMX)
		assert.Equal(t, dns.RcodeSuccess, m.Rcode, exists)
		assert.Empty(t, m.Answer)
	}
	n.Name("www.example.com")
	assert.Equal(t, dns.RcodeNameError, ask(t, g, NameServers[0], "www.example.com", dns.TypeA).Rcode)
}

func TestAMachineThatIsPluggedInAgainKeepsItsAddresses(t *testing.T) {
	n := network(t, Options{})
	require.NoError(t, n.SetFirewall(first.ID, []Rule{rule(t, "tcp", "22", everywhere...)}))
	for range 2 {
		g := boot(t, n, first)
		g.listen(t, 22)
		g.listen(t, 80)
		c, err := call(n, "tcp", someone, netip.AddrPortFrom(first.IPv4, 22))
		require.NoError(t, err)
		echoes(t, c, "up")
		_, err = knock(n, "tcp", someone, netip.AddrPortFrom(first.IPv4, 80))
		require.ErrorIs(t, err, context.DeadlineExceeded)

		near, _ := socketPair(t)
		require.ErrorContains(t, n.Attach(near, first), "is plugged in")
		g.cut()
		select {
		case err := <-g.ended:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "Attach has not returned")
		}
		_, err = knock(n, "tcp", someone, netip.AddrPortFrom(first.IPv4, 22))
		require.ErrorIs(t, err, context.DeadlineExceeded, "an unplugged machine does not answer")
		_, err = n.Listen(netip.AddrPortFrom(first.IPv4, 22))
		require.ErrorContains(t, err, "is the address of a machine")
	}
	assert.Contains(t, n.Stats(first.ID).Dropped, Drop{Protocol: "tcp", Port: 80, Packets: 2})
}

func rule(t *testing.T, protocol, port string, sources ...string) Rule {
	t.Helper()
	r, err := ParseRule(protocol, port, sources)
	require.NoError(t, err)
	return r
}
