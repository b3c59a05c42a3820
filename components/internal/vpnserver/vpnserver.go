// Package vpnserver describes the VPN that the torrent client is behind: whose it is, where its
// server is, and what that provider needs.
package vpnserver

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"homelab/components/internal/internet"
)

// Provider is whose VPN it is, named as Gluetun names it.
type Provider string

// Off is no VPN: then there is nothing that would need one.
const Off Provider = "off"

// Type is the protocol of a tunnel.
type Type string

// The types of tunnels.
const (
	WireGuard Type = "wireguard"
	OpenVPN   Type = "openvpn"
)

// UDP and TCP carry a tunnel; WireGuard's is always UDP.
const (
	UDP = "udp"
	TCP = "tcp"
)

// wireGuard are the providers with WireGuard, and whether they give a preshared key (qdm12/gluetun
// at v3.41.3, internal/configuration/settings; gluetun-wiki, setup/providers). OpenVPN is not
// offered for them: it is slower and has more to configure.
var wireGuard = map[Provider]presharedKey{
	"airvpn": required, "custom": possible, "fastestvpn": none, "ivpn": none, "mullvad": none,
	"nordvpn": none, "protonvpn": none, "surfshark": none, "windscribe": required,
}

type presharedKey int

const (
	none presharedKey = iota
	possible
	required
)

// openVPN are the providers for which Gluetun 3.41 knows nothing but OpenVPN.
var openVPN = []Provider{
	"cyberghost", "expressvpn", "giganews", "hidemyass", "ipvanish", "perfect privacy", "privado", "private internet access",
	"privatevpn", "purevpn", "slickvpn", "torguard", "vpn unlimited", "vpnsecure", "vyprvpn",
}

// forwarding are the providers that forward a port on request, and work in Gluetun without its own
// list of servers (internal/provider of the same version). Private Internet Access needs the list.
var forwarding = []Provider{"perfect privacy", "privatevpn", "protonvpn"}

// Providers are all there are, sorted, without Off.
func Providers() []Provider {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(wireGuard)), openVPN...)))
}

// Valid reports whether there is such a provider.
func (p Provider) Valid() bool { return p == Off || slices.Contains(Providers(), p) }

// Type is the protocol that is used with the provider; empty without a VPN.
func (p Provider) Type() Type {
	switch {
	case p == Off:
		return ""
	case slices.Contains(openVPN, p):
		return OpenVPN
	}
	return WireGuard
}

// NeedsPresharedKey reports whether the provider always gives a preshared key.
func (p Provider) NeedsPresharedKey() bool { return wireGuard[p] == required }

// MayHavePresharedKey reports whether a preshared key makes sense with the provider.
func (p Provider) MayHavePresharedKey() bool { return wireGuard[p] != none }

// VPN is a VPN without its keys.
type VPN struct {
	// Provider is whose it is.
	Provider Provider
	// Address is the server's public IPv4 address. A name is not enough: it would have to be asked
	// for outside the tunnel, and the packet filter lets nothing else out.
	Address netip.Addr
	// Port is where the server answers.
	Port int
	// Protocol carries the tunnel: UDP or TCP.
	Protocol string
	// PublicKey is the server's, with WireGuard.
	PublicKey string
	// Addresses are the machine's own in the tunnel, with WireGuard.
	Addresses []netip.Prefix
	// Username is the login, with OpenVPN.
	Username string
	// PortForwarding asks the provider for a port by which others may connect.
	PortForwarding bool
	// ForwardedPort is a port that the provider forwards always; 0 means none.
	ForwardedPort int
}

// Problem is something wrong with a VPN.
type Problem struct {
	// Field is where, as the settings call it, such as wireguard.address.
	Field string
	// What is what is wrong.
	What string
	// Remedy is what to do about it.
	Remedy string
}

// Check returns everything wrong with a VPN that is not off.
func (v VPN) Check() []Problem {
	var out []Problem
	add := func(field, what, remedy string) { out = append(out, Problem{field, what, remedy}) }
	group := string(v.Provider.Type()) + "."
	a := v.Address
	switch {
	case !a.IsValid():
		add(group+"address", "is missing or no address", "write the server's IPv4 address from your provider's configuration file (Endpoint or remote); "+
			"a name would be asked for outside the tunnel")
	case !a.Is4():
		add(group+"address", a.String()+" is not an IPv4 address", "use the server's IPv4 address: containers have no IPv6")
	case !internet.Public(a):
		add(group+"address", a.String()+" is not a public address", "write the address that the internet knows the server by")
	}
	if v.Port < 1 || v.Port > 65535 {
		add(group+"port", fmt.Sprintf("must be between 1 and 65535, is %d", v.Port), "write the port from your provider's configuration file")
	}
	if v.Provider.Type() == OpenVPN {
		v.checkOpenVPN(add)
	} else {
		v.checkWireGuard(add)
	}
	if v.PortForwarding && !slices.Contains(forwarding, v.Provider) {
		add("portForwarding", fmt.Sprintf("is not possible with %s", v.Provider), "remove it; a fixed port, which some providers have on their site, goes into forwardedPort")
	}
	if v.ForwardedPort < 0 || v.ForwardedPort > 65535 {
		add("forwardedPort", fmt.Sprintf("must be between 1 and 65535, is %d", v.ForwardedPort), "write the port that your provider forwards, or remove it")
	}
	if v.PortForwarding && v.ForwardedPort != 0 {
		add("forwardedPort", "is given, and portForwarding asks for another", "remove one of the two")
	}
	return out
}

func (v VPN) checkOpenVPN(add func(field, what, remedy string)) {
	if v.Protocol != UDP && v.Protocol != TCP {
		add("openvpn.protocol", fmt.Sprintf("%q is no protocol of a tunnel", v.Protocol), "use udp or tcp, as your provider's configuration file says")
	}
	if strings.TrimSpace(v.Username) == "" {
		add("openvpn.username", "is missing", fmt.Sprintf("write the login for OpenVPN, which %s may give beside that of its site", v.Provider))
	}
}

func (v VPN) checkWireGuard(add func(field, what, remedy string)) {
	if key, err := base64.StdEncoding.Strict().DecodeString(v.PublicKey); err != nil || len(key) != 32 {
		add("wireguard.publicKey", "is not a WireGuard key", "write the PublicKey of the [Peer] in your provider's configuration file")
	}
	if len(v.Addresses) == 0 {
		add("wireguard.addresses", "is missing", "list the IPv4 Address of the [Interface] in your provider's configuration file")
	}
	for i, a := range v.Addresses {
		if !a.Addr().Is4() {
			add(fmt.Sprintf("wireguard.addresses[%d]", i), a.String()+" is not IPv4", "remove it: containers have no IPv6")
		}
	}
}
