//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"homelab/tests/chain/internal/deployed"
	"homelab/tests/internal/netns"
)

// askerPlace is an asker's place in the proxy's network, where the deployment has no container.
const askerPlace = 252

// asDocker sets in a container's network what Docker sets there: whoever may bind a port may bind
// any (moby, daemon/oci_linux.go, WithCommonOptions; since Docker 20.10).
func asDocker(network *netns.Namespace) error {
	err := network.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0o600) })
	if err != nil {
		return fmt.Errorf("letting a container bind any port: %w", err)
	}
	return nil
}

// Asker is one more container beside the proxy, with an edge to one port of it and no other. It
// returns its network and its address.
func (l *Lab) Asker(name string, port int) (*netns.Namespace, netip.Addr, error) {
	home := l.containers["caddy"].Networks[0]
	proxy, place := home.Address.Addr(), home.Address.Masked().Addr().As4()
	place[3] = askerPlace
	home.Address = netip.PrefixFrom(netip.AddrFrom4(place), home.Address.Bits())
	network, err := netns.New(name)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	c := &container{network: network, Container: &deployed.Container{Networks: []deployed.Network{home}}}
	l.containers[name] = c
	if err := l.join(c, home); err != nil {
		return nil, netip.Addr{}, err
	}
	var edge strings.Builder
	for _, table := range []string{"bridge homelab", "inet homelab_containers"} {
		fmt.Fprintf(&edge, "add element %s edges { %s . %s . %d }\n", table, home.Address.Addr(), proxy, port)
	}
	return network, home.Address.Addr(), l.machine.Run(strings.NewReader(edge.String()), "nft", "--file", "-")
}
