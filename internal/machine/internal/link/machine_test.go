package link

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// patience is for what must happen; silence is how long what must not happen is waited for.
const (
	patience = 20 * time.Second
	silence  = 300 * time.Millisecond
)

var (
	first = Machine{
		ID: "4711", MAC: net.HardwareAddr{0x96, 0, 0, 1, 2, 3}, IPv4: netip.MustParseAddr("116.203.10.1"), IPv6: netip.MustParsePrefix("2a01:4f8:c17:1::/64"),
		Metadata: Metadata{Hostname: "media", UserData: []byte("#cloud-config\n\x00\xff"), AvailabilityZone: "fsn1-dc14", Region: "eu-central"},
	}
	second = Machine{
		ID: "4712", MAC: net.HardwareAddr{0x96, 0, 0, 1, 2, 4}, IPv4: netip.MustParseAddr("116.203.10.2"), IPv6: netip.MustParsePrefix("2a01:4f8:c17:2::/64"),
	}
	someone    = netip.MustParseAddr("198.51.100.7")
	someone6   = netip.MustParseAddr("2001:db8:7::7")
	server     = netip.MustParseAddr("203.0.113.80")
	server6    = netip.MustParseAddr("2001:db8:80::80")
	everywhere = []string{"0.0.0.0/0", "::/0"}
)

func own6(m Machine) netip.Addr { return m.IPv6.Addr().Next() }

// guest is a little machine at the other end of the cable: a stack of its own that resolves its
// gateways by ARP and NDP, checks every checksum, and fails the test when a frame is not for it.
type guest struct {
	t     *testing.T
	self  Machine
	stack *stack.Stack
	link  *channel.Endpoint
	conn  net.Conn
	mu    sync.Mutex // one writer at a time
	ended chan error // what Attach returned
	// watch is called with every frame that it gets; nil: nobody watches.
	watch func([]byte)
}

// socketPair is two ends of a Unix socket, as QEMU's.
func socketPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	var ends [2]net.Conn
	for i, fd := range fds {
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "pair")
		ends[i], err = net.FileConn(file)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	return ends[0], ends[1]
}

func network(t testing.TB, options Options) *Network {
	t.Helper()
	n, err := New(options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Close()) })
	return n
}

// boot plugs a guest in.
func boot(t testing.TB, n *Network, m Machine) *guest {
	t.Helper()
	near, far := socketPair(t)
	g := &guest{self: m, conn: far, ended: make(chan error, 1), link: channel.New(4096, mtu, tcpip.LinkAddress(m.MAC))}
	if real, ok := t.(*testing.T); ok {
		g.t = real
	}
	g.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			arp.NewProtocol, ipv4.NewProtocol, ipv6.NewProtocolWithOptions(ipv6.Options{AutoGenLinkLocal: true}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
		HandleLocal:        true,
	})
	sack := tcpip.TCPSACKEnabled(true)
	require.Nil(t, g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack))
	require.Nil(t, g.stack.CreateNIC(nicID, ethernet.New(g.link)))
	g.addAddress(t, m.IPv4, 32)
	g.addAddress(t, own6(m), 64)
	gateway4, gateway6 := tcpip.AddrFrom4(GatewayIPv4.As4()), tcpip.AddrFrom16(GatewayIPv6.As16())
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: gateway4.WithPrefix().Subnet(), NIC: nicID},
		{Destination: tcpip.AddressWithPrefix{Address: gateway6, PrefixLen: 64}.Subnet(), NIC: nicID},
		{Destination: header.IPv4EmptySubnet, Gateway: gateway4, NIC: nicID},
		{Destination: header.IPv6EmptySubnet, Gateway: gateway6, NIC: nicID},
	})
	go func() { g.ended <- n.Attach(near, m) }()
	go g.send()
	go g.receive()
	t.Cleanup(g.cut)
	require.Eventually(t, func() bool {
		s, _ := n.locate(m.IPv4)
		if s == nil {
			return false
		}
		plugged, _ := s.plugged()
		return plugged
	}, patience, time.Millisecond)
	return g
}

func (g *guest) addAddress(t testing.TB, a netip.Addr, bits int) {
	protocol := ipv4.ProtocolNumber
	if a.Is6() {
		protocol = ipv6.ProtocolNumber
	}
	require.Nil(t, g.stack.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
		Protocol: protocol, AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(a.AsSlice()), PrefixLen: bits},
	}, stack.AddressProperties{}))
}

// cut pulls the cable, as a power cut does.
func (g *guest) cut() {
	_ = g.conn.Close()
	g.link.Close()
	g.stack.Close()
}

func (g *guest) send() {
	for {
		p := g.link.ReadContext(context.Background())
		if p == nil {
			return
		}
		var b []byte
		for _, part := range p.AsSlices() {
			b = append(b, part...)
		}
		p.DecRef()
		g.write(b)
	}
}

// write sends one frame, whatever it holds.
func (g *guest) write(b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = g.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}

func (g *guest) receive() {
	_ = readFrames(g.conn, func(b []byte) {
		eth := header.Ethernet(b)
		if g.t != nil {
			assert.Equal(g.t, tcpip.LinkAddress(gatewayMAC), eth.SourceAddress())
			assert.Equal(g.t, tcpip.LinkAddress(g.self.MAC), eth.DestinationAddress(), "a frame that is not for this machine")
			assert.LessOrEqual(g.t, len(b), mtu+header.EthernetMinimumSize)
		}
		g.mu.Lock()
		watch := g.watch
		g.mu.Unlock()
		if watch != nil {
			watch(b)
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		g.link.InjectInbound(0, p)
		p.DecRef()
	})
}

func (g *guest) from(to netip.Addr) tcpip.FullAddress {
	a := g.self.IPv4
	if to.Is6() {
		a = own6(g.self)
	}
	full, _ := address(netip.AddrPortFrom(a, 0))
	return full
}

func (g *guest) dial(to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	remote, protocol := address(to)
	c, err := gonet.DialTCPWithBind(ctx, g.stack, g.from(to.Addr()), remote, protocol)
	if err != nil {
		return nil, translate(err)
	}
	return conn{c}, nil
}

func (g *guest) dialUDP(t testing.TB, to netip.AddrPort) net.Conn {
	t.Helper()
	local := g.from(to.Addr())
	remote, protocol := address(to)
	c, err := dialUDP(g.stack, local, remote, protocol)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// listen accepts TCP connections at all of the guest's addresses, and repeats what they send.
func (g *guest) listen(t testing.TB, port uint16) {
	t.Helper()
	for _, a := range []netip.Addr{g.self.IPv4, own6(g.self)} {
		go repeatStreams(g.accept(t, netip.AddrPortFrom(a, port)))
	}
}

// accept listens at an address of the guest.
func (g *guest) accept(t testing.TB, at netip.AddrPort) net.Listener {
	t.Helper()
	local, protocol := address(at)
	l, err := gonet.ListenTCP(g.stack, local, protocol)
	require.NoError(t, err)
	t.Cleanup(func() { l.Shutdown(); _ = l.Close() })
	return l
}

// listenUDP repeats the datagrams that come to the guest's addresses.
func (g *guest) listenUDP(t testing.TB, port uint16) {
	t.Helper()
	for _, a := range []netip.Addr{g.self.IPv4, own6(g.self)} {
		local, protocol := address(netip.AddrPortFrom(a, port))
		c, err := gonet.DialUDP(g.stack, &local, nil, protocol)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		go repeatPackets(c)
	}
}

func repeatStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

func repeatPackets(c net.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		size, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(b[:size], from)
	}
}

// echoes sends text and expects it back.
func echoes(t *testing.T, c net.Conn, text string) {
	t.Helper()
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err := io.Copy(c, strings.NewReader(text))
	require.NoError(t, err)
	b := make([]byte, len(text))
	_, err = io.ReadFull(c, b)
	require.NoError(t, err)
	assert.Equal(t, text, string(b))
}

// call dials from outside, with time enough.
func call(n *Network, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.Dial(ctx, network, from, to)
}

// knock dials from outside where nobody is expected to answer: there is time for one SYN only.
func knock(n *Network, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	return n.Dial(ctx, network, from, to)
}

// ping sends one echo from the machine.
func (g *guest) ping(to netip.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	remote, _ := address(netip.AddrPortFrom(to, 0))
	return echo(ctx, g.stack, g.from(to), remote)
}
