package vpn

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/containerrules"
	"homelab/components/internal/vpnserver"
)

const (
	testPatience = 20 * time.Second
	testInterval = 20 * time.Millisecond
)

func wireGuard() *Args {
	return &Args{
		VPN: vpnserver.VPN{
			Provider: "protonvpn", Address: netip.MustParseAddr("185.213.154.68"), Port: 51820, Protocol: vpnserver.UDP,
			PublicKey: "8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4=", Addresses: []netip.Prefix{netip.MustParsePrefix("10.2.0.2/32")}, PortForwarding: true,
		},
		PrivateKey: pulumi.String("private"), ClientPort: 8080, Timezone: "Etc/UTC",
	}
}

func openVPN() *Args {
	return &Args{
		VPN:           vpnserver.VPN{Provider: "torguard", Address: netip.MustParseAddr("193.138.218.74"), Port: 1195, Protocol: vpnserver.TCP, Username: "me", ForwardedPort: 4711},
		Configuration: pulumi.String("remote"), Password: pulumi.String("password"), ClientPort: 8080, Timezone: "Etc/UTC",
	}
}

func TestEnvironment(t *testing.T) {
	env := environment(wireGuard())
	for key, want := range map[string]string{
		"VPN_SERVICE_PROVIDER": "custom", "VPN_TYPE": "wireguard", "WIREGUARD_ENDPOINT_IP": "185.213.154.68", "WIREGUARD_ENDPOINT_PORT": "51820",
		"WIREGUARD_ADDRESSES": "10.2.0.2/32", "VPN_PORT_FORWARDING": "on", "VPN_PORT_FORWARDING_PROVIDER": "protonvpn",
		"HTTP_CONTROL_SERVER_ADDRESS": "127.0.0.1:8000", "VPN_INTERFACE": "tun0", "WIREGUARD_PRIVATE_KEY_SECRETFILE": "/run/secrets/wireguard_private_key",
	} {
		assert.Equal(t, want, env[key], key)
	}
	env = environment(openVPN())
	for key, want := range map[string]string{
		"VPN_TYPE": "openvpn", "OPENVPN_ENDPOINT_PORT": "1195", "FIREWALL_VPN_INPUT_PORTS": "4711", "VPN_PORT_FORWARDING": "", "WIREGUARD_ADDRESSES": "",
	} {
		assert.Equal(t, want, env[key], key)
	}
	for _, env := range []map[string]string{environment(wireGuard()), env} {
		for key := range env {
			assert.False(t, containerrules.SecretVariable.MatchString(key), key)
		}
	}
}

// Gluetun 3.41 warns about a secret that it cannot read, and goes on without it.
func TestEverySecretThatIsNamedIsThere(t *testing.T) {
	preshared := wireGuard()
	preshared.VPN.Provider, preshared.VPN.PortForwarding, preshared.PresharedKey = "airvpn", false, pulumi.String("x")
	for _, args := range []*Args{wireGuard(), preshared, openVPN()} {
		files := map[string]bool{}
		for _, f := range folders(args) {
			for _, file := range f.Files {
				files[f.Target+"/"+file.Base] = true
			}
		}
		for key, value := range environment(args) {
			if strings.HasPrefix(value, secretFolder) {
				assert.True(t, files[value], "%s=%s", key, value)
			}
		}
		assert.True(t, files["/gluetun/auth/config.toml"])
	}
}

func TestValidate(t *testing.T) {
	bad := &Args{VPN: vpnserver.VPN{Provider: "mullvad"}, PresharedKey: pulumi.String("x")}
	err := bad.Validate()
	for _, problem := range []string{"no host", "no network", "wireguard.address is missing", "needs a private key", "mullvad has no preshared keys", "port 0 of the torrent client"} {
		assert.ErrorContains(t, err, problem)
	}
	assert.ErrorContains(t, (&Args{VPN: vpnserver.VPN{Provider: "torguard"}}).Validate(), "needs the provider's file and a password")
	assert.ErrorContains(t, (&Args{VPN: vpnserver.VPN{Provider: "off"}}).Validate(), `"off" is no provider`)
	_, err = New(nil, bad)
	require.Error(t, err)
	require.Error(t, (&Tunnel{}).Ready())
	assert.Nil(t, (*Tunnel)(nil).Network())
}

// The client is told what the latest call wants, even by one that waited for it to start.
func TestForwarded(t *testing.T) {
	dir := t.TempDir()
	wget := "#!/bin/sh\n[ -e " + dir + "/up ] || exit 4\ncat " + dir + "/wanted >>" + dir + "/told\necho \" $*\" >>" + dir + "/told\n"
	require.NoError(t, os.WriteFile(dir+"/wget", []byte(wget), 0o755))
	script := strings.NewReplacer("/tmp/gluetun", dir, "sleep 5", "sleep 0.1").Replace(forwardedProgram)
	require.NotEqual(t, forwardedProgram, script)
	call := func(words ...string) {
		cmd := exec.Command("sh", append([]string{"-c", script, "forwarded"}, words...)...)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "CLIENT_PORT=8080"}
		require.NoError(t, cmd.Run())
	}
	call("40000", "tun0")
	call("50000", "tun0")
	require.NoError(t, os.WriteFile(dir+"/up", nil, 0o600))
	told := func() string { text, _ := os.ReadFile(dir + "/told"); return string(text) }
	require.Eventually(t, func() bool { return strings.Count(told(), "\n") == 2 }, testPatience, testInterval)
	assert.Equal(t, 2, strings.Count(told(), `json={"listen_port":50000,"random_port":false,"current_network_interface":"tun0"}`))
	assert.NotContains(t, told(), "40000")
	assert.Contains(t, told(), "http://127.0.0.1:8080/api/v2/app/setPreferences")
	call("0", "lo")
	require.Eventually(t, func() bool {
		return strings.Contains(told(), `"listen_port":0,"random_port":false,"current_network_interface":"lo"`)
	}, testPatience, testInterval)
}
