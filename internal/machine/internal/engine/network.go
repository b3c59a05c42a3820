package engine

import (
	"fmt"
	"net/netip"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"homelab/internal/rehearsal"
)

func createNetwork(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[networkInputs](s.call)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	driver := in.IPAMDriver
	if driver == "" {
		driver = "default"
	}
	ipam := &network.IPAM{Driver: driver, Options: in.IPAMOptions}
	for _, c := range in.IPAMConfigs {
		config, err := c.config()
		if err != nil {
			return rehearsal.DockerResult{}, said("Unable to create network: %w", err)
		}
		ipam.Config = append(ipam.Config, config)
	}
	options := client.NetworkCreateOptions{
		Driver: in.Driver, IPAM: ipam, Internal: in.Internal, Attachable: in.Attachable, Ingress: in.Ingress, Options: in.Options, Labels: labelMap(in.Labels),
	}
	if in.IPv6 {
		options.EnableIPv6 = &in.IPv6
	}
	// Engines before 25 make another one of the same name, unless the client asks them not to, as the
	// provider's does.
	if same, err := s.api.NetworkInspect(s.ctx, in.Name, client.NetworkInspectOptions{}); err == nil && same.Network.Name == in.Name {
		return rehearsal.DockerResult{}, said("Unable to create network: Error response from daemon: network with name %s already exists", in.Name)
	}
	made, err := s.api.NetworkCreate(s.ctx, in.Name, options)
	if err != nil {
		return rehearsal.DockerResult{}, said("Unable to create network: %w", err)
	}
	s.call.ID = made.ID
	result, err := readNetwork(s)
	if err != nil {
		return rehearsal.DockerResult{ID: made.ID, NotReady: err.Error()}, nil
	}
	return result, nil
}

func (c ipamInput) config() (out network.IPAMConfig, err error) {
	for text, to := range map[*string]*netip.Prefix{&c.Subnet: &out.Subnet, &c.IPRange: &out.IPRange} {
		if *text == "" {
			continue
		}
		if *to, err = netip.ParsePrefix(*text); err != nil {
			return out, err
		}
	}
	if c.Gateway != "" {
		if out.Gateway, err = netip.ParseAddr(c.Gateway); err != nil {
			return out, err
		}
	}
	out.AuxAddress = map[string]netip.Addr{}
	for name, text := range c.AuxAddress {
		if out.AuxAddress[name], err = netip.ParseAddr(text); err != nil {
			return out, err
		}
	}
	return out, nil
}

func readNetwork(s *session) (rehearsal.DockerResult, error) {
	found, err := s.api.NetworkInspect(s.ctx, s.call.ID, client.NetworkInspectOptions{})
	if gone(err) {
		return rehearsal.DockerResult{Gone: true}, nil
	}
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	n := found.Network
	ranges := []ipamInput{}
	for _, c := range n.IPAM.Config {
		r := ipamInput{Gateway: address(c.Gateway), AuxAddress: map[string]string{}}
		if c.Subnet.IsValid() {
			r.Subnet = c.Subnet.String()
		}
		if c.IPRange.IsValid() {
			r.IPRange = c.IPRange.String()
		}
		for name, a := range c.AuxAddress {
			r.AuxAddress[name] = a.String()
		}
		ranges = append(ranges, r)
	}
	return rehearsal.DockerResult{ID: n.ID, Outputs: map[string]any{
		"name": n.Name, "labels": labelList(n.Labels), "driver": n.Driver, "internal": n.Internal, "attachable": n.Attachable, "ingress": n.Ingress,
		"ipv6": n.EnableIPv6, "ipamDriver": n.IPAM.Driver, "ipamOptions": texts(n.IPAM.Options), "ipamConfigs": ranges, "scope": n.Scope, "options": texts(n.Options),
	}}, nil
}

// removeNetwork waits for containers that are about to leave. A network that is gone is none.
func removeNetwork(s *session) (rehearsal.DockerResult, error) {
	err := s.until(func() error {
		_, err := s.api.NetworkRemove(s.ctx, s.call.ID, client.NetworkRemoveOptions{})
		return err
	}, "has active endpoints")
	if err != nil && !gone(err) {
		return rehearsal.DockerResult{}, fmt.Errorf("unable to remove network: %w", err)
	}
	return rehearsal.DockerResult{}, nil
}
