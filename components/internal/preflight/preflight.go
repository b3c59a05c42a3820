// Package preflight looks, on the computer that deploys, for what would stop a deployment half way.
package preflight

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"homelab/components/internal/grants"
)

// ErrOffTailnet is the error of a computer that is not on a tailnet.
var ErrOffTailnet = errors.New("this computer is not on the tailnet, and the server can be reached in no other way. " +
	"Nothing was changed. Start Tailscale here, log in as one of homelab:tailscale.admins (tailscale up), and deploy again. " +
	"If the tailnet itself is lost, homelab:server.breakGlass opens another way")

// service is an address that Tailscale answers itself, on every computer of a tailnet. A Linux in a
// virtual machine that reaches the tailnet through its host, such as WSL, has no address of the
// tailnet but reaches this. Source: Tailscale's documentation of MagicDNS.
const service = "100.100.100.100:53"

// patience is how long the service may take to answer: it is on this computer.
const patience = 3 * time.Second

// OnTailnet returns ErrOffTailnet where this computer is on no tailnet. It cannot tell which
// tailnet that is.
func OnTailnet(ctx context.Context) error {
	dialer := &net.Dialer{Timeout: patience}
	return onTailnet(net.InterfaceAddrs, func() error {
		connection, err := dialer.DialContext(ctx, "tcp", service)
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

func onTailnet(addresses func() ([]net.Addr, error), dial func() error) error {
	// Where the addresses cannot be listed, the service decides.
	own, _ := addresses()
	if slices.ContainsFunc(own, ofTailnet) || dial() == nil {
		return nil
	}
	return ErrOffTailnet
}

// ofTailnet reports whether Tailscale gave the address.
func ofTailnet(address net.Addr) bool {
	prefix, err := netip.ParsePrefix(address.String())
	given := func(r netip.Prefix) bool { return r.Contains(prefix.Addr()) }
	return err == nil && slices.ContainsFunc(grants.Ranges(), given)
}
