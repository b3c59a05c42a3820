// Package link is the network outside the rehearsal's machines, in user space: Hetzner's router and
// firewall, and an internet with its names, clocks and servers. It needs no rights, and reaches
// nothing real unless Options.Outbound says so.
//
// Machines are plugged in by Attach, which speaks the frames of QEMU's `-netdev stream`. Everything
// else has an address on one TCP/IP stack (gVisor's), on which Listen and Dial are servers and
// clients anywhere on the internet. Between the two is the switch of this package: it lets a machine
// send under its own addresses only, and lets in what the machine's firewall allows.
package link

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// mtu is that of Hetzner's public interfaces, in bytes.
const mtu = 1500

// Gateways of every machine, as at Hetzner: its IPv4 address is a /32 and the gateway is on the link;
// its IPv6 addresses are a /64 that is routed to it.
var (
	GatewayIPv4 = netip.MustParseAddr("172.31.1.1")
	GatewayIPv6 = netip.MustParseAddr("fe80::1")
)

// gatewayMAC is a locally administered address.
var gatewayMAC = net.HardwareAddr{0xd2, 0x74, 0x7f, 0x6e, 0x37, 0xe3}

// Options are what a Network is made with. The zero value is a network that reaches nothing real.
type Options struct {
	// Outbound lets machines reach some names of the real internet. Nil: none, and packets to an
	// address that nobody on the network has are answered with "host unreachable".
	Outbound *Outbound
}

// Network is the world outside the machines. All methods may be called at the same time.
type Network struct {
	outbound *outbound
	stack    *stack.Stack
	nic      *nic
	names    *names
	queue    int // frames that may wait for each machine
	// newcomers are told of what machines send.
	newcomers atomic.Pointer[func(to netip.AddrPort, datagram []byte)]

	// settling is held while an address is given to the stack.
	settling sync.Mutex

	mu       sync.RWMutex
	hosts    map[netip.Addr]bool // addresses of the internet; false while the host is down
	taps     map[netip.Addr]*Tap // those of them that are not on the stack
	stations map[string]*station // by machine ID; kept when it is unplugged
	closers  map[*closer]bool
	closed   bool
	workers  sync.WaitGroup
}

// New starts a network with the servers that Hetzner's machines expect: DNS, NTP, metadata. Close
// ends it.
func New(options Options) (*Network, error) {
	n := &Network{names: newNames(), queue: queueFrames, hosts: map[netip.Addr]bool{}, taps: map[netip.Addr]*Tap{}, stations: map[string]*station{}, closers: map[*closer]bool{}}
	n.nic = &nic{network: n}
	n.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := n.configure(); err != nil {
		n.stack.Destroy()
		return nil, err
	}
	if options.Outbound != nil {
		if err := n.openOutbound(*options.Outbound); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	if err := errors.Join(n.serveNames(), n.serveTime(), n.serveMetadata()); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Network) configure() error {
	if err := n.stack.CreateNIC(nicID, n.nic); err != nil {
		return fmt.Errorf("creating the interface: %s", err)
	}
	n.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nicID},
		{Destination: header.IPv6EmptySubnet, NIC: nicID},
	})
	return Tune(n.stack)
}

// Tune sets how a stack of the rehearsal speaks TCP.
func Tune(s *stack.Stack) error {
	sack := tcpip.TCPSACKEnabled(true)
	// With RACK, connections that lose packets are several times slower:
	// https://github.com/google/gvisor/issues/9778
	recovery := tcpip.TCPRecovery(0)
	// In this version of the stack cubic's congestion window can become 0, and the connection stands
	// still for ever: https://github.com/google/gvisor/issues/6113
	congestion := tcpip.CongestionControlOption("reno")
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: 1 << 20, Max: 4 << 20}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: sendBufferBytes, Max: sendBufferBytes}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &recovery, &congestion, &moderate, &receive, &send} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("setting %T: %s", option, err)
		}
	}
	return nil
}

// Close unplugs every machine, closes what listens and ends the network.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	closers := slices.Collect(maps.Keys(n.closers))
	for _, s := range n.stations {
		s.unplug()
	}
	n.mu.Unlock()
	var all []error
	for _, c := range closers {
		all = append(all, c.Close())
	}
	n.stack.Close()
	n.workers.Wait()
	n.stack.Wait()
	return errors.Join(all...)
}

// work runs f until it ends; Close waits for it. It is not run when the network is closed already.
func (n *Network) work(f func()) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return false
	}
	n.workers.Go(f)
	return true
}

// closer is something that the network closes when it ends, if nobody does before.
type closer struct {
	network *Network
	once    sync.Once
	closed  atomic.Bool
	close   func() error
}

// closer registers what Close closes; what comes too late is closed at once.
func (n *Network) closer(f func() error) (*closer, error) {
	c := &closer{network: n, close: f}
	n.mu.Lock()
	closed := n.closed
	if !closed {
		n.closers[c] = true
	}
	n.mu.Unlock()
	if closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	return c, nil
}

// Close implements io.Closer; a second call does nothing.
func (c *closer) Close() error {
	var err error
	c.once.Do(func() {
		c.network.mu.Lock()
		delete(c.network.closers, c)
		c.network.mu.Unlock()
		c.closed.Store(true)
		err = c.close()
	})
	return err
}
