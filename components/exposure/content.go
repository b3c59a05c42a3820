package exposure

import (
	"fmt"
	"net/netip"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// tailnet is the range that Tailscale gives its nodes
// (https://tailscale.com/kb/1015/100.x-addresses).
var tailnet = netip.MustParsePrefix("100.64.0.0/10")

// public reports an address to which no public hostname may point.
func public(a netip.Addr) error {
	if !a.Is4() || a.IsUnspecified() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || tailnet.Contains(a) {
		return fmt.Errorf("%s is not a public IPv4 address", a)
	}
	return nil
}

// inTailnet reports an address to which no hostname of the tailnet may point: its record stands
// without Cloudflare in front.
func inTailnet(a netip.Addr) error {
	if !tailnet.Contains(a) {
		return fmt.Errorf("%s is not an address of the tailnet (%s)", a, tailnet)
	}
	return nil
}

// checked is a record's content. Cloudflare's provider looks at it no closer than that it is text.
func checked(address pulumi.StringOutput, check func(netip.Addr) error) pulumi.StringOutput {
	return address.ApplyT(func(text string) (string, error) { return content(text, check) }).(pulumi.StringOutput)
}

func content(text string, check func(netip.Addr) error) (string, error) {
	address, err := netip.ParseAddr(text)
	if err == nil {
		err = check(address)
	}
	if err != nil {
		return "", fmt.Errorf("publishing the server's address: %w", err)
	}
	return address.String(), nil
}
