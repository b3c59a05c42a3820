package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"tailscale.com/net/packet"
	"tailscale.com/tsnet"
	"tailscale.com/wgengine/filter"
	"tailscale.com/wgengine/netstack"
)

// nodes are the people's computers in the tailnet.
type nodes struct {
	settings Settings
	listener net.Listener

	mu     sync.Mutex
	joined map[string]*tsnet.Server
}

// serveNodes answers requests at the socket until close.
func serveNodes(settings Settings) (*nodes, error) {
	listener, err := net.Listen("unix", settings.Socket)
	if err != nil {
		return nil, err
	}
	n := &nodes{settings: settings, listener: listener, joined: map[string]*tsnet.Server{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go n.serve(conn)
		}
	}()
	return n, os.Chmod(settings.Socket, 0o600)
}

func (n *nodes) close() {
	_ = n.listener.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, server := range n.joined {
		_ = server.Close()
	}
	clear(n.joined)
}

// serve answers the one request of a connection.
func (n *nodes) serve(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // nobody waits for it
	reader := bufio.NewReader(conn)
	var request Request
	if err := readLine(reader, &request); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), request.Timeout)
	defer cancel()
	var reply Reply
	var other net.Conn
	var err error
	switch {
	case request.Join != nil:
		reply.Addresses, err = n.join(ctx, request.Node, request.Join.Key)
	case request.Dial != nil:
		other, err = n.dial(ctx, request.Node, *request.Dial)
	default:
		err = errors.New("nothing is asked for")
	}
	if err != nil {
		reply.Error = err.Error()
	}
	line, err := json.Marshal(reply)
	if err != nil {
		return
	}
	if _, err := conn.Write(append(line, '\n')); err != nil || other == nil {
		return
	}
	if request.Dial.Network == "udp" {
		carryDatagrams(conn, reader, other)
		return
	}
	carry(conn, reader, other)
}

// join returns the addresses of a node, which joins if it has not.
func (n *nodes) join(ctx context.Context, name, key string) ([]netip.Addr, error) {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("%q is no name of a node", name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	server := n.joined[name]
	if server == nil {
		server = &tsnet.Server{
			Dir: filepath.Join(n.settings.Nodes, name), Hostname: name, AuthKey: key, ControlURL: n.settings.ControlURL,
			UserLogf: log.New(os.Stderr, name+": ", log.LstdFlags).Printf,
		}
		if _, err := server.Up(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("%s does not join the tailnet: %w", name, err), server.Close())
		}
		n.joined[name] = server
	}
	v4, v6 := server.TailscaleIPs()
	return []netip.Addr{v4, v6}, nil
}

// dial connects through the node's own network stack: what is not in the tailnet is not reached,
// rather than looked for in this computer's network.
func (n *nodes) dial(ctx context.Context, name string, to Dial) (net.Conn, error) {
	n.mu.Lock()
	server := n.joined[name]
	n.mu.Unlock()
	if server == nil {
		return nil, fmt.Errorf("%s is not in the tailnet", name)
	}
	stack, ok := server.Sys().Netstack.Get().(*netstack.Impl)
	if !ok {
		return nil, errors.New("the node has no network stack of its own")
	}
	from, v6 := server.TailscaleIPs()
	if to.Address.Addr().Is6() {
		from = v6
	}
	switch to.Network {
	case "tcp":
		conn, err := stack.DialContextTCPWithBind(ctx, from, to.Address)
		if err != nil {
			return nil, err // not conn: an interface that holds a nil pointer is not nil
		}
		return conn, nil
	case "udp":
		conn, err := stack.DialContextUDPWithBind(ctx, from, to.Address)
		if err != nil {
			return nil, err
		}
		local, err := netip.ParseAddrPort(conn.LocalAddr().String())
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return &expecting{Conn: conn, filter: server.Sys().Tun.Get().GetFilter, question: question(local, to.Address)}, nil
	}
	return nil, fmt.Errorf("network %q is not tcp or udp", to.Network)
}

// expecting is a UDP connection whose answers are let in. A node's packet filter lets a packet in
// that answers one that went out, but what the stack of a tsnet node sends does not pass it: so it
// is shown one. Without that every port would look closed.
type expecting struct {
	net.Conn
	filter   func() *filter.Filter // the one in force, another one after each change of the policy
	question []byte
}

// question is a packet as the filter sees it: of one end to the other.
func question(from, to netip.AddrPort) []byte {
	if from.Addr().Is4() {
		return packet.Generate(packet.UDP4Header{
			IP4Header: packet.IP4Header{Src: from.Addr(), Dst: to.Addr()}, SrcPort: from.Port(), DstPort: to.Port(),
		}, nil)
	}
	return packet.Generate(packet.UDP6Header{
		IP6Header: packet.IP6Header{Src: from.Addr(), Dst: to.Addr()}, SrcPort: from.Port(), DstPort: to.Port(),
	}, nil)
}

// Write sends one datagram.
func (e *expecting) Write(datagram []byte) (int, error) {
	var parsed packet.Parsed
	parsed.Decode(e.question)
	e.filter().RunOut(&parsed, 0)
	return e.Conn.Write(datagram)
}

type halfCloser interface{ CloseWrite() error }

// carry copies both ways until both ends have nothing more to say.
func carry(conn net.Conn, reader io.Reader, other net.Conn) {
	defer other.Close() //nolint:errcheck // nobody waits for it
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(other, reader)
		if half, ok := other.(halfCloser); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err := io.Copy(conn, other)
	if half, ok := conn.(halfCloser); ok && err == nil {
		_ = half.CloseWrite()
		<-done
	}
}

func carryDatagrams(conn net.Conn, reader io.Reader, other net.Conn) {
	defer other.Close() //nolint:errcheck // nobody waits for it
	go func() {
		defer conn.Close() //nolint:errcheck // ends the other direction
		buffer := make([]byte, 1<<16)
		for {
			size, err := other.Read(buffer)
			if err != nil || WriteDatagram(conn, buffer[:size]) != nil {
				return
			}
		}
	}()
	for {
		datagram, err := ReadDatagram(reader)
		if err != nil {
			return
		}
		if _, err := other.Write(datagram); err != nil {
			return
		}
	}
}
