package host

import (
	"errors"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Listener is an address and port of the machine on which a container may be published. Only a Host
// makes one, so there is no listener on "all addresses": Docker's published ports bypass the host's
// packet filter, and only the address keeps them in.
type Listener struct {
	address pulumi.StringOutput
	port    int
	host    *Host
}

// PublicListener is HTTPS on the public address, which the firewall opens to Cloudflare alone.
func (h *Host) PublicListener() Listener {
	return Listener{address: h.publicIPv4, port: h.httpsPort, host: h}
}

// TailnetListener is HTTPS on the tailnet's address.
func (h *Host) TailnetListener() Listener {
	return Listener{address: h.tailnetIPv4, port: h.httpsPort, host: h}
}

// Validate reports a Listener that no Host made.
func (l Listener) Validate() error {
	if l.host == nil || l.port == 0 {
		return errors.New("no listener: only host.Host makes one, by PublicListener or TailnetListener")
	}
	return nil
}

// Address is the IP address to publish on.
func (l Listener) Address() pulumi.StringOutput { return l.address }

// Port is the TCP port to publish on.
func (l Listener) Port() int { return l.port }
