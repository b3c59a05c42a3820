package tailnet

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"homelab/internal/machine/internal/tailnet/control"
)

// Client is a person's computer in the tailnet.
type Client struct {
	tailnet *Tailnet
	name    string
	// Addresses are the node's: IPv4, then IPv6.
	Addresses []netip.Addr
}

// Client returns the computer of the person with a login, which joins if it has not. The operator's
// is called laptop.
func (t *Tailnet) Client(ctx context.Context, login string) (*Client, error) {
	t.clients.Lock()
	defer t.clients.Unlock()
	if client := t.joined[login]; client != nil {
		return client, nil
	}
	user, err := t.user(ctx, login)
	if err != nil {
		return nil, err
	}
	// It goes unused where the node is in the tailnet already.
	key, err := t.key(ctx, user, KeyOptions{Expiry: 2 * startTimeout})
	if err != nil {
		return nil, err
	}
	client, err := t.join(ctx, t.computer(login), key.Secret)
	if err != nil {
		return nil, err
	}
	t.joined[login] = client
	return client, t.RevokeKey(ctx, key.ID)
}

var noHostName = regexp.MustCompile(`[^a-z0-9]+`)

// computer is the host name of a person's computer.
func (t *Tailnet) computer(login string) string {
	if login == t.options.Operator {
		return "laptop"
	}
	return "computer-of-" + strings.Trim(noHostName.ReplaceAllString(strings.ToLower(login), "-"), "-")
}

func (t *Tailnet) join(ctx context.Context, name, key string) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := t.process.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // the answer is all of it
	ended := context.AfterFunc(ctx, func() { _ = conn.Close() })
	reply, _, err := control.Ask(conn, control.Request{Node: name, Join: &control.Join{Key: key}, Timeout: later(ctx)})
	if !ended() {
		err = ctx.Err()
	}
	if err != nil {
		return nil, t.process.explain("joining the tailnet", err)
	}
	return &Client{tailnet: t, name: name, Addresses: reply.Addresses}, nil
}

// later is a timeout for the tailnet's process: after ours, so that it is ours that is reported.
func later(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return startTimeout
	}
	return time.Until(deadline) + time.Second
}

// dialTimeout is how long a connection may take to be made: what the policy forbids is not refused,
// but unanswered.
const dialTimeout = 30 * time.Second

// Dial connects from the operator's computer; see Client.Dial.
func (t *Tailnet) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	client, err := t.Client(ctx, t.options.Operator)
	if err != nil {
		return nil, err
	}
	return client.Dial(ctx, network, address)
}

// Dial connects to a node: by its address, its host name or its name, and a port. The network is
// tcp or udp. Without a deadline it gives up after 30 seconds.
func (c *Client) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := c.tailnet.resolve(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := c.dial(ctx, network, to)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return conn, nil
}

func (c *Client) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	socket, err := c.tailnet.process.ask(ctx)
	if err != nil {
		return nil, err
	}
	ended := context.AfterFunc(ctx, func() { _ = socket.Close() })
	_, reader, err := control.Ask(socket, control.Request{
		Node: c.name, Dial: &control.Dial{Network: network, Address: to}, Timeout: later(ctx),
	})
	if !ended() {
		err = ctx.Err()
	}
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	if network == "udp" {
		return &datagrams{stream{Conn: socket, reader: reader, to: net.UDPAddrFromAddrPort(to)}}, nil
	}
	return &stream{Conn: socket, reader: reader, to: net.TCPAddrFromAddrPort(to)}, nil
}

// resolve finds the address of a node by its name: only names of the tailnet are known.
func (t *Tailnet) resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s is no port", port)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(addr, uint16(number)), nil
	}
	nodes, err := t.Nodes(ctx)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, node := range nodes {
		if short, _, _ := strings.Cut(node.Name, "."); (host == node.Name || host == short) && len(node.Addresses) > 0 {
			return netip.AddrPortFrom(node.Addresses[0], uint16(number)), nil
		}
	}
	return netip.AddrPort{}, &net.DNSError{Err: "no such node in the tailnet", Name: host, IsNotFound: true}
}

// stream is a connection that the tailnet's process carries.
type stream struct {
	net.Conn
	reader *bufio.Reader
	to     net.Addr
}

// Read reads what the other end sent.
func (s *stream) Read(b []byte) (int, error) { return s.reader.Read(b) }

// RemoteAddr is the other end.
func (s *stream) RemoteAddr() net.Addr { return s.to }

// CloseWrite tells the other end that nothing more comes.
func (s *stream) CloseWrite() error {
	half, ok := s.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("%T cannot be closed by half", s.Conn)
	}
	return half.CloseWrite()
}

// datagrams is a stream that keeps their boundaries.
type datagrams struct{ stream }

// Read reads one datagram; what does not fit is lost.
func (d *datagrams) Read(b []byte) (int, error) {
	datagram, err := control.ReadDatagram(d.reader)
	return copy(b, datagram), err
}

// Write sends one datagram.
func (d *datagrams) Write(b []byte) (int, error) {
	if err := control.WriteDatagram(d.Conn, b); err != nil {
		return 0, err
	}
	return len(b), nil
}
