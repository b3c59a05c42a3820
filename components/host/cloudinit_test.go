package host

import (
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func values() bootValues {
	return bootValues{
		Hostname: "homelab-a1b2c3", Timezone: "Europe/Berlin", HTTPSPort: 443, SSHPort: 22, TailscalePort: 41641,
		Networks:       []netip.Prefix{netip.MustParsePrefix("172.30.1.0/24"), netip.MustParsePrefix("172.30.2.0/24"), netip.MustParsePrefix("172.30.3.0/24")},
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
	assert.NotContains(t, got, "NOPASSWD: ALL", "a deployment may run its own programs as root, not everything")
}

// What cloud-init runs before everything else, on an image with systemd-resolved and on one without:
// it restarts the resolver once, when the settings are new to it, and never fails a boot.
func TestTheResolverIsQuietFromTheFirstCommand(t *testing.T) {
	got, err := renderCloudInit(values())
	require.NoError(t, err)
	var read struct {
		BootCmd [][]string `yaml:"bootcmd"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(got), &read))
	require.Len(t, read.BootCmd, 1)
	root := t.TempDir()
	settings, unit := root+"/etc/systemd/resolved.conf.d/10-homelab.conf", root+"/usr/lib/systemd/system/systemd-resolved.service"
	require.NoError(t, os.Mkdir(root+"/bin", 0o755))
	require.NoError(t, os.WriteFile(root+"/bin/systemctl", []byte("#!/bin/sh\necho \"$*\" >>"+root+"/asked\n"), 0o755))
	boot := func() (restarts int) {
		t.Helper()
		words := slices.Clone(read.BootCmd[0])
		require.Equal(t, 2, strings.Count(words[2], "/systemd/resolved.conf.d/")+strings.Count(words[2], "/usr/lib/systemd/"))
		words[2] = strings.NewReplacer("/etc/systemd/", root+"/etc/systemd/", "/usr/lib/systemd/", root+"/usr/lib/systemd/").Replace(words[2])
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env = []string{"PATH=" + root + "/bin:" + os.Getenv("PATH")}
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", said)
		assert.Empty(t, string(said))
		text, err := os.ReadFile(settings)
		require.NoError(t, err)
		assert.Equal(t, "[Resolve]\nLLMNR=no\nMulticastDNS=no\n", string(text))
		asked, err := os.ReadFile(root + "/asked")
		if err != nil {
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		return strings.Count(string(asked), "try-restart systemd-resolved.service\n")
	}
	assert.Zero(t, boot(), "an image without it")
	require.NoError(t, os.RemoveAll(root+"/etc"))
	require.NoError(t, os.MkdirAll(filepath.Dir(unit), 0o755))
	require.NoError(t, os.WriteFile(unit, nil, 0o600))
	assert.Equal(t, 1, boot(), "the first boot")
	info, err := os.Stat(settings)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode().Perm(), "the resolver is not root")
	assert.Equal(t, 1, boot(), "later boots find the settings")
	require.NoError(t, os.WriteFile(settings, nil, 0o600))
	assert.Equal(t, 2, boot(), "a power cut left half of it")
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

func TestDockerPool(t *testing.T) {
	prefixes := func(all ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, text := range all {
			out = append(out, netip.MustParsePrefix(text))
		}
		return out
	}
	for want, taken := range map[string][]netip.Prefix{
		"172.18.0.0/16": prefixes("172.30.1.0/24", "10.0.0.0/8"),
		"172.20.0.0/16": prefixes("172.18.7.0/24", "172.19.0.0/16"),
		"172.24.0.0/16": prefixes("172.16.0.0/13"),
	} {
		got, err := dockerPool(taken)
		require.NoError(t, err)
		assert.Equal(t, want, got.String())
		assert.False(t, got.Overlaps(netip.MustParsePrefix("100.64.0.0/10")))
		assert.False(t, got.Overlaps(dockerBridge))
	}
	_, err := dockerPool(prefixes("172.16.0.0/12"))
	assert.ErrorContains(t, err, "leave none")
}

func TestRanges(t *testing.T) {
	got, err := renderRanges([]string{"198.51.100.0/24", "2001:db8::/32", "192.0.2.0/24"})
	require.NoError(t, err)
	assert.Equal(t, `# Cloudflare's ranges, from which alone the proxy is reached over the internet.
add element inet homelab cloudflare4 { 192.0.2.0/24, 198.51.100.0/24 }
add element inet homelab cloudflare6 { 2001:db8::/32 }
`, got)
	_, err = renderRanges([]string{"192.0.2.0/24 } ; flush ruleset"})
	assert.Error(t, err, "a rule came in as a range")
}

func TestUnitsOfOthersAreRefused(t *testing.T) {
	for _, name := range []string{"ssh.service", "homelab.socket", "homelab-x.service/../ssh.service", "mnt-other.mount", "homelab-.timer", "homelab x.service", ""} {
		assert.Error(t, Unit{Name: name, Content: pulumi.String("")}.Validate(), "%q", name)
	}
	for _, name := range []string{"homelab.target", "homelab-backup.timer", "homelab-media-watch.service", "mnt-storagebox.mount"} {
		assert.NoError(t, Unit{Name: name, Content: pulumi.String("")}.Validate(), "%q", name)
	}
}
