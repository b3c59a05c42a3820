package vpnserver

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

const publicKey = "8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4="

func good() VPN {
	return VPN{
		Provider: "mullvad", Address: netip.MustParseAddr("185.213.154.68"), Port: 51820, Protocol: UDP, PublicKey: publicKey,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.67.12.34/32")},
	}
}

func TestEveryProviderHasOneType(t *testing.T) {
	wire, open := 0, 0
	for _, p := range Providers() {
		assert.True(t, p.Valid(), p)
		switch p.Type() {
		case WireGuard:
			wire++
		case OpenVPN:
			open++
			assert.False(t, p.MayHavePresharedKey(), p)
		default:
			t.Errorf("%s has no type", p)
		}
	}
	assert.Equal(t, []int{9, 15}, []int{wire, open})
	assert.True(t, Off.Valid())
	assert.Empty(t, Off.Type())
	assert.False(t, Provider("surfsharkk").Valid())
}

func TestCheck(t *testing.T) {
	assert.Empty(t, good().Check())
	open := VPN{Provider: "privatevpn", Address: good().Address, Port: 1194, Protocol: TCP, Username: "me", PortForwarding: true}
	assert.Empty(t, open.Check())
	for name, c := range map[string]struct {
		change func(*VPN)
		fields []string
	}{
		"nothing":               {func(v *VPN) { *v = VPN{Provider: "mullvad", Protocol: UDP} }, []string{"wireguard.address", "wireguard.port", "wireguard.publicKey", "wireguard.addresses"}},
		"a private server":      {func(v *VPN) { v.Address = netip.MustParseAddr("192.168.1.1") }, []string{"wireguard.address"}},
		"a documented server":   {func(v *VPN) { v.Address = netip.MustParseAddr("203.0.113.7") }, []string{"wireguard.address"}},
		"a server in a tailnet": {func(v *VPN) { v.Address = netip.MustParseAddr("100.100.1.1") }, []string{"wireguard.address"}},
		"an IPv6 server":        {func(v *VPN) { v.Address = netip.MustParseAddr("2001:db8::1") }, []string{"wireguard.address"}},
		"a short key":           {func(v *VPN) { v.PublicKey = "AAAA" }, []string{"wireguard.publicKey"}},
		"an IPv6 address":       {func(v *VPN) { v.Addresses = append(v.Addresses, netip.MustParsePrefix("fc00::1/128")) }, []string{"wireguard.addresses[1]"}},
		"no forwarding there":   {func(v *VPN) { v.PortForwarding = true }, []string{"portForwarding"}},
		"two ports":             {func(v *VPN) { v.Provider, v.PortForwarding, v.ForwardedPort = "protonvpn", true, 4711 }, []string{"forwardedPort"}},
		"no port":               {func(v *VPN) { v.ForwardedPort = 70000 }, []string{"forwardedPort"}},
		"no login":              {func(v *VPN) { v.Provider = "torguard" }, []string{"openvpn.username"}},
		"no protocol":           {func(v *VPN) { *v = open; v.Protocol = "sctp" }, []string{"openvpn.protocol"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := good()
			c.change(&v)
			var fields []string
			for _, p := range v.Check() {
				fields = append(fields, p.Field)
				assert.NotEmpty(t, p.What)
				assert.NotEmpty(t, p.Remedy)
			}
			assert.Equal(t, c.fields, fields)
		})
	}
}
