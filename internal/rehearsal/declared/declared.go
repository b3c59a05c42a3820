// Package declared reads what a deployment says of itself out of the state that the engine keeps, for
// a probe of the machine that it has made.
package declared

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"homelab/internal/rehearsal"
	"homelab/policy/rules"
)

// Of returns what a stack declares: its hostnames with the listeners that serve them, its containers,
// and the edges between them. What the machine serves under an address that cannot be read is an
// error, because a probe would expect too much or too little.
func Of(g *rules.Graph) (rehearsal.Declared, error) {
	inventory := rules.TakeInventory(g)
	out := rehearsal.Declared{
		Hostnames: []rehearsal.DeclaredHost{}, Containers: []rehearsal.DeclaredContainer{}, Edges: []rehearsal.DeclaredEdge{},
	}
	if err := hostnames(&out, inventory, g.Served()); err != nil {
		return rehearsal.Declared{}, err
	}
	for _, c := range inventory.Containers {
		engine := slices.ContainsFunc(inventory.Engine, func(a rules.Asker) bool { return a.Container == c.Name && a.Through == "" })
		out.Containers = append(out.Containers, rehearsal.DeclaredContainer{Name: c.Name, Internet: c.Internet, Engine: engine, Behind: c.Behind()})
	}
	for _, e := range inventory.Edges {
		if e.ToVPN() {
			continue
		}
		if e.Port < 1 || e.Port >= 1<<16 {
			return rehearsal.Declared{}, fmt.Errorf("the edge from %s to %s has the port %d", e.From, e.To, e.Port)
		}
		out.Edges = append(out.Edges, rehearsal.DeclaredEdge{From: e.From, To: e.To, Port: uint16(e.Port)})
	}
	return out, nil
}

// hostnames adds the names that have a record, and those that the proxy serves.
func hostnames(out *rehearsal.Declared, inventory rules.Inventory, served []rules.Served) error {
	byName := map[string]*rehearsal.DeclaredHost{}
	host := func(name string) *rehearsal.DeclaredHost {
		if byName[name] == nil {
			byName[name] = &rehearsal.DeclaredHost{Name: name}
		}
		return byName[name]
	}
	for _, s := range served {
		h := host(s.Host)
		h.Guarded = h.Guarded || s.Guarded
		if s.Portal {
			out.Portal = s.Host
		}
		address, err := netip.ParseAddr(s.Address)
		if err != nil {
			return fmt.Errorf("%s is served at %q, which is no address", s.Host, s.Address)
		}
		own, port := &h.Public, &out.PublicPort
		if rehearsal.InTailnet(address) {
			own, port = &h.Tailnet, &out.TailnetPort
		}
		if s.Port < 1 || s.Port >= 1<<16 || *port != 0 && int(*port) != s.Port {
			return fmt.Errorf("%s is served at port %d, and another hostname at %d", s.Host, s.Port, *port)
		}
		*own, *port = true, uint16(s.Port)
	}
	for _, n := range inventory.Hostnames {
		h := host(n.Name)
		for _, open := range n.Open {
			h.Open = append(h.Open, path(open))
		}
	}
	for _, h := range byName {
		out.Hostnames = append(out.Hostnames, *h)
	}
	slices.SortFunc(out.Hostnames, func(a, b rehearsal.DeclaredHost) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

var method = regexp.MustCompile(`^[A-Z]+ `)

// path is what the inventory says of an open path, without the methods before it.
func path(open string) string {
	for method.MatchString(open) {
		_, open, _ = strings.Cut(open, " ")
	}
	return strings.TrimSpace(open)
}
