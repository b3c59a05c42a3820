package host

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func values() bootValues {
	return bootValues{
		Hostname: "homelab-a1b2c3", Timezone: "Europe/Berlin", SSHPort: 22, TailscalePort: 41641,
		HostPrivateKey: "-----BEGIN OPENSSH PRIVATE KEY-----\nhost\n-----END OPENSSH PRIVATE KEY-----\n",
		HostPublicKey:  "ssh-ed25519 AAAAhost", RecoveryKey: "ssh-ed25519 AAAArecovery", NodeKey: "tskey-auth-node",
	}
}

func TestCloudInit(t *testing.T) {
	got, err := renderCloudInit(values())
	require.NoError(t, err)
	const golden = "testdata/cloud-init.golden"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
	assert.Less(t, len(got), maxUserData*3/4, "there must be room for the keys that the golden abbreviates")

	var read map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(got), &read))
	assert.Equal(t, false, read["ssh_pwauth"])
	assert.NotContains(t, got, "NOPASSWD: ALL", "a deployment may run its two programs as root, not everything")
}

func TestCloudInitThatHetznerWouldRefuse(t *testing.T) {
	v := values()
	v.HostPrivateKey = strings.Repeat("x", maxUserData)
	_, err := renderCloudInit(v)
	assert.ErrorContains(t, err, "Hetzner takes at most 32768")
}

func TestFirstIPv4(t *testing.T) {
	got, err := firstIPv4([]string{"fd7a:115c:a1e0::1", "100.64.0.1"})
	require.NoError(t, err)
	assert.Equal(t, "100.64.0.1", got)
	for _, bad := range [][]string{nil, {"fd7a:115c:a1e0::1"}, {"homelab"}} {
		_, err := firstIPv4(bad)
		assert.Error(t, err, "%q", bad)
	}
}
