package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

type hostState int

const (
	hostAbsent hostState = iota // nobody has the address
	hostUp
	hostDown // somebody has it, and does not answer
)

// locate finds who has an address: a machine, or a host of the internet.
func (n *Network) locate(a netip.Addr) (*station, hostState) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if s := n.machineAt(a); s != nil {
		return s, hostAbsent
	}
	up, ok := n.hosts[a]
	switch {
	case up:
		return nil, hostUp
	case ok:
		return nil, hostDown
	}
	return nil, hostAbsent
}

// machineAt returns the machine that has the address; n.mu is held.
func (n *Network) machineAt(a netip.Addr) *station {
	for _, s := range n.stations {
		if _, m := s.plugged(); m.has(a) {
			return s
		}
	}
	return nil
}

// fromInternet takes what the stack sends to a machine, or to another host.
func (n *Network) fromInternet(f frame) {
	from, to := ends(f.ip())
	if _, state := n.locate(from); state != hostUp {
		return
	}
	switch s, state := n.locate(to); {
	case s != nil:
		s.receive(f)
	case state == hostUp:
		n.deliver(to, f.ip())
	}
}

// ends reads the addresses of a packet that the stack made.
func ends(ip []byte) (from, to netip.Addr) {
	if header.IPVersion(ip) == header.IPv4Version {
		h := header.IPv4(ip)
		return netip.AddrFrom4(h.SourceAddress().As4()), netip.AddrFrom4(h.DestinationAddress().As4())
	}
	h := header.IPv6(ip)
	return netip.AddrFrom16(h.SourceAddress().As16()), netip.AddrFrom16(h.DestinationAddress().As16())
}

// hostAddress refuses what is not the address of a host.
func hostAddress(a netip.Addr) error {
	if !a.IsValid() || a.Is4In6() || a.Zone() != "" || !a.IsGlobalUnicast() && a != metadataAddress {
		return fmt.Errorf("%s is not the address of a host", a)
	}
	return nil
}

// settle makes the address one of the internet's.
func (n *Network) settle(a netip.Addr) error {
	if err := hostAddress(a); err != nil {
		return err
	}
	n.settling.Lock()
	defer n.settling.Unlock()
	n.mu.RLock()
	tap := n.taps[a]
	n.mu.RUnlock()
	if tap != nil {
		return fmt.Errorf("%s is the address of a tap", a)
	}
	full, protocol := address(netip.AddrPortFrom(a, 0))
	err := n.stack.AddProtocolAddress(nicID, tcpip.ProtocolAddress{Protocol: protocol, AddressWithPrefix: full.Addr.WithPrefix()}, stack.AddressProperties{})
	_, known := err.(*tcpip.ErrDuplicateAddress)

	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return net.ErrClosed
	}
	if err != nil && !known {
		return fmt.Errorf("giving the internet address %s: %s", a, err)
	}
	// No packet of the stack leaves from an address that is not among the hosts.
	if n.machineAt(a) != nil {
		return fmt.Errorf("%s is the address of a machine", a)
	}
	if _, known := n.hosts[a]; !known {
		n.hosts[a] = true
	}
	return nil
}

// HostDown takes a host off the internet, or brings it back: nothing from or to its addresses passes,
// and nobody is told, as when it has lost power. A machine is taken off by Unplug.
func (n *Network) HostDown(down bool, addrs ...netip.Addr) error {
	for _, a := range addrs {
		if err := n.settle(a); err != nil {
			return err
		}
		n.mu.Lock()
		n.hosts[a] = !down
		n.mu.Unlock()
	}
	return nil
}

// Listen accepts TCP connections at an address of the internet; port 0 picks one. Other ports of the
// address refuse connections from then on.
func (n *Network) Listen(at netip.AddrPort) (net.Listener, error) {
	if err := n.settle(at.Addr()); err != nil {
		return nil, fmt.Errorf("listening at %s: %w", at, err)
	}
	full, protocol := address(at)
	inner, err := gonet.ListenTCP(n.stack, full, protocol)
	if err != nil {
		return nil, fmt.Errorf("listening at %s: %w", at, translate(err))
	}
	// Close alone would leave Accept waiting.
	c, err := n.closer(func() error { inner.Shutdown(); return inner.Close() })
	if err != nil {
		return nil, fmt.Errorf("listening at %s: %w", at, err)
	}
	return &listener{inner: inner, addr: inner.Addr(), closer: c}, nil
}

// ListenPacket receives UDP at an address of the internet; port 0 picks one.
func (n *Network) ListenPacket(at netip.AddrPort) (net.PacketConn, error) {
	if err := n.settle(at.Addr()); err != nil {
		return nil, fmt.Errorf("receiving at %s: %w", at, err)
	}
	full, protocol := address(at)
	inner, err := gonet.DialUDP(n.stack, &full, nil, protocol)
	if err != nil {
		return nil, fmt.Errorf("receiving at %s: %w", at, translate(err))
	}
	c, err := n.closer(inner.Close)
	if err != nil {
		return nil, fmt.Errorf("receiving at %s: %w", at, err)
	}
	return &packetConn{UDPConn: inner, addr: inner.LocalAddr(), closer: c}, nil
}

// Dial connects as a host of the internet, whose address is from; network is tcp or udp. The
// machine's firewall decides: a port that it keeps shut does not answer, so ctx should have a
// deadline. Errors are those of the operating system, such as syscall.ECONNREFUSED.
func (n *Network) Dial(ctx context.Context, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Source: &net.IPAddr{IP: from.AsSlice()}, Addr: net.TCPAddrFromAddrPort(to), Err: translate(err)}
	}
	if from.Is4() != to.Addr().Is4() {
		return fail(fmt.Errorf("%s cannot reach an address of the other version of IP", from))
	}
	if err := n.settle(from); err != nil {
		return fail(err)
	}
	// Metadata is for machines, not for the internet.
	if s, state := n.locate(to.Addr()); s == nil && state == hostAbsent || to.Addr() == metadataAddress {
		return fail(syscall.EHOSTUNREACH)
	}
	local, protocol := address(netip.AddrPortFrom(from, 0))
	remote, _ := address(to)
	switch network {
	case "tcp":
		c, err := gonet.DialTCPWithBind(ctx, n.stack, local, remote, protocol)
		if err != nil {
			return fail(err)
		}
		return conn{c}, nil
	case "udp":
		inner, err := dialUDP(n.stack, local, remote, protocol)
		if err != nil {
			return fail(err)
		}
		c, err := n.closer(inner.Close)
		if err != nil {
			return fail(err)
		}
		return &packetConn{UDPConn: inner, addr: inner.LocalAddr(), closer: c}, nil
	}
	return fail(net.UnknownNetworkError(network))
}

// address is an address as the stack has it.
func address(a netip.AddrPort) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	full := tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}
	if a.Addr().Is4() {
		return full, header.IPv4ProtocolNumber
	}
	return full, header.IPv6ProtocolNumber
}

type listener struct {
	*closer
	inner *gonet.TCPListener
	addr  net.Addr
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.inner.Accept()
	if err != nil {
		if l.closer.closed.Load() {
			err = net.ErrClosed
		}
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: translate(err)}
	}
	return conn{c.(*gonet.TCPConn)}, nil
}

func (l *listener) Addr() net.Addr { return l.addr }

// conn gives a TCP connection of the stack the errors of the operating system's.
type conn struct{ *gonet.TCPConn }

func (c conn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	return n, translate(err)
}

func (c conn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	return n, translate(err)
}

// packetConn is a UDP socket of the stack.
type packetConn struct {
	*gonet.UDPConn
	addr   net.Addr
	closer *closer
}

func (c *packetConn) LocalAddr() net.Addr { return c.addr }

func (c *packetConn) Close() error { return c.closer.Close() }

func (c *packetConn) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	return n, c.error(err)
}

func (c *packetConn) Write(b []byte) (int, error) {
	n, err := c.UDPConn.Write(b)
	return n, c.error(err)
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.UDPConn.ReadFrom(b)
	return n, from, c.error(err)
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("%v is not a UDP address", to)
	}
	// The stack takes an IPv4 address of 16 bytes for one of IPv6.
	if four := udp.IP.To4(); four != nil {
		udp = &net.UDPAddr{IP: four, Port: udp.Port}
	}
	n, err := c.UDPConn.WriteTo(b, udp)
	return n, c.error(err)
}

func (c *packetConn) error(err error) error {
	if err != nil && c.closer.closed.Load() {
		return net.ErrClosed
	}
	return translate(err)
}

// errnos are the errors of the stack, which have no other identity than their text, as the operating
// system's.
var errnos = map[string]error{
	(&tcpip.ErrConnectionRefused{}).String():  syscall.ECONNREFUSED,
	(&tcpip.ErrConnectionReset{}).String():    syscall.ECONNRESET,
	(&tcpip.ErrConnectionAborted{}).String():  syscall.ECONNABORTED,
	(&tcpip.ErrHostUnreachable{}).String():    syscall.EHOSTUNREACH,
	(&tcpip.ErrNetworkUnreachable{}).String(): syscall.ENETUNREACH,
	(&tcpip.ErrTimeout{}).String():            syscall.ETIMEDOUT,
	(&tcpip.ErrPortInUse{}).String():          syscall.EADDRINUSE,
	(&tcpip.ErrClosedForSend{}).String():      syscall.EPIPE,
}

func translate(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	for text, errno := range errnos {
		if strings.HasSuffix(op.Err.Error(), text) {
			op.Err = errno
			return err
		}
	}
	if op.Timeout() {
		op.Err = os.ErrDeadlineExceeded
	}
	return err
}
