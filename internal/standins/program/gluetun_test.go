package main

import (
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/vpnkeys"
)

// What needs a network of its own, the tunnel and its kill switch, is tried in
// internal/machine/internal/vpn, against the server of a rehearsal.

const oneRole = "[[roles]]\nname = \"health\"\nroutes = [\"GET /v1/vpn/status\"]\nauth = \"none\"\n"

// gluetunMachine has what the deployment gives Gluetun, with WireGuard or with OpenVPN.
func gluetunMachine(t *testing.T) (m *machine, wireGuard, openVPN map[string]string) {
	t.Helper()
	m = newMachine(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	common := map[string]string{
		"VPN_SERVICE_PROVIDER": "custom", "HTTP_CONTROL_SERVER_ADDRESS": "127.0.0.1:8000", "VPN_INTERFACE": "tun0", "HEALTH_SERVER_ADDRESS": free.Addr().String(),
	}
	wireGuard = maps.Clone(common)
	maps.Copy(wireGuard, map[string]string{
		"VPN_TYPE": "wireguard", "WIREGUARD_ENDPOINT_IP": "185.213.154.68", "WIREGUARD_ENDPOINT_PORT": "51820",
		"WIREGUARD_PUBLIC_KEY": "8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4=", "WIREGUARD_ADDRESSES": "10.67.12.34/32,10.67.12.35/32",
		"WIREGUARD_PRIVATE_KEY_SECRETFILE": "/run/secrets/wireguard_private_key", "FIREWALL_VPN_INPUT_PORTS": "4711",
	})
	openVPN = maps.Clone(common)
	maps.Copy(openVPN, map[string]string{
		"VPN_TYPE": "openvpn", "OPENVPN_ENDPOINT_PORT": "1195", "OPENVPN_CUSTOM_CONFIG": "/run/secrets/openvpn.conf",
		"OPENVPN_USER_SECRETFILE": "/run/secrets/openvpn_user", "OPENVPN_PASSWORD_SECRETFILE": "/run/secrets/openvpn_password",
	})
	m.write("/run/secrets/wireguard_private_key", vpnkeys.Text(make([]byte, vpnkeys.Bytes))+"\n")
	for _, name := range []string{"openvpn.conf", "openvpn_user", "openvpn_password"} {
		m.write("/run/secrets/"+name, "x\n")
	}
	m.write("/gluetun/auth/config.toml", oneRole)
	return m, wireGuard, openVPN
}

func TestGluetunReadsItsSettings(t *testing.T) {
	m, env, _ := gluetunMachine(t)
	_, p, _ := m.process(env, "/gluetun-entrypoint")
	got, err := p.gluetunSettings()
	require.NoError(t, err)
	assert.False(t, got.openVPN)
	assert.Equal(t, "tun0", got.tunnel.Interface)
	assert.Equal(t, "eth0", got.tunnel.Outside)
	assert.Equal(t, "185.213.154.68:51820", got.tunnel.Server.String())
	assert.Equal(t, []uint16{4711}, got.tunnel.Ports)
	assert.Equal(t, []string{"GET /v1/vpn/status"}, got.routes)
	require.Len(t, got.tunnel.Addresses, 2)
	assert.Equal(t, "10.67.12.35/32", got.tunnel.Addresses[1].String())
	assert.True(t, got.tunnel.Key.Equal(vpnkeys.Client()), "the declared key is only looked at")
	assert.True(t, got.tunnel.Peer.Equal(vpnkeys.Server().PublicKey()))
}

func TestGluetunRefusesWrongSettings(t *testing.T) {
	m, env, openVPN := gluetunMachine(t)
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
	m.write("/run/secrets/short", secret)
	m.write("/run/secrets/empty", "\n")
	m.write("/gluetun/auth/password.toml", oneRole+"[[roles]]\nroutes = [\"GET /v1/publicip/ip\"]\nauth = \"basic\"\n")
	for _, c := range []struct{ name, wrong, says string }{
		{"VPN_TYPE", "none", `no VPN_TYPE "none"`},
		{"VPN_SERVICE_PROVIDER", "mullvad", "the server's address must be given"},
		{"VPN_INTERFACE", "", "VPN_INTERFACE is not set"},
		{"WIREGUARD_PRIVATE_KEY_SECRETFILE", "/nothing", "no such file"},
		{"WIREGUARD_PRIVATE_KEY_SECRETFILE", "/run/secrets/empty", "is empty"},
		{"WIREGUARD_PRIVATE_KEY_SECRETFILE", "/run/secrets/short", "has no WireGuard key"},
		{"WIREGUARD_PRESHARED_KEY_SECRETFILE", "/run/secrets/short", "has no WireGuard key"},
		{"WIREGUARD_PUBLIC_KEY", "x", "WIREGUARD_PUBLIC_KEY is no WireGuard key"},
		{"WIREGUARD_ENDPOINT_IP", "vpn.example.com", "WIREGUARD_ENDPOINT_IP"},
		{"WIREGUARD_ENDPOINT_IP", "2001:db8::1", "is not an IPv4 address"},
		{"WIREGUARD_ENDPOINT_PORT", "0", `"0" is no port`},
		{"WIREGUARD_ADDRESSES", "10.67.12.34", "WIREGUARD_ADDRESSES"},
		{"WIREGUARD_ADDRESSES", "fc00::2/128", "is not an IPv4 address"},
		{"FIREWALL_VPN_INPUT_PORTS", "4711,x", `"x" is no port`},
		{"FIREWALL_INPUT_PORTS", "80", "does not know FIREWALL_INPUT_PORTS"},
		{"FIREWALL_OUTBOUND_SUBNETS", "10.0.0.0/8", "does not know FIREWALL_OUTBOUND_SUBNETS"},
		{"HTTP_CONTROL_SERVER_ADDRESS", "0.0.0.0:8000", "not on the container's loopback"},
		{"HTTP_CONTROL_SERVER_AUTH_CONFIG_FILEPATH", "/nothing", "who may ask the control server is not said"},
		{"HTTP_CONTROL_SERVER_AUTH_CONFIG_FILEPATH", "/gluetun/auth/password.toml", "does not know"},
	} {
		wrong := maps.Clone(env)
		wrong[c.name] = c.wrong
		said := m.refused(wrong, "/gluetun-entrypoint")
		assert.Contains(t, said, c.says, "%s=%s", c.name, c.wrong)
		assert.NotContains(t, said, secret)
	}
	delete(openVPN, "OPENVPN_USER_SECRETFILE")
	assert.Contains(t, m.refused(openVPN, "/gluetun-entrypoint"), "OPENVPN_USER_SECRETFILE is not set")
	assert.Contains(t, m.refused(env, "/gluetun-entrypoint", "format-servers"), "unknown arguments")
}

func TestGluetunHasNoOpenVPN(t *testing.T) {
	m, _, env := gluetunMachine(t)
	assert.Contains(t, m.refused(env, "/gluetun-entrypoint", "healthcheck"), "connection refused", "it does not run")
	r := m.start(env, "/gluetun-entrypoint")
	assert.Equal(t, "stopped", field(t, r.answers(200, "GET", "/v1/vpn/status", ""), "status"))
	r.answers(401, "PUT", "/v1/vpn/status", `{"status":"stopped"}`)
	r.answers(401, "GET", "/v1/publicip/ip", "")
	r.answers(401, "GET", "/v1/portforward", "")
	require.Eventually(t, func() bool {
		return strings.Contains(m.refused(env, "/gluetun-entrypoint", "healthcheck"), "never healthy")
	}, 20*time.Second, 50*time.Millisecond)
	assert.Contains(t, r.out.String(), "never healthy")
}

func TestGluetunsControlServerAnswersWhatARoleMayAsk(t *testing.T) {
	m, _, env := gluetunMachine(t)
	m.write("/gluetun/auth/config.toml", strings.Replace(oneRole, `/v1/vpn/status"`, `/v1/publicip/ip", "GET /v1/portforward", "GET /v1/vpn/settings"`, 1))
	r := m.start(env, "/gluetun-entrypoint")
	assert.JSONEq(t, `{"public_ip":""}`, r.answers(200, "GET", "/v1/publicip/ip", ""))
	assert.JSONEq(t, `{"port":0}`, r.answers(200, "GET", "/v1/portforward", ""))
	r.answers(401, "GET", "/v1/vpn/status", "")
	assert.Contains(t, r.answers(404, "GET", "/v1/vpn/settings", ""), "the stand-in does not know")
}
