package link

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// realInternet stands in for it: what its names are resolved to, and one server that repeats.
func realInternet(t *testing.T) (Options, *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go repeatStreams(l)
	dialled := new(atomic.Int64)
	names := map[string][]netip.Addr{
		"ok.example.org":    {server, server6, netip.MustParseAddr("::ffff:198.51.100.99")},
		"inner.example.org": {netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fd00::1")},
	}
	return Options{Outbound: &Outbound{
		Allowed: func(host string) bool { return host != "forbidden.example.org" },
		Lookup: func(_ context.Context, network, host string) ([]netip.Addr, error) {
			addrs, ok := names[host]
			if !ok {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: host != "broken.example.org"}
			}
			return addrs, nil
		},
		Dial: func(ctx context.Context, network, to string) (net.Conn, error) {
			dialled.Add(1)
			if network != "tcp" || to != "203.0.113.80:443" {
				return nil, syscall.ECONNREFUSED
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", l.Addr().String())
		},
	}}, dialled
}

func TestNamesOfTheRealInternet(t *testing.T) {
	options, dialled := realInternet(t)
	n := network(t, options)
	require.NoError(t, n.SetFirewall(first.ID, nil))
	n.Name("ours.example.org", someone)
	g := boot(t, n, first)

	_, err := g.dial(netip.AddrPortFrom(server, 443))
	require.ErrorIs(t, err, syscall.EHOSTUNREACH, "nobody has asked for its name yet")
	assert.Len(t, ask(t, g, NameServers[0], "ok.example.org", dns.TypeA).Answer, 2)
	assert.Len(t, ask(t, g, NameServers[0], "ok.example.org", dns.TypeAAAA).Answer, 1)
	c, err := g.dial(netip.AddrPortFrom(server, 443))
	require.NoError(t, err)
	echoes(t, c, "out and back")
	require.NoError(t, c.(conn).CloseWrite())
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the end passes too")
	_, err = g.dial(netip.AddrPortFrom(server6, 443))
	require.ErrorContains(t, err, "refused")
	assert.Equal(t, int64(2), dialled.Load())

	for name, want := range map[string]int{
		"forbidden.example.org": dns.RcodeNameError, "inner.example.org": dns.RcodeSuccess, "none.example.org": dns.RcodeSuccess, "broken.example.org": dns.RcodeServerFailure,
	} {
		m := ask(t, g, NameServers[0], name, dns.TypeA)
		assert.Equal(t, want, m.Rcode, name)
		assert.Empty(t, m.Answer, name)
	}
	assert.Empty(t, ask(t, g, NameServers[0], "inner.example.org", dns.TypeAAAA).Answer)
	for _, a := range []string{"192.168.1.1:80", "203.0.113.81:443"} {
		_, err = g.dial(netip.MustParseAddrPort(a))
		require.ErrorIs(t, err, syscall.EHOSTUNREACH, a)
	}
	m := ask(t, g, NameServers[0], "ours.example.org", dns.TypeA)
	require.Len(t, m.Answer, 1)
	assert.Equal(t, someone.String(), m.Answer[0].(*dns.A).A.String())
	assert.Equal(t, int64(2), dialled.Load(), "nothing else has left")
}

func TestWithoutOutboundNothingLeaves(t *testing.T) {
	_, err := New(Options{Outbound: &Outbound{}})
	require.ErrorContains(t, err, "all required")
	n := network(t, Options{})
	g := boot(t, n, first)
	assert.Equal(t, dns.RcodeNameError, ask(t, g, NameServers[0], "ok.example.org", dns.TypeA).Rcode)
}

func TestCloseEndsConnectionsToTheRealInternet(t *testing.T) {
	options, _ := realInternet(t)
	n := network(t, options)
	g := boot(t, n, first)
	ask(t, g, NameServers[0], "ok.example.org", dns.TypeA)
	c, err := g.dial(netip.AddrPortFrom(server, 443))
	require.NoError(t, err)
	echoes(t, c, "before")
	done := make(chan error, 1)
	go func() { done <- n.Close() }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "Close waits for a connection")
	}
}
