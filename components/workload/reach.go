package workload

import (
	"net/netip"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
)

// WayOut is what a container may reach beside the endpoints that it uses. The zero value is
// nothing.
type WayOut struct{ internet bool }

// Internet lets a container reach public addresses, and with them the names that Docker's resolver
// asks for on its behalf. Private ranges, the metadata service, the tailnet and the machine stay
// closed.
var Internet = WayOut{internet: true}

// reach is what a container called name may open connections to.
func (s *Spec) reach(name string) (host.Reach, error) {
	out := host.Reach{Container: name}
	for _, n := range s.Networks {
		own, err := n.address(s.Slot)
		if err != nil {
			return host.Reach{}, err
		}
		if s.WayOut.internet {
			out.Internet = append(out.Internet, own)
		}
		for _, e := range s.Uses {
			if to, on := e.on(n); on {
				out.Edges = append(out.Edges, host.Edge{From: own, To: to, Port: e.port})
			}
		}
	}
	return out, nil
}

// on returns the endpoint's address in a network, if it is there.
func (e Endpoint) on(n *Network) (netip.Addr, bool) {
	for _, theirs := range e.container.networks {
		if theirs == n {
			address, err := n.address(e.container.slot)
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
