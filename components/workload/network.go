package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/pulumi/pulumi-docker/sdk/v4/go/docker"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/internal/validate"
)

// NetworksType is the type token of the component that holds the machine's networks.
const NetworksType = "homelab:workload:Networks"

// Network is a bridge network on the machine.
type Network struct {
	name     string
	subnet   netip.Prefix
	internal bool
	resource *docker.Network

	mu      sync.Mutex
	claimed map[int]string // the containers by slot
}

// NetworkArgs describes a network.
type NetworkArgs struct {
	// Host is the machine.
	Host *host.Host
	// Subnet is its IPv4 range, at least a /25: containers have fixed addresses in it.
	Subnet netip.Prefix
	// Internal networks have no way out of the machine.
	Internal bool
}

// NewNetwork makes a network with the given name.
func NewNetwork(ctx *pulumi.Context, name string, args *NetworkArgs, opts ...pulumi.ResourceOption) (*Network, error) {
	p := validate.Of("network " + name)
	p.Merge(args.Host.Ready())
	p.Require(args.Subnet.IsValid() && args.Subnet.Addr().Is4() && args.Subnet.Bits() <= smallestSubnet, "%s is not an IPv4 range of at least a /%d", args.Subnet, smallestSubnet)
	if err := p.Err(); err != nil {
		return nil, err
	}
	in := &docker.NetworkArgs{
		Name:     pulumi.String(name),
		Driver:   pulumi.String("bridge"),
		Internal: pulumi.Bool(args.Internal),
		Ipv6:     pulumi.Bool(false),
		Labels:   docker.NetworkLabelArray{&docker.NetworkLabelArgs{Label: pulumi.String(labelMachine), Value: args.Host.Machine()}},
		IpamConfigs: docker.NetworkIpamConfigArray{&docker.NetworkIpamConfigArgs{
			Subnet: pulumi.String(args.Subnet.String()),
			// Docker takes this one by itself, but shows it only after the daemon was restarted:
			// undeclared, a preview would then replace the network and all that is on it.
			Gateway: pulumi.String(args.Subnet.Masked().Addr().Next().String()),
		}},
	}
	// Two networks cannot have one name or one range, so the old one goes first.
	opts = append(opts, args.Host.Docker(), pulumi.DeleteBeforeReplace(true))
	resource, err := docker.NewNetwork(ctx, name, in, opts...)
	if err != nil {
		return nil, fmt.Errorf("making network %s: %w", name, err)
	}
	return &Network{name: name, subnet: args.Subnet.Masked(), internal: args.Internal, resource: resource, claimed: map[int]string{}}, nil
}

// Ready reports a Network that NewNetwork did not make.
func (n *Network) Ready() error {
	if n == nil || n.resource == nil {
		return errors.New("no network: pass the value that workload.NewNetwork returned")
	}
	return nil
}

// smallestSubnet is the longest prefix of a network: it must hold this program's containers and the
// operator's; see Spec.Slot.
const smallestSubnet = 25

// firstSlot is the first number of a container in a network's range.
const firstSlot = 16

// Address is the address that a container with this number has in the network, whether it runs or
// not; see Spec.Slot.
func (n *Network) Address(slot int) (netip.Addr, error) {
	if err := n.Ready(); err != nil {
		return netip.Addr{}, err
	}
	return n.address(slot)
}

// address is the address of a container with this number.
func (n *Network) address(slot int) (netip.Addr, error) {
	size := 1 << (32 - n.subnet.Bits())
	if slot < firstSlot || slot >= size-1 { // the last address is for broadcasts
		return netip.Addr{}, fmt.Errorf("slot %d is not between %d and %d, the containers of network %s", slot, firstSlot, size-2, n.name)
	}
	base := n.subnet.Addr().As4()
	value := binary.BigEndian.Uint32(base[:]) + uint32(slot)
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, value))), nil
}

// claim gives a number of the network's range to a container, once.
func (n *Network) claim(slot int, container string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if other, taken := n.claimed[slot]; taken {
		return fmt.Errorf("its slot %d in network %s is that of %s: give it another", slot, n.name, other)
	}
	n.claimed[slot] = container
	return nil
}

// Networks are the machine's networks. A container is on as few as it needs.
type Networks struct {
	pulumi.ResourceState

	// CaddyProxy joins the proxy and what it forwards to.
	CaddyProxy *Network
	// GrafanaMonitoring joins what measures and what is measured.
	GrafanaMonitoring *Network
	// Gluetun joins the VPN tunnel and who reaches what is behind it.
	Gluetun *Network
}

// NetworksArgs gives each network its range.
type NetworksArgs struct {
	// Host is the machine.
	Host *host.Host
	// CaddyProxy, GrafanaMonitoring and Gluetun are IPv4 ranges that do not overlap.
	CaddyProxy, GrafanaMonitoring, Gluetun netip.Prefix
}

// Validate reports every problem of the arguments.
func (a *NetworksArgs) Validate() error {
	p := validate.Of("networks")
	p.Merge(a.Host.Ready())
	ranges := []netip.Prefix{a.CaddyProxy, a.GrafanaMonitoring, a.Gluetun}
	for i, r := range ranges {
		p.Require(r.IsValid(), "network %d has no range", i+1)
		for _, other := range ranges[:i] {
			p.Require(!r.IsValid() || !other.IsValid() || !r.Overlaps(other), "%s and %s overlap", other, r)
		}
	}
	return p.Err()
}

// NewNetworks makes the machine's networks.
func NewNetworks(ctx *pulumi.Context, name string, args *NetworksArgs, opts ...pulumi.ResourceOption) (*Networks, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	n := &Networks{}
	if err := ctx.RegisterComponentResourceV2(NetworksType, name, pulumi.Map{}, n, opts...); err != nil {
		return nil, fmt.Errorf("registering networks %s: %w", name, err)
	}
	for _, network := range []struct {
		into     **Network
		name     string
		subnet   netip.Prefix
		internal bool
	}{
		{&n.CaddyProxy, "caddy-proxy", args.CaddyProxy, false},
		{&n.GrafanaMonitoring, "grafana-monitoring", args.GrafanaMonitoring, true},
		{&n.Gluetun, "gluetun", args.Gluetun, false},
	} {
		made, err := NewNetwork(ctx, network.name, &NetworkArgs{Host: args.Host, Subnet: network.subnet, Internal: network.internal}, pulumi.Parent(n))
		if err != nil {
			return nil, err
		}
		*network.into = made
	}
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{})
}
