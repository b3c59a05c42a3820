package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"homelab/internal/machine/internal/edge"
	"homelab/internal/rehearsal"
)

// edgeAddresses are where visitors find Cloudflare.
var edgeAddresses = []netip.Addr{rehearsal.EdgeIPv4, rehearsal.EdgeIPv6}

// openEdge puts Cloudflare on the internet, without a zone.
func (l *Lab) openEdge() error {
	e, err := edge.New(edge.Options{Authority: l.authority, Dial: l.network.Dial})
	if err != nil {
		return err
	}
	l.edge = e
	for _, each := range []struct {
		ports  []uint16
		secure bool
	}{{edge.SecurePorts, true}, {edge.PlainPorts, false}} {
		for _, port := range each.ports {
			for _, a := range edgeAddresses {
				listener, err := l.network.Listen(netip.AddrPortFrom(a, port))
				if err != nil {
					return fmt.Errorf("starting Cloudflare: %w", err)
				}
				go func() { _ = e.Serve(listener, each.secure) }() // it ends with an error when it is closed, which is how it ends
			}
		}
	}
	return nil
}

// SetZone implements rehearsal.Service.
func (l *Lab) SetZone(_ context.Context, zone rehearsal.Zone) error {
	l.zoning.Lock()
	defer l.zoning.Unlock()
	if err := l.applyZone(zone); err != nil {
		return err
	}
	return l.update(func() { l.saved.Zone = &zone })
}

// applyZone puts a zone in force, and its names into the DNS in the place of those that it had.
func (l *Lab) applyZone(zone rehearsal.Zone) error {
	before := l.edge.Edge(edgeAddresses...).Hosts
	if err := l.edge.SetZone(zone); err != nil {
		return err
	}
	now := l.edge.Edge(edgeAddresses...).Hosts
	for _, h := range now {
		l.network.Name(h.Name, h.Addresses...)
	}
	for _, gone := range before {
		if !slices.ContainsFunc(now, func(h rehearsal.EdgeHost) bool { return h.Name == gone.Name }) {
			l.network.Name(gone.Name)
		}
	}
	return nil
}

// Edge implements rehearsal.Service.
func (l *Lab) Edge(context.Context) (rehearsal.Edge, error) {
	return l.edge.Edge(edgeAddresses...), nil
}
