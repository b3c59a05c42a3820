package rules

import (
	"cmp"
	"slices"
	"strings"
)

// Served is a hostname on a port that the machine publishes for its proxy.
type Served struct {
	// Host is the full name.
	Host string
	// Address and Port are the machine's. The address is empty where it is every one.
	Address string
	Port    int // see Address
	// Guarded is whether every request asks the portal, or should: the portal has a rule for the name
	// that wants a login, so one of the two files is enough.
	Guarded bool
	// Portal is whether the name is the portal's own.
	Portal bool
}

// Served lists what the proxy serves, as its configuration and the portal's say it, sorted.
func (g *Graph) Served() []Served {
	config, _ := g.portal() // empty where it is not known
	asks := func(name string) bool {
		return slices.ContainsFunc(config.AccessControl.Rules, func(r portalRule) bool {
			return slices.Contains(r.Domain, name) && slices.Contains(admits, r.Policy)
		})
	}
	var out []Served
	for _, c := range g.running(caddy) {
		for _, p := range c.At("ports").List() {
			for _, s := range g.layers.blocks {
				if s.hostname == "" || s.listener != p.text("internal") {
					continue
				}
				out = append(out, Served{
					Host: s.hostname, Address: p.text("ip"), Port: int(p.At("external").Number()), Guarded: s.guarded() || asks(s.hostname),
					Portal: slices.Contains(g.running(authelia), g.container(s.upstream)),
				})
			}
		}
	}
	slices.SortFunc(out, func(a, b Served) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	return out
}
