package link

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"homelab/internal/machine/internal/authority"
)

// Site is an HTTP server somewhere on the internet.
type Site struct {
	// Hosts are its names; they are resolved to Addresses while it is served.
	Hosts []string
	// Addresses are where it is served; different sites may share one if their ports differ.
	Addresses []netip.Addr
	// Authority signs its certificate, and it is served by HTTPS at port 443. Nil: it is not.
	Authority *authority.Authority
	// Plain: it is served by HTTP at port 80 as well.
	Plain bool
	// Handler answers.
	Handler http.Handler
	// ErrorLog is told of failed handshakes and the like. Nil: nobody is.
	ErrorLog *log.Logger
}

// headerTimeout is how long a client may take to send a request's header.
const headerTimeout = 30 * time.Second

// Serve serves the site until it is closed, or the network is. Closing it makes its names unknown
// again.
func (n *Network) Serve(s Site) (io.Closer, error) {
	if len(s.Addresses) == 0 || s.Handler == nil || s.Authority == nil && !s.Plain {
		return nil, fmt.Errorf("serving %v: it needs addresses, a handler, and an authority or to be plain", s.Hosts)
	}
	if s.ErrorLog == nil {
		s.ErrorLog = log.New(io.Discard, "", 0)
	}
	server := &http.Server{Handler: s.Handler, ReadHeaderTimeout: headerTimeout, ErrorLog: s.ErrorLog}
	var listeners []net.Listener
	listen := func(port uint16) error {
		for _, a := range s.Addresses {
			l, err := n.Listen(netip.AddrPortFrom(a, port))
			if err != nil {
				return err
			}
			listeners = append(listeners, l)
		}
		return nil
	}
	closeAll := func() error {
		all := []error{server.Close()}
		for _, l := range listeners {
			all = append(all, l.Close())
		}
		return errors.Join(all...)
	}
	if s.Authority != nil {
		certificate, err := s.Authority.Issue(s.Hosts...)
		if err != nil {
			return nil, err
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
		if err := listen(443); err != nil {
			return nil, errors.Join(fmt.Errorf("serving %v: %w", s.Hosts, err), closeAll())
		}
	}
	secure := len(listeners)
	if s.Plain {
		if err := listen(80); err != nil {
			return nil, errors.Join(fmt.Errorf("serving %v: %w", s.Hosts, err), closeAll())
		}
	}
	for i, l := range listeners {
		// They end with an error when the site is closed, which is how they end.
		n.work(func() {
			if i < secure {
				_ = server.ServeTLS(l, "", "")
			} else {
				_ = server.Serve(l)
			}
		})
	}
	for _, h := range s.Hosts {
		n.Name(h, s.Addresses...)
	}
	hosts := slices.Clone(s.Hosts)
	c, err := n.closer(func() error {
		for _, h := range hosts {
			n.Name(h)
		}
		return closeAll()
	})
	if err != nil {
		return nil, fmt.Errorf("serving %v: %w", hosts, err)
	}
	return c, nil
}
