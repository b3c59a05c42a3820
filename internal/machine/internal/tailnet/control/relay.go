package control

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	v1 "github.com/juanfont/headscale/gen/go/headscale/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"tailscale.com/control/controlbase"
	"tailscale.com/control/controlhttp"
	"tailscale.com/control/controlhttp/controlhttpserver"
	"tailscale.com/control/ts2021"
	"tailscale.com/tailcfg"
	"tailscale.com/tstime"
	"tailscale.com/types/key"
)

// relay stands before headscale for the sake of one difference between the two: a machine that
// joins with a key that has tags may name these tags itself (tailscale up --advertise-tags) at
// Tailscale's, and headscale 0.28 refuses it. The relay takes them out of the request where the key
// has them all. To read the request it must be the other end of Tailscale's encryption, which it
// can because it has headscale's key; towards headscale each machine then has another machine key,
// always the same one.
type relay struct {
	private  key.MachinePrivate
	upstream string // headscale's address
	keys     v1.HeadscaleServiceClient
	plain    *httputil.ReverseProxy
}

// registerLimit is the most that is read of a request to register, in bytes.
const registerLimit = 1 << 20

// serveRelay answers at the settings' socket. Headscale must have made its key.
func serveRelay(settings Settings) (*http.Server, error) {
	text, err := os.ReadFile(settings.NoiseKey)
	if err != nil {
		return nil, err
	}
	r := &relay{upstream: settings.Upstream}
	if err := r.private.UnmarshalText(bytes.TrimSpace(text)); err != nil {
		return nil, fmt.Errorf("reading %s: %w", settings.NoiseKey, err)
	}
	conn, err := grpc.NewClient("unix:"+settings.API, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	r.keys = v1.NewHeadscaleServiceClient(conn)
	r.plain = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.upstream})
	listener, err := net.Listen("unix", settings.Relay)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: 30 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return server, os.Chmod(settings.Relay, 0o600)
}

// ServeHTTP passes everything on but what is inside Tailscale's encryption, which it looks at.
func (r *relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	switch {
	case request.URL.Path == "/ts2021":
		r.encrypted(w, request)
	case request.URL.Path == "/generate_204":
		// Asked for to find out whether a hotel's login page is in the way; headscale answers 200.
		w.WriteHeader(http.StatusNoContent)
	case strings.EqualFold(request.Header.Get("Upgrade"), "derp"):
		r.raw(w, request)
	default:
		r.plain.ServeHTTP(w, request)
	}
}

// raw carries the whole connection: the protocol of the relay of packets (DERP) may begin before
// there is an answer.
func (r *relay) raw(w http.ResponseWriter, request *http.Request) {
	other, err := net.Dial("tcp", r.upstream)
	if err != nil {
		http.Error(w, "headscale is away", http.StatusBadGateway)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = other.Close()
		http.Error(w, "no connection to carry", http.StatusInternalServerError)
		return
	}
	defer conn.Close() //nolint:errcheck // nobody waits for it
	if err := errors.Join(conn.SetDeadline(time.Time{}), request.Write(other)); err != nil {
		_ = other.Close()
		return
	}
	carry(conn, buffered, other)
}

// encrypted ends Tailscale's encryption, and begins it anew towards headscale.
func (r *relay) encrypted(w http.ResponseWriter, request *http.Request) {
	conn, err := controlhttpserver.AcceptHTTP(request.Context(), w, request, r.private, nil)
	if err != nil {
		return // it has written the answer
	}
	defer conn.Close() //nolint:errcheck // nobody waits for it
	transport, err := r.dial(conn)
	if err != nil {
		log.Printf("relay: %v", err)
		return
	}
	defer transport.CloseIdleConnections()
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, // the answers are long, and come bit by bit
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "https", Host: "headscale"}) },
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/machine/register" {
			if err := r.registration(request); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		proxy.ServeHTTP(w, request)
	})
	server := &http.Server{Handler: handler, Protocols: new(http.Protocols), ReadHeaderTimeout: 30 * time.Second}
	server.Protocols.SetUnencryptedHTTP2(true)
	_ = server.Serve(newSingle(conn))
}

// single is a listener with one connection; it ends with it.
type single struct {
	conn  net.Conn
	first sync.Once
	last  sync.Once
	ended chan struct{}
}

func newSingle(conn net.Conn) *single { return &single{conn: conn, ended: make(chan struct{})} }

// Accept returns the connection, and then waits for its end.
func (s *single) Accept() (conn net.Conn, err error) {
	s.first.Do(func() { conn = &singleConn{Conn: s.conn, listener: s} })
	if conn != nil {
		return conn, nil
	}
	<-s.ended
	return nil, net.ErrClosed
}

// Addr is that of the connection.
func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }

// Close ends the listener.
func (s *single) Close() error {
	s.last.Do(func() { close(s.ended) })
	return nil
}

type singleConn struct {
	net.Conn
	listener *single
}

// Close closes the connection, and its listener.
func (c *singleConn) Close() error { return errors.Join(c.listener.Close(), c.Conn.Close()) }

// dial returns the way to headscale of the machine at the other end of a connection.
func (r *relay) dial(from *controlbase.Conn) (*http.Transport, error) {
	machine, err := r.machineKey(from.Peer())
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(r.upstream)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Protocols: new(http.Protocols), MaxConnsPerHost: 1}
	// HTTP/2 inside an encryption that Go's client knows nothing of.
	transport.Protocols.SetUnencryptedHTTP2(true)
	transport.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		client, err := (&controlhttp.Dialer{
			Hostname: host, HTTPPort: port, HTTPSPort: controlhttp.NoPort, MachineKey: machine, ControlKey: r.private.Public(),
			ProtocolVersion: uint16(from.ProtocolVersion()), Dialer: d.DialContext, Logf: func(string, ...any) {}, Clock: tstime.StdClock{},
		}).Dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("reaching headscale: %w", err)
		}
		return ts2021.NewConn(client.Conn, func() {}), nil
	}
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13} // never used
	return transport, nil
}

// machineKey is the key by which headscale knows a machine.
func (r *relay) machineKey(machine key.MachinePublic) (key.MachinePrivate, error) {
	secret, err := r.private.MarshalText()
	if err != nil {
		return key.MachinePrivate{}, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(machine.String()))
	var out key.MachinePrivate
	err = out.UnmarshalText(fmt.Appendf(nil, "privkey:%x", mac.Sum(nil)))
	return out, err
}

// registration takes the tags out of a request to register whose key gives them anyway.
func (r *relay) registration(request *http.Request) error {
	body, err := io.ReadAll(io.LimitReader(request.Body, registerLimit))
	if err != nil {
		return err
	}
	var register tailcfg.RegisterRequest
	if err := json.Unmarshal(body, &register); err != nil {
		return fmt.Errorf("reading a request to register: %w", err)
	}
	if register.Auth != nil && register.Hostinfo != nil && len(register.Hostinfo.RequestTags) > 0 {
		given, err := r.tagsOf(request.Context(), register.Auth.AuthKey)
		if err != nil {
			return err
		}
		if within(register.Hostinfo.RequestTags, given) {
			register.Hostinfo.RequestTags = nil
			if body, err = json.Marshal(register); err != nil {
				return err
			}
		}
	}
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	request.Header.Del("Content-Length")
	return nil
}

func within(tags, all []string) bool {
	has := map[string]bool{}
	for _, tag := range all {
		has[tag] = true
	}
	for _, tag := range tags {
		if !has[tag] {
			return false
		}
	}
	return true
}

// tagsOf returns the tags of an auth key, which headscale lists by their beginnings.
func (r *relay) tagsOf(ctx context.Context, secret string) ([]string, error) {
	all, err := r.keys.ListPreAuthKeys(ctx, &v1.ListPreAuthKeysRequest{})
	if err != nil {
		return nil, err
	}
	for _, k := range all.GetPreAuthKeys() {
		if beginning, ok := strings.CutSuffix(k.GetKey(), "***"); ok && strings.HasPrefix(secret, beginning) {
			return k.GetAclTags(), nil
		}
	}
	return nil, nil
}
