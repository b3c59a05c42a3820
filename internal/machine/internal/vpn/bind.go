package vpn

import (
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/tailscale/wireguard-go/conn"
)

// waiting is how many datagrams may wait for the server; more are lost, as on a real one.
const waiting = 1 << 10

// bind gives WireGuard the datagrams of all addresses, and sends from the one that a client knows.
type bind struct {
	in chan received

	mu   sync.Mutex
	open chan struct{} // closed when WireGuard listens no more; nil until it listens
}

// received is a datagram.
type received struct {
	bytes []byte
	from  *endpoint
}

func newBind() *bind { return &bind{in: make(chan received, waiting)} }

// receive takes what comes to one address until it is closed.
func (b *bind) receive(c net.PacketConn) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		udp, ok := from.(*net.UDPAddr)
		if err != nil || !ok {
			continue // an answer that did not arrive, for which WireGuard has its own patience
		}
		at := udp.AddrPort()
		select {
		case b.in <- received{append([]byte(nil), buffer[:n]...), &endpoint{c, netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}}:
		default:
		}
	}
}

// Open implements conn.Bind. The ports are those of the addresses.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	open := make(chan struct{})
	b.open = open
	return []conn.ReceiveFunc{func(packets [][]byte, sizes []int, from []conn.Endpoint) (int, error) {
		select {
		case <-open:
			return 0, net.ErrClosed
		case d := <-b.in:
			sizes[0], from[0] = copy(packets[0], d.bytes), d.from
			return 1, nil
		}
	}}, port, nil
}

// Close implements conn.Bind.
func (b *bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open != nil {
		close(b.open)
		b.open = nil
	}
	return nil
}

// SetMark implements conn.Bind: there is no kernel to tell packets apart.
func (*bind) SetMark(uint32) error { return nil }

// Send implements conn.Bind.
func (*bind) Send(packets [][]byte, to conn.Endpoint, offset int) error {
	client, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	for _, p := range packets {
		if _, err := client.conn.WriteTo(p[offset:], net.UDPAddrFromAddrPort(client.remote)); err != nil {
			return err
		}
	}
	return nil
}

// ParseEndpoint implements conn.Bind.
func (*bind) ParseEndpoint(string) (conn.Endpoint, error) {
	return nil, errors.New("a server does not begin, so it is told of no client's address")
}

// BatchSize implements conn.Bind.
func (*bind) BatchSize() int { return 1 }

// endpoint is a client, and the server's address by which it knows it.
type endpoint struct {
	conn   net.PacketConn
	remote netip.AddrPort
}

// ClearSrc implements conn.Endpoint: a client that hears from another address would not know who it
// is.
func (*endpoint) ClearSrc() {}

// SrcToString implements conn.Endpoint.
func (e *endpoint) SrcToString() string { return e.conn.LocalAddr().String() }

// DstToString implements conn.Endpoint.
func (e *endpoint) DstToString() string { return e.remote.String() }

// DstToBytes implements conn.Endpoint.
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.remote.MarshalBinary() // never fails
	return b
}

// DstIP implements conn.Endpoint.
func (e *endpoint) DstIP() netip.Addr { return e.remote.Addr() }

// SrcIP implements conn.Endpoint.
func (e *endpoint) SrcIP() netip.Addr { return netip.MustParseAddrPort(e.SrcToString()).Addr() }
