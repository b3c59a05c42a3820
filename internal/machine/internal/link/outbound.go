package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Outbound is a way to some names of the real internet, for TCP. A machine reaches the addresses that
// a name was resolved to, and no others: never one that is private, so that no name leads into the
// network of whoever rehearses.
type Outbound struct {
	// Allowed decides which names may be reached; they are lower case and without a dot at the end.
	// A name that the network has itself is not asked for.
	Allowed func(host string) bool
	// Lookup resolves a name; network is ip4 or ip6. (*net.Resolver).LookupNetIP is one.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// Dial connects to an address that was resolved; network is tcp. (*net.Dialer).DialContext is
	// one.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	// maxOutbound bounds the addresses that were resolved; more are not given out.
	maxOutbound = 1 << 12
	// maxOpening bounds the connections that are being opened; more are ignored.
	maxOpening = 1 << 10
	// outboundTimeout is for opening one.
	outboundTimeout = 15 * time.Second
)

type outbound struct {
	Outbound
	network *Network
	ctx     context.Context

	mu    sync.Mutex
	known map[netip.Addr]bool
}

// openOutbound makes the stack accept connections to addresses that were resolved.
func (n *Network) openOutbound(o Outbound) error {
	if o.Allowed == nil || o.Lookup == nil || o.Dial == nil {
		return errors.New("outbound: Allowed, Lookup and Dial are all required")
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := n.closer(func() error { cancel(); return nil }); err != nil {
		return err
	}
	out := &outbound{Outbound: o, network: n, ctx: ctx, known: map[netip.Addr]bool{}}
	forwarder := tcp.NewForwarder(n.stack, 0, maxOpening, func(r *tcp.ForwarderRequest) {
		if !n.work(func() { out.forward(r) }) {
			r.Complete(false)
		}
	})
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, func(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
		a, ok := netip.AddrFromSlice(id.LocalAddress.AsSlice())
		return ok && out.has(a) && forwarder.HandlePacket(id, p)
	})
	n.outbound = out
	return nil
}

func (o *outbound) has(a netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known[a]
}

func (o *outbound) allows(name string) bool {
	return o != nil && o.Allowed(strings.TrimSuffix(name, "."))
}

// lookup resolves a name and lets its addresses be reached.
func (o *outbound) lookup(ctx context.Context, name string, four bool) ([]netip.Addr, error) {
	network := "ip6"
	if four {
		network = "ip4"
	}
	addrs, err := o.Lookup(ctx, network, strings.TrimSuffix(name, "."))
	var missing *net.DNSError
	if errors.As(err, &missing) && missing.IsNotFound {
		// Perhaps it has addresses of the other version only: the resolver does not say.
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", name, err)
	}
	var out []netip.Addr
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		if a.Is4() == four && a.IsGlobalUnicast() && !a.IsPrivate() && o.reserve(a) {
			out = append(out, a)
		}
	}
	return out, nil
}

func (o *outbound) reserve(a netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known[a] {
		return true
	}
	// An address that a machine or a host of the network has leads there.
	if s, state := o.network.locate(a); s != nil || state != hostAbsent {
		return true
	}
	if len(o.known) >= maxOutbound || o.network.settle(a) != nil {
		return false
	}
	o.known[a] = true
	return true
}

// forward connects a machine with the real internet.
func (o *outbound) forward(r *tcp.ForwarderRequest) {
	to := r.ID()
	a, _ := netip.AddrFromSlice(to.LocalAddress.AsSlice())
	ctx, cancel := context.WithTimeout(o.ctx, outboundTimeout)
	defer cancel()
	far, err := o.Dial(ctx, "tcp", netip.AddrPortFrom(a, to.LocalPort).String())
	if err != nil {
		r.Complete(true)
		return
	}
	var queue waiter.Queue
	endpoint, failed := r.CreateEndpoint(&queue)
	r.Complete(failed != nil)
	if failed != nil {
		_ = far.Close() // the machine has gone
		return
	}
	near := gonet.NewTCPConn(&queue, endpoint)
	stop := context.AfterFunc(o.ctx, func() {
		_ = near.Close()
		_ = far.Close()
	})
	defer stop()
	Pipe(near, far)
}

// Pipe copies both ways until both are at their end, and closes both.
func Pipe(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			// Whatever ended it, the other side sees the end too.
			_, _ = io.Copy(way[0], way[1])
			if half, ok := way[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			} else {
				_ = way[0].Close()
			}
		})
	}
	both.Wait()
	_ = a.Close()
	_ = b.Close()
}
