package vpn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailscale/wireguard-go/tun"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	channels "gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"homelab/internal/machine/internal/link"
)

const (
	nicID tcpip.NICID = 1
	// mtu is what Gluetun gives its interface.
	mtu = 1320
	// queuePackets may wait for the client; more are lost.
	queuePackets = 1 << 12
	// maxOpening bounds the TCP connections that are being opened, maxUDP the pairs of addresses that
	// speak UDP: a torrent client has many.
	maxOpening = 1 << 10
	maxUDP     = 1 << 12
	// openTimeout is for opening a connection.
	openTimeout = 15 * time.Second
	// silence is how long nobody says anything until a pair is forgotten (RFC 4787, section 4.3).
	silence = 2 * time.Minute
)

// exit is the end of the tunnel: WireGuard's network interface, behind which a TCP/IP stack answers
// in the place of everybody, and connects as the exit's address with who was meant.
type exit struct {
	network Network
	from    netip.Addr
	stack   *stack.Stack
	link    *channels.Endpoint
	events  chan tun.Event
	ctx     context.Context
	stop    context.CancelFunc
	pairs   atomic.Int64 // that speak UDP
	once    sync.Once
}

func newExit(network Network, from netip.Addr) (*exit, error) {
	e := &exit{network: network, from: from, link: channels.New(queuePackets, mtu, ""), events: make(chan tun.Event, 1)}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	if err := e.configure(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.events <- tun.EventUp
	return e, nil
}

func (e *exit) configure() error {
	if err := e.stack.CreateNIC(nicID, e.link); err != nil {
		return fmt.Errorf("creating the exit's interface: %s", err)
	}
	// Every address is answered for, as the one that was meant.
	if err := e.stack.SetPromiscuousMode(nicID, true); err != nil {
		return fmt.Errorf("answering for every address: %s", err)
	}
	if err := e.stack.SetSpoofing(nicID, true); err != nil {
		return fmt.Errorf("answering as every address: %s", err)
	}
	e.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nicID}})
	streams := tcp.NewForwarder(e.stack, 0, maxOpening, func(r *tcp.ForwarderRequest) { go e.stream(r) })
	e.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, streams.HandlePacket)
	datagrams := udp.NewForwarder(e.stack, e.datagrams)
	e.stack.SetTransportProtocolHandler(udp.ProtocolNumber, datagrams.HandlePacket)
	return link.Tune(e.stack)
}

// target is who is meant.
func target(id stack.TransportEndpointID) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(id.LocalAddress.As4()), id.LocalPort)
}

// stream connects a client with a server; one that cannot be reached refuses.
func (e *exit) stream(r *tcp.ForwarderRequest) {
	ctx, cancel := context.WithTimeout(e.ctx, openTimeout)
	defer cancel()
	far, err := e.network.Dial(ctx, "tcp", e.from, target(r.ID()))
	if err != nil {
		r.Complete(true)
		return
	}
	var queue waiter.Queue
	inner, failed := r.CreateEndpoint(&queue)
	r.Complete(failed != nil)
	if failed != nil {
		_ = far.Close() // the client has gone
		return
	}
	near := gonet.NewTCPConn(&queue, inner)
	stop := context.AfterFunc(e.ctx, func() {
		_ = near.Close()
		_ = far.Close()
	})
	defer stop()
	link.Pipe(near, far)
}

// datagrams joins a client with whom it speaks UDP. Who is not there says nothing.
func (e *exit) datagrams(r *udp.ForwarderRequest) {
	if e.pairs.Add(1) > maxUDP {
		e.pairs.Add(-1)
		return
	}
	var queue waiter.Queue
	inner, failed := r.CreateEndpoint(&queue)
	if failed != nil {
		e.pairs.Add(-1)
		return
	}
	near := gonet.NewUDPConn(&queue, inner)
	go func() {
		defer e.pairs.Add(-1)
		defer near.Close() //nolint:errcheck // nobody speaks by it any more
		far, err := e.network.Dial(e.ctx, "udp", e.from, target(r.ID()))
		if err != nil {
			return
		}
		defer far.Close() //nolint:errcheck // likewise
		e.relay(near, far)
	}()
}

// relay copies datagrams both ways until nobody has said anything for a while.
func (e *exit) relay(near, far net.Conn) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	heard := make(chan struct{}, 1)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			defer cancel()
			buffer := make([]byte, 1<<16)
			for {
				n, err := way[1].Read(buffer)
				if err != nil {
					return
				}
				select {
				case heard <- struct{}{}:
				default:
				}
				if _, err := way[0].Write(buffer[:n]); err != nil {
					return
				}
			}
		})
	}
	for quiet := false; !quiet; {
		select {
		case <-heard:
		case <-ctx.Done():
			quiet = true
		case <-time.After(silence):
			quiet = true
		}
	}
	// Reading ends only when there is nothing to read from.
	_ = near.Close()
	_ = far.Close()
	both.Wait()
}

// Read implements tun.Device: what the exit sends to the client.
func (e *exit) Read(packets [][]byte, sizes []int, offset int) (int, error) {
	p := e.link.ReadContext(e.ctx)
	if p == nil {
		return 0, os.ErrClosed
	}
	defer p.DecRef()
	view := p.ToView()
	defer view.Release()
	sizes[0] = copy(packets[0][offset:], view.AsSlice())
	return 1, nil
}

// Write implements tun.Device: what the client sends. What is neither TCP nor UDP over IPv4 ends
// here: the stack would answer pings for addresses that nobody has.
func (e *exit) Write(packets [][]byte, offset int) (int, error) {
	for _, p := range packets {
		ip := header.IPv4(p[offset:])
		if header.IPVersion(ip) != header.IPv4Version || !ip.IsValid(len(ip)) || ip.TransportProtocol() != tcp.ProtocolNumber && ip.TransportProtocol() != udp.ProtocolNumber {
			continue
		}
		arrived := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(ip)})
		e.link.InjectInbound(header.IPv4ProtocolNumber, arrived)
		arrived.DecRef()
	}
	return len(packets), nil
}

// Close implements tun.Device; a second call does nothing.
func (e *exit) Close() error {
	e.once.Do(func() {
		e.stop()
		close(e.events)
		e.stack.Close()
		e.link.Close()
	})
	return nil
}

// File implements tun.Device: there is none.
func (*exit) File() *os.File { return nil }

// MTU implements tun.Device.
func (*exit) MTU() (int, error) { return mtu, nil }

// Name implements tun.Device.
func (*exit) Name() (string, error) { return "exit", nil }

// Events implements tun.Device.
func (e *exit) Events() <-chan tun.Event { return e.events }

// BatchSize implements tun.Device.
func (*exit) BatchSize() int { return 1 }
