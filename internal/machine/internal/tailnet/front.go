package tailnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"tailscale.com/net/stun"
)

// handshakeTimeout ends a connection that does not even begin.
const handshakeTimeout = 20 * time.Second

// stunPort is where clients ask for the address that others see them at.
const stunPort = 3478

// front stands where Tailscale's servers are: it ends TLS, and passes on to headscale.
type front struct {
	certificate tls.Certificate
	closers     []io.Closer
	// plain and secure are where this computer's own nodes find ports 80 and 443.
	plain, secure net.Listener
	logs          *logSink

	mu       sync.Mutex
	upstream string
	away     bool
	open     map[net.Conn]struct{}
	done     bool
}

// newFront listens on the network and for this computer's own nodes.
func newFront(options Options, certificate tls.Certificate) (_ *front, err error) {
	f := &front{certificate: certificate, open: map[net.Conn]struct{}{}, logs: newLogSink()}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	f.closers = append(f.closers, f.logs.server)
	addresses := []netip.Addr{options.IPv4}
	if options.IPv6.IsValid() {
		addresses = append(addresses, options.IPv6)
	}
	for _, address := range addresses {
		for port, secure := range map[uint16]bool{80: false, 443: true} {
			listener, err := options.Network.Listen(netip.AddrPortFrom(address, port))
			if err != nil {
				return nil, fmt.Errorf("serving %s:%d: %w", address, port, err)
			}
			f.serve(listener, secure)
		}
		packets, err := options.Network.ListenPacket(netip.AddrPortFrom(address, stunPort))
		if err != nil {
			return nil, fmt.Errorf("serving %s:%d: %w", address, stunPort, err)
		}
		f.closers = append(f.closers, packets)
		go f.tellAddresses(packets)
	}
	if f.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	f.serve(f.plain, false)
	if f.secure, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	f.serve(f.secure, true)
	options.Network.Name(ControlHost, addresses...)
	options.Network.Name(LogHost, addresses...)
	return f, nil
}

// to says at which unix socket headscale is; before that connections are refused.
func (f *front) to(upstream string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.upstream = upstream
}

func (f *front) setAway(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
	if away {
		for conn := range f.open {
			_ = conn.Close()
		}
	}
}

func (f *front) close() error {
	f.mu.Lock()
	f.done = true
	f.mu.Unlock()
	f.setAway(true)
	var errs []error
	for _, c := range f.closers {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (f *front) serve(listener net.Listener, secure bool) {
	f.closers = append(f.closers, listener)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go f.handle(conn, secure)
		}
	}()
}

// enter registers a connection, and returns where headscale is; "" means that it is away.
func (f *front) enter(conn net.Conn) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away || f.done {
		return ""
	}
	f.open[conn] = struct{}{}
	return f.upstream
}

func (f *front) handle(conn net.Conn, secure bool) {
	defer conn.Close() //nolint:errcheck // nobody waits for it
	upstream := f.enter(conn)
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.open, conn)
	}()
	if upstream == "" {
		return
	}
	if secure {
		ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
		defer cancel()
		session := tls.Server(conn, &tls.Config{
			Certificates: []tls.Certificate{f.certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
		if err := session.HandshakeContext(ctx); err != nil {
			return
		}
		if session.ConnectionState().ServerName == LogHost {
			f.logs.take(session)
			return
		}
		conn = session
	}
	other, err := net.Dial("unix", upstream)
	if err != nil {
		return
	}
	defer other.Close() //nolint:errcheck // nobody waits for it
	go func() {
		_, _ = io.Copy(other, conn)
		_ = other.Close()
	}()
	_, _ = io.Copy(conn, other)
}

// tellAddresses answers clients that ask at which address they are seen (STUN).
func (f *front) tellAddresses(packets net.PacketConn) {
	buffer := make([]byte, 1500)
	for {
		size, from, err := packets.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			f.mu.Lock()
			done := f.done
			f.mu.Unlock()
			if done {
				return
			}
			continue
		}
		client, err := netip.ParseAddrPort(from.String())
		if err != nil {
			continue
		}
		id, err := stun.ParseBindingRequest(buffer[:size])
		f.mu.Lock()
		away := f.away
		f.mu.Unlock()
		if err == nil && !away {
			_, _ = packets.WriteTo(stun.Response(id, client), from)
		}
	}
}

// logSink takes tailscaled's logs and throws them away.
type logSink struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newLogSink() *logSink {
	s := &logSink{conns: make(chan net.Conn), closed: make(chan struct{})}
	s.server = &http.Server{ReadHeaderTimeout: handshakeTimeout, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})}
	go func() {
		defer s.Close() //nolint:errcheck // it returns none; the server does not close what it never served
		_ = s.server.Serve(s)
	}()
	return s
}

// take serves a connection until it ends.
func (s *logSink) take(conn net.Conn) {
	ended := make(chan struct{})
	select {
	case s.conns <- &watched{Conn: conn, ended: ended}:
		<-ended
	case <-s.closed:
	}
}

// Accept returns the next connection.
func (s *logSink) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Addr is nobody's.
func (s *logSink) Addr() net.Addr { return &net.TCPAddr{} }

// Close lets Accept end; the server calls it when it ends.
func (s *logSink) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// watched tells when it is closed.
type watched struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

// Close closes the connection.
func (w *watched) Close() error {
	w.once.Do(func() { close(w.ended) })
	return w.Conn.Close()
}
