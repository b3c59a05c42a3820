package workload

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
)

// VPNTunnel is a healthy container whose network others can use in place of one of their own. What
// is behind it starts only while it is healthy, and starts anew whenever it does. Only NewTunnel
// makes a usable one.
type VPNTunnel struct{ container *Container }

// VPNServer is the other end of a tunnel: the only place outside the machine that the tunnel's
// container reaches.
type VPNServer struct {
	// Address is its public IPv4 address. A name would have to be asked for outside the tunnel.
	Address netip.Addr
	// Protocol is what carries the tunnel.
	Protocol host.Protocol
	// Port is where the server answers.
	Port int
}

// ToServer lets a container reach a VPN server, and nothing else outside the machine: no name is
// resolved for it either.
func ToServer(server VPNServer) WayOut { return WayOut{server: server} }

// NewTunnel runs a container as a tunnel. Only the package vpn may call it; a test of the
// repository's rules holds every other package off.
func NewTunnel(ctx *pulumi.Context, name string, spec *Spec, opts ...pulumi.ResourceOption) (*VPNTunnel, error) {
	if spec.WayOut.server == (VPNServer{}) {
		return nil, fmt.Errorf("tunnel %s: its way out must be a VPN server's", name)
	}
	container, err := run(ctx, name, spec, role{tunnel: true}, opts)
	if err != nil {
		return nil, err
	}
	return &VPNTunnel{container}, nil
}

// Ready reports a VPNTunnel that NewTunnel did not make.
func (t *VPNTunnel) Ready() error {
	if t == nil || t.container == nil {
		return errors.New("no tunnel: pass the value that workload.NewTunnel returned")
	}
	return nil
}
