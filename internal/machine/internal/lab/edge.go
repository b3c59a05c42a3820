package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"

	"homelab/internal/machine/internal/acme"
	"homelab/internal/machine/internal/edge"
	"homelab/internal/machine/internal/link"
	"homelab/internal/rehearsal"
)

// edgeAddresses are where visitors find Cloudflare.
var edgeAddresses = []netip.Addr{rehearsal.EdgeIPv4, rehearsal.EdgeIPv6}

// apiAddresses are Cloudflare's as well.
var apiAddresses = []netip.Addr{netip.MustParseAddr("104.16.0.2"), netip.MustParseAddr("2606:4700::6810:2")}

// acmeFile is where the state folder has the accounts of those who order certificates.
const acmeFile = "acme.json"

// openEdge puts Cloudflare on the internet, without a zone.
func (l *Lab) openEdge() error {
	e, err := edge.New(edge.Options{Authority: l.authority, Dial: l.network.Dial, Keep: l.keepTold})
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
	return l.openAPIs()
}

// openAPIs puts Cloudflare's API on the internet, and the authority of which the machine's proxy orders
// its certificates: it proves by that API that it has the names.
func (l *Lab) openAPIs() error {
	orders, err := acme.New(acme.Options{
		Sign: l.authority.Sign, TXT: func(name string) []string { return l.edge.Told().TXT(name) }, File: filepath.Join(l.options.State, acmeFile),
	})
	if err != nil {
		return err
	}
	for _, site := range []link.Site{
		{Hosts: []string{edge.APIHost}, Addresses: apiAddresses, Authority: l.authority, Handler: l.edge.API()},
		{Hosts: []string{acme.Host}, Addresses: []netip.Addr{acmeAddress}, Authority: l.authority, Handler: orders},
	} {
		if _, err := l.network.Serve(site); err != nil { // it ends with the network
			return err
		}
	}
	return nil
}

// keepTold keeps what Cloudflare's API was told, and puts its records into the DNS in the place of
// those that it had.
func (l *Lab) keepTold(told edge.Told) error {
	if err := l.publish(l.edge.Told(), &told); err != nil {
		return err
	}
	return l.update(func() { l.saved.Told = &told })
}

// publish puts the records of the API into the DNS.
func (l *Lab) publish(before, now *edge.Told) error {
	for _, r := range now.Records {
		var lines []string
		for _, content := range now.TXT(r.Name) {
			lines = append(lines, fmt.Sprintf("%s. 60 IN TXT %q", r.Name, content))
		}
		if err := l.network.Records(lines...); err != nil {
			return err
		}
	}
	for _, r := range before.Records {
		if len(now.TXT(r.Name)) == 0 {
			if err := l.network.RemoveRecords(r.Name, "TXT"); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameServers are those of the zone, with the addresses at which the rehearsal's DNS answers.
var nameServers = map[string][]netip.Addr{
	"ada.ns.cloudflare.com": {link.NameServers[0], link.NameServers[2]}, "bob.ns.cloudflare.com": {link.NameServers[1], link.NameServers[3]},
}

// delegate makes a name the apex of a zone, as whoever orders a certificate for it looks for one.
func (l *Lab) delegate(apex string) error {
	var lines []string
	for _, server := range slices.Sorted(maps.Keys(nameServers)) {
		l.network.Name(server, nameServers[server]...)
		lines = append(lines, fmt.Sprintf("%s. 60 IN NS %s.", apex, server))
	}
	return errors.Join(l.network.Records(lines...),
		l.network.Records(fmt.Sprintf("%s. 60 IN SOA ada.ns.cloudflare.com. dns.cloudflare.com. 1 10000 2400 604800 1800", apex)))
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
	if err := l.delegate(zone.Name); err != nil {
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
