// Package edge is Cloudflare in a rehearsal: it answers visitors for the hostnames of a zone, does
// with each request what the zone declares, and asks the origin as Cloudflare does. What it does not
// do of a zone is refused, or listed by Edge.
package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"homelab/internal/machine/internal/authority"
	"homelab/internal/rehearsal"
)

// Options are what an Edge is made with. Authority and Dial are required.
type Options struct {
	// Authority issues the certificates that visitors see, and those of origins are verified with it.
	Authority *authority.Authority
	// Dial connects to an origin from an address of Cloudflare's.
	Dial func(ctx context.Context, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	// Keep keeps what the API was told. Default: nobody does.
	Keep func(Told) error
	// Now is the time. Default: the computer's.
	Now func() time.Time
	// ErrorLog is told of failed handshakes and the like. Default: nobody is.
	ErrorLog *log.Logger
}

// Edge is Cloudflare. Its methods may be called at the same time.
type Edge struct {
	options Options
	server  *http.Server
	cache   cache
	now     atomic.Pointer[inForce]
	told    atomic.Pointer[Told]

	// changing and telling order changes of the zone, and what the API is told.
	changing, telling sync.Mutex

	issuing sync.Mutex
	issued  map[string]*tls.Certificate
}

// inForce is a zone with what serves it.
type inForce struct {
	*zone

	proxy http.Handler
	// close ends the idle connections to origins.
	close func()
}

// New makes an Edge without a zone.
func New(options Options) (*Edge, error) {
	if options.Authority == nil || options.Dial == nil {
		return nil, errors.New("an edge needs an authority, and a way to reach origins")
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.ErrorLog == nil {
		options.ErrorLog = log.New(io.Discard, "", 0)
	}
	e := &Edge{options: options, issued: map[string]*tls.Certificate{}}
	e.told.Store(&Told{})
	e.server = &http.Server{
		Handler: e, ReadHeaderTimeout: 30 * time.Second, ErrorLog: options.ErrorLog,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: e.handshake},
	}
	return e, nil
}

// SecurePorts and PlainPorts are those at which Cloudflare answers visitors, and then asks the origin
// at the same one.
// https://developers.cloudflare.com/fundamentals/reference/network-ports
var (
	SecurePorts = []uint16{443, 2053, 2083, 2087, 2096, 8443}
	PlainPorts  = []uint16{80, 2052, 2082, 2086, 2095, 8080, 8880}
)

// Serve answers what a listener accepts, by HTTPS or by HTTP, until the Edge is closed.
func (e *Edge) Serve(listener net.Listener, secure bool) error {
	if secure {
		return e.server.ServeTLS(listener, "", "")
	}
	return e.server.Serve(listener)
}

// Close ends all connections.
func (e *Edge) Close() error {
	err := e.server.Close()
	if z := e.now.Load(); z != nil {
		z.close()
	}
	return err
}

// SetZone puts a zone in force, in place of the one before.
func (e *Edge) SetZone(declared rehearsal.Zone) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	z, err := newZone(declared)
	if err != nil {
		return err
	}
	before := e.now.Load()
	if before != nil {
		z.keepCounts(before.zone)
	}
	e.now.Store(e.serve(z))
	if before != nil {
		before.close()
	}
	return nil
}

// keepCounts takes over what was counted for rules that have not changed.
func (z *zone) keepCounts(before *zone) {
	for i, l := range z.limits {
		for _, old := range before.limits {
			if reflect.DeepEqual(l.ZoneRule, old.ZoneRule) {
				z.limits[i] = old
			}
		}
	}
}

// Edge says what is in force, for visitors who find it at these addresses.
func (e *Edge) Edge(addresses ...netip.Addr) rehearsal.Edge {
	out := rehearsal.Edge{
		Addresses: addresses, Authority: string(e.options.Authority.PEM()), Hosts: []rehearsal.EdgeHost{}, NotEnforced: []string{}, Banned: []string{},
	}
	e.banned(&out)
	z := e.now.Load()
	if z == nil {
		return out
	}
	out.Zone, out.NotEnforced = z.declared.Name, append(out.NotEnforced, z.notes...)
	found := map[string]*rehearsal.EdgeHost{}
	for _, r := range z.declared.Records {
		address, err := netip.ParseAddr(r.Content)
		if r.Type != "A" && r.Type != "AAAA" || err != nil {
			continue
		}
		if found[r.Name] == nil {
			found[r.Name] = &rehearsal.EdgeHost{Name: r.Name, Proxied: r.Proxied}
		}
		if h := found[r.Name]; r.Proxied {
			h.Addresses = addresses
		} else {
			h.Addresses = append(h.Addresses, address)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out.Hosts = append(out.Hosts, *found[name])
	}
	return out
}

// handshake decides about a connection by the name that the visitor asks for. Cloudflare's own
// certificates are for the apex and one level below it; here all names of the zone have one.
func (e *Edge) handshake(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	z, name := e.now.Load(), strings.ToLower(hello.ServerName)
	if z == nil || !z.has(name) {
		return nil, fmt.Errorf("nobody has a certificate for %q here", name)
	}
	certificate, err := e.certificate(name)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*certificate}, MinVersion: z.minTLS, MaxVersion: z.maxTLS, NextProtos: []string{"h2", "http/1.1"},
	}, nil
}

// certificate issues one for each name once.
func (e *Edge) certificate(name string) (*tls.Certificate, error) {
	e.issuing.Lock()
	defer e.issuing.Unlock()
	if c := e.issued[name]; c != nil {
		return c, nil
	}
	c, err := e.options.Authority.Issue(name)
	if err != nil {
		return nil, err
	}
	e.issued[name] = &c
	return &c, nil
}
