package rehearsal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// World is what a visitor needs of a Service.
type World interface {
	// Edge and Dial are those of Service.
	Edge(ctx context.Context) (Edge, error)
	Dial(ctx context.Context, target Target) (net.Conn, error) // see Edge
}

// Visits returns a dial function for clients of a zone's hostnames, such as http.Transport's. The
// names are those of the zone at the time of the dial: what is proxied is reached through Cloudflare,
// as a visitor with the address from, and the rest as this computer reaches it, over the tailnet. The
// zero address is Visitor.
func Visits(world World, from netip.Addr) func(ctx context.Context, network, address string) (net.Conn, error) {
	if !from.IsValid() {
		from = Visitor
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		name, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		edge, err := world.Edge(ctx)
		if err != nil {
			return nil, err
		}
		for _, h := range edge.Hosts {
			if !strings.EqualFold(h.Name, name) {
				continue
			}
			target := Target{Origin: FromTailnet, Network: network}
			if h.Proxied {
				target.Origin, target.From = FromInternet, from
			}
			for _, a := range h.Addresses {
				if !h.Proxied || a.Is4() == from.Is4() {
					target.Address = net.JoinHostPort(a.String(), port)
					return world.Dial(ctx, target)
				}
			}
		}
		return nil, fmt.Errorf("the zone has no host %s", name)
	}
}

// Proxy is an HTTP proxy, for browsers, that connects by a dial function.
func Proxy(dial func(ctx context.Context, network, address string) (net.Conn, error)) http.Handler {
	plain := &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.Out.Host = p.In.Host },
		Transport: &http.Transport{DialContext: dial, IdleConnTimeout: time.Minute, DisableCompression: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodConnect:
			tunnel(w, r, dial)
		case r.URL.IsAbs():
			plain.ServeHTTP(w, r)
		default:
			http.Error(w, "this is a proxy: set it as that of a browser", http.StatusBadRequest)
		}
	})
}

// tunnel connects a client of the proxy.
func tunnel(w http.ResponseWriter, r *http.Request, dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	there, err := dial(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = there.Close() }() // both directions have ended
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = here.Close() }() // as above
	_ = here.SetDeadline(time.Time{})
	if _, err := io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pass(there, buffered.Reader) })
	both.Go(func() { pass(here, bufio.NewReader(there)) })
	both.Wait()
}

// pass copies until the end, and passes that on.
func pass(to net.Conn, from *bufio.Reader) {
	_, err := from.WriteTo(to)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite() // it may have gone
		return
	}
	_ = to.Close()
}
