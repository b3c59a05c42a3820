package settings

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/vpnserver"
)

func TestBadVPN(t *testing.T) { runBad(t, badVPN) }

var badVPN = []badCase{
	{"vpn-provider", func(c *stackConfig) { c.set("homelab:vpn", object{"provider": "mulvad"}) }},
	{"vpn-empty", func(c *stackConfig) { c.set("homelab:vpn", object{"provider": "mullvad"}) }},
	{"vpn-wireguard", func(c *stackConfig) {
		c.withWireGuard().set("homelab:vpn.wireguard", object{"address": "vpn.example.com", "port": 0, "publicKey": "x", "addresses": list{"172.30.1.9/32", "fc00::1", "10.x"}})
	}},
	{"vpn-openvpn-with-wireguard", func(c *stackConfig) { c.withWireGuard().set("homelab:vpn.provider", "torguard") }},
	{"vpn-no-preshared-key", func(c *stackConfig) { c.withWireGuard().set("homelab:vpn.presharedKey", false) }},
	{"vpn-preshared-key", func(c *stackConfig) { c.withWireGuard().set("homelab:vpn.provider", "ivpn") }},
	{"vpn-secrets", func(c *stackConfig) {
		c.withWireGuard().set("homelab:vpnPrivateKey", "tooshort").drop("homelab:vpnPresharedKey").withSecrets("homelab:vpn.openvpn")
	}},
	{"vpn-file-elsewhere", func(c *stackConfig) {
		c.withOpenVPN().set("homelab:vpnConfiguration", "client\nproto tcp\nremote nl1.example.com 443\nremote 193.138.218.74 1194\nremote-cert-tls server")
	}},
	{"vpn-off-with-torrents", func(c *stackConfig) { c.set("homelab:services.qbittorrent", object{"enabled": true}) }},
	{"vpn-off-and-used", func(c *stackConfig) {
		c.set("homelab:customServices", object{"photos": photos()}).set("homelab:customServices.photos.uses", list{"qbittorrent"})
	}},
	{"vpn-memory", func(c *stackConfig) { c.withWireGuard().set("homelab:server.type", "cx23") }},
	{"downloads-small", func(c *stackConfig) { c.set("homelab:storage.downloads.sizeGB", 4) }},
	{"downloads-large", func(c *stackConfig) { c.set("homelab:storage.downloads.sizeGB", 81) }},
	{"wiring", func(c *stackConfig) {
		c.set("homelab:wiring", object{"enforce": list{"jellyfin"}, "jackettIndexers": list{"all", "1337x", "1337x", "a b"}, "prowlarrIndexers": list{"1337x"}})
	}},
	{"quality-profiles", func(c *stackConfig) {
		c.set("homelab:wiring.qualityProfiles", object{"radarr": list{"hd-bluray-web", "web-1080p", "hd-bluray-web"}, "sonarr": list{"web-1080p"}})
		c.set("homelab:services.radarr", object{"enabled": true})
	}},
	{"quality-profiles-shape", func(c *stackConfig) {
		c.set("homelab:wiring.qualityProfiles", object{"radar": list{}, "sonarr": "web-1080p"})
	}},
	{"quality-profiles-memory", func(c *stackConfig) {
		c.set("homelab:wiring.qualityProfiles", object{"radarr": list{"hd-bluray-web"}}).set("homelab:services.radarr", object{"enabled": true, "memoryMiB": 7936})
	}},
}

func TestVPN(t *testing.T) {
	got, err := run(t, minimal().withWireGuard().set("homelab:vpn.wireguard.addresses", list{"10.67.12.34"}))
	require.NoError(t, err)
	assert.Equal(t, &vpnserver.VPN{
		Provider: "airvpn", Address: netip.MustParseAddr("185.213.154.68"), Port: 1637, Protocol: "udp",
		PublicKey: "8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4=", Addresses: []netip.Prefix{netip.MustParsePrefix("10.67.12.34/32")},
	}, got.VPN)
	assert.Contains(t, names(got), "qbittorrent")

	got, err = run(t, minimal().withOpenVPN())
	require.NoError(t, err)
	assert.Equal(t, &vpnserver.VPN{
		Provider: "privatevpn", Address: netip.MustParseAddr("193.138.218.74"), Port: 1194, Protocol: "udp", Username: "someone", PortForwarding: true,
	}, got.VPN)

	// Off keeps what was configured for the day when it is on again.
	got, err = run(t, minimal().withOpenVPN().set("homelab:vpn.provider", "off"))
	require.NoError(t, err)
	assert.Nil(t, got.VPN)
	assert.NotContains(t, names(got), "qbittorrent")
}

func TestQualityProfiles(t *testing.T) {
	c := minimal().set("homelab:services.radarr", object{"enabled": true})
	got, err := run(t, c.set("homelab:wiring.qualityProfiles", object{"radarr": list{"remux-web-1080p", "hd-bluray-web"}}))
	require.NoError(t, err)
	first, second := got.Wiring.QualityProfiles["radarr"][0], got.Wiring.QualityProfiles["radarr"][1]
	assert.Equal(t, []string{"Remux + WEB 1080p", "HD Bluray + WEB"}, []string{first.Name, second.Name})
	assert.Len(t, got.Wiring.QualityProfiles, 1)
}

func names(s *Settings) []string {
	var out []string
	for _, service := range s.Services {
		out = append(out, service.Name)
	}
	return out
}
