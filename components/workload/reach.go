package workload

import (
	"net/netip"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/internal/validate"
)

// WayOut is what a container may reach beside the endpoints that it uses. The zero value is
// nothing.
type WayOut struct {
	internet bool
	server   VPNServer
}

// Internet lets a container reach public addresses, and with them the names that Docker's resolver
// asks for on its behalf. Private ranges, the metadata service, the tailnet and the machine stay
// closed.
var Internet = WayOut{internet: true}

// reach is what a container called name may open connections to.
func (s *Spec) reach(name string) (host.Reach, error) {
	out := host.Reach{Container: name}
	for i, n := range s.Networks {
		own, err := n.address(s.Slot)
		if err != nil {
			return host.Reach{}, err
		}
		// Its way out is one: in another network a neighbour that takes its address gets nowhere.
		if i == 0 && s.WayOut.internet {
			out.Internet = append(out.Internet, own)
		}
		if server := s.WayOut.server; i == 0 && server != (VPNServer{}) {
			out.Tunnel = append(out.Tunnel, host.TunnelWay{From: own, To: server.Address, Protocol: server.Protocol, Port: server.Port})
		}
		for _, e := range s.Uses {
			if to, on := e.on(n); on && s.way(e) == n {
				out.Edges = append(out.Edges, host.Edge{From: own, To: to, Port: e.port})
			}
		}
	}
	return out, nil
}

// way is the network through which an endpoint is reached: its own, which is also where Docker finds
// its name first, or, for who is not on that one, the first that both are on. It is one network
// alone, so that an address in another says nothing.
func (s *Spec) way(e Endpoint) *Network {
	if slices.Contains(s.Networks, e.Network()) {
		return e.Network()
	}
	for _, n := range s.Networks {
		if slices.Contains(e.reached().networks, n) {
			return n
		}
	}
	return nil
}

// AllowLater opens a way from a container that runs already to endpoints that came after it, and
// returns what to depend on. Spec.Uses is for those that are there before it.
func (c *Container) AllowLater(ctx *pulumi.Context, endpoints []Endpoint, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	later := Spec{Host: c.host, Networks: c.networks, Slot: c.slot, Uses: endpoints}
	name := c.name + "-later"
	if err := later.validateUses(name); err != nil {
		return nil, err
	}
	reach, err := later.reach(name)
	if err != nil {
		return nil, err
	}
	after := []pulumi.Resource{c.healthy}
	for _, e := range endpoints {
		after = append(after, e.Resource())
	}
	return c.host.AllowReach(ctx, name+"-reach", reach, append(opts, pulumi.DependsOn(after))...)
}

// validateUses reports endpoints that no container made, or that are on none of the networks.
func (s *Spec) validateUses(name string) error {
	p := validate.Of("container " + name)
	for _, e := range s.Uses {
		if err := e.Ready(); err != nil {
			p.Merge(err)
			continue
		}
		shared := slices.ContainsFunc(s.Networks, func(n *Network) bool {
			return slices.Contains(e.reached().networks, n)
		})
		p.Require(shared, "it uses %s, which is on none of its networks", e.Address())
	}
	return p.Err()
}

// on returns the endpoint's address in a network, if it is there.
func (e Endpoint) on(n *Network) (netip.Addr, bool) {
	for _, theirs := range e.reached().networks {
		if theirs == n {
			address, err := n.address(e.reached().slot)
			return address, err == nil
		}
	}
	return netip.Addr{}, false
}

// allowReach opens the ways that the spec declares, before the container starts.
func (c *Container) allowReach(ctx *pulumi.Context, spec *Spec) (pulumi.Resource, error) {
	reach, err := spec.reach(c.name)
	if err != nil {
		return nil, err
	}
	return spec.Host.AllowReach(ctx, c.name+"-reach", reach, pulumi.Parent(c))
}
