package link

import (
	"context"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// sendIP sends a packet that the guest's own stack would not.
func (g *guest) sendIP(from tcpip.LinkAddress, ip []byte) {
	kind := header.IPv4ProtocolNumber
	if header.IPVersion(ip) == header.IPv6Version {
		kind = header.IPv6ProtocolNumber
	}
	b := make([]byte, header.EthernetMinimumSize, header.EthernetMinimumSize+len(ip))
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: from, DstAddr: tcpip.LinkAddress(gatewayMAC), Type: kind})
	g.write(append(b, ip...))
}

// datagram is a UDP packet from anybody to port 7.
func datagram(from, to netip.Addr) []byte {
	return frameUDP(netip.AddrPortFrom(from, 9999), netip.AddrPortFrom(to, 7), []byte("hello")).ip()
}

func TestAMachineSendsUnderItsOwnAddressesOnly(t *testing.T) {
	n := network(t, Options{})
	heard := make(chan string, 16)
	for _, a := range []netip.Addr{server, server6} {
		p, err := n.ListenPacket(netip.AddrPortFrom(a, 7))
		require.NoError(t, err)
		go func() {
			b := make([]byte, 64)
			for {
				_, from, err := p.ReadFrom(b)
				if err != nil {
					return
				}
				heard <- from.String()
			}
		}()
	}
	g := boot(t, n, first)
	own := tcpip.LinkAddress(first.MAC)
	container := netip.MustParseAddr("172.17.0.2")
	bad := []struct {
		why string
		mac tcpip.LinkAddress
		ip  []byte
	}{
		{"another's IPv4 address", own, datagram(second.IPv4, server)},
		{"a container's address that was not translated", own, datagram(container, server)},
		{"an address of the internet", own, datagram(someone, server)},
		{"another's IPv6 address", own, datagram(own6(second), server6)},
		{"a link-local address", own, datagram(netip.MustParseAddr("fe80::9400:ff:fe01:203"), server6)},
		{"another's hardware address", tcpip.LinkAddress(second.MAC), datagram(first.IPv4, server)},
	}
	for i, b := range bad {
		g.sendIP(b.mac, b.ip)
		require.Eventually(t, func() bool { return n.Stats(first.ID).Spoofed == uint64(i+1) }, patience, time.Millisecond, b.why)
	}
	// All of its IPv6 network is its own.
	inside := netip.MustParseAddr("2a01:4f8:c17:1:ffff::9")
	g.sendIP(own, datagram(first.IPv4, server))
	g.sendIP(own, datagram(inside, server6))
	assert.ElementsMatch(t, []string{"116.203.10.1:9999", "[2a01:4f8:c17:1:ffff::9]:9999"}, []string{<-heard, <-heard})
	assert.Empty(t, heard, "nothing of what was spoofed has arrived")
}

func TestMalformedPacketsGoNowhere(t *testing.T) {
	n := network(t, Options{})
	g := boot(t, n, first)
	own := tcpip.LinkAddress(first.MAC)
	good := datagram(first.IPv4, server)
	checksum, short, long := append([]byte(nil), good...), append([]byte(nil), good...), append([]byte(nil), good...)
	checksum[10]++
	for i, b := range [][]byte{
		checksum,
		short[:header.IPv4MinimumSize-1],
		long[:len(long)-1], // less than its header says
		frameIP(first.IPv4, server, protoTCP, 64, []byte("too short")).ip(),
		frameUDP(netip.AddrPortFrom(first.IPv4, 1), netip.AddrPortFrom(server, 7), make([]byte, mtu)).ip(), // more than the link takes
	} {
		g.sendIP(own, b)
		require.Eventually(t, func() bool { return n.Stats(first.ID).Malformed == uint64(i+1) }, patience, time.Millisecond, i)
	}
	g.write([]byte{1, 2, 3})
	require.Eventually(t, func() bool { return n.Stats(first.ID).Malformed == 6 }, patience, time.Millisecond)

	// What is no frame at all ends the connection.
	_, err := g.conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	select {
	case err := <-g.ended:
		require.ErrorContains(t, err, "this is not QEMU's stream")
	case <-time.After(patience):
		require.Fail(t, "Attach goes on")
	}
}

// errors returns the ICMP errors that the guest gets from now on.
func (g *guest) errors() <-chan packet {
	seen := make(chan packet, 16)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watch = func(b []byte) {
		if p, err := parse(append([]byte(nil), b[header.EthernetMinimumSize:]...)); err == nil && p.icmpError() {
			seen <- p
		}
	}
	return seen
}

func TestWhatNobodyServesIsUnreachable(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		require.NoError(t, n.SetFirewall(first.ID, nil))
		n.Name("listed.example.com", outside)
		g := boot(t, n, first)
		errors := g.errors()
		go func() { _, _ = g.dial(netip.AddrPortFrom(outside, 443)) }()
		g.refusal(t, errors, self(first), netip.AddrPortFrom(outside, 443), protoTCP)
		_, err := g.dialUDP(t, netip.AddrPortFrom(outside, 53)).Write(make([]byte, 1200))
		require.NoError(t, err)
		for {
			p := <-errors
			if about, ok := p.about(); ok && about.proto == protoUDP {
				assert.LessOrEqual(t, len(p.bytes), 576, "an error is short")
				break
			}
		}
		assert.Equal(t, []Destination{{"tcp", netip.AddrPortFrom(outside, 443)}, {"udp", netip.AddrPortFrom(outside, 53)}}, n.Stats(first.ID).Unserved)

		// Nor do hosts of the internet reach it.
		_, err = n.Dial(context.Background(), "tcp", source(outside), netip.AddrPortFrom(outside, 443))
		require.ErrorIs(t, err, syscall.EHOSTUNREACH)
	})
	n := network(t, Options{})
	g := boot(t, n, first)
	_, err := g.dial(netip.AddrPortFrom(server, 443))
	require.ErrorIs(t, err, syscall.EHOSTUNREACH, "the machine's programs are told at once")
	_, err = n.Dial(context.Background(), "tcp", someone, netip.MustParseAddrPort("169.254.169.254:80"))
	require.ErrorIs(t, err, syscall.EHOSTUNREACH, "metadata is for machines")
}

// refusal expects the router's error about a packet, in every field that a kernel looks at.
func (g *guest) refusal(t *testing.T, errors <-chan packet, self netip.Addr, to netip.AddrPort, proto uint8) {
	t.Helper()
	var p packet
	select {
	case p = <-errors:
	case <-time.After(patience):
		require.Fail(t, "no error has come")
	}
	assert.Equal(t, self, p.dst)
	icmp := p.data
	if self.Is4() {
		assert.Equal(t, GatewayIPv4, p.src)
		assert.Equal(t, header.ICMPv4DstUnreachable, header.ICMPv4(icmp).Type())
		assert.Equal(t, header.ICMPv4HostUnreachable, header.ICMPv4(icmp).Code())
		assert.Equal(t, header.ICMPv4Checksum(icmp, 0), header.ICMPv4(icmp).Checksum())
	} else {
		assert.Equal(t, GatewayIPv6, p.src)
		assert.Equal(t, header.ICMPv6DstUnreachable, header.ICMPv6(icmp).Type())
		assert.Equal(t, header.ICMPv6AddressUnreachable, header.ICMPv6(icmp).Code())
		assert.Equal(t, checksumICMPv6(icmp, p.src, p.dst), header.ICMPv6(icmp).Checksum())
	}
	about, ok := p.about()
	require.True(t, ok)
	assert.Equal(t, []any{self, to.Addr(), proto, to.Port()}, []any{about.src, about.dst, about.proto, about.dport})
}

func TestAHostThatIsDownIsSilent(t *testing.T) {
	both(t, func(t *testing.T, outside netip.Addr, self func(Machine) netip.Addr) {
		n := network(t, Options{})
		l, err := n.Listen(netip.AddrPortFrom(outside, 443))
		require.NoError(t, err)
		go repeatStreams(l)
		g := boot(t, n, first)
		c, err := g.dial(netip.AddrPortFrom(outside, 443))
		require.NoError(t, err)
		echoes(t, c, "before")

		require.NoError(t, n.HostDown(true, outside))
		_, err = c.Write([]byte("during"))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(silence)))
		_, err = c.Read(make([]byte, 16))
		require.ErrorContains(t, err, "timeout")
		assert.Empty(t, n.Stats(first.ID).Unserved)

		// What it sends is lost as well.
		var got atomic.Int64
		g.mu.Lock()
		g.watch = func([]byte) { got.Add(1) }
		g.mu.Unlock()
		u, err := call(n, "udp", outside, netip.AddrPortFrom(self(first), 9))
		require.NoError(t, err)
		_, err = u.Write([]byte("hello"))
		require.NoError(t, err)
		time.Sleep(silence)
		assert.Zero(t, got.Load())

		require.NoError(t, n.HostDown(false, outside))
		b := make([]byte, 6)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		_, err = c.Read(b)
		require.NoError(t, err, "the connection goes on where it was")
		assert.Equal(t, "during", string(b))
	})
}

func TestAddressesThatAreNoHosts(t *testing.T) {
	n := network(t, Options{})
	boot(t, n, first)
	for _, a := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1", "::", "::1", "fe80::1", "ff02::1", "::ffff:198.51.100.7", "2001:db8::1%eth0"} {
		_, err := n.Listen(netip.AddrPortFrom(netip.MustParseAddr(a), 80))
		assert.ErrorContains(t, err, "is not the address of a host", a)
	}
	_, err := n.ListenPacket(netip.AddrPort{})
	require.Error(t, err)
	for _, a := range []netip.Addr{first.IPv4, own6(first), netip.MustParseAddr("2a01:4f8:c17:1:8::")} {
		_, err := n.Listen(netip.AddrPortFrom(a, 80))
		assert.ErrorContains(t, err, "is the address of a machine", a)
		_, err = call(n, "tcp", a, netip.MustParseAddrPort("185.12.64.1:53"))
		assert.Error(t, err, "nobody dials as a machine")
	}
	_, err = call(n, "tcp", someone, netip.AddrPortFrom(own6(first), 80))
	require.ErrorContains(t, err, "other version")
	_, err = call(n, "sctp", someone, netip.AddrPortFrom(first.IPv4, 80))
	require.ErrorContains(t, err, "sctp")
	_, err = n.Listen(netip.AddrPortFrom(NameServers[0], 53))
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}

func TestMachinesThatCannotBe(t *testing.T) {
	n := network(t, Options{})
	_, err := n.Listen(netip.AddrPortFrom(server, 80))
	require.NoError(t, err)
	boot(t, n, first)
	for problem, change := range map[string]func(*Machine){
		"no ID":                          func(m *Machine) { m.ID = "" },
		"not the MAC address":            func(m *Machine) { m.MAC = []byte{1, 2, 3, 4, 5, 6} },
		"not an IPv4 address":            func(m *Machine) { m.IPv4 = someone6 },
		"Hetzner gives a /64":            func(m *Machine) { m.IPv6 = netip.MustParsePrefix("2001:db8::/56") },
		"no address":                     func(m *Machine) { m.IPv4, m.IPv6 = netip.Addr{}, netip.Prefix{} },
		"somebody else's on":             func(m *Machine) { m.IPv4 = server },
		"machine 4711 is plugged in":     func(m *Machine) { m.IPv4 = first.IPv4 },
		"machine 4711 is plugged in, wi": func(m *Machine) { m.IPv6 = first.IPv6 },
	} {
		m := second
		change(&m)
		near, far := socketPair(t)
		require.ErrorContains(t, n.Attach(near, m), problem)
		_, err := far.Read(make([]byte, 1))
		require.Error(t, err, "its cable is out")
	}
}
