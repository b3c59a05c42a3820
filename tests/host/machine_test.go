//go:build host

package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// boot is the first boot of a simulated machine: its user data, and the options with which Docker's
// provider starts ssh.
type boot struct {
	userData   string
	files      map[string]string
	sshOptions []string
	units      map[string]string
	ranges     string
}

func newBoot(t *testing.T) *boot {
	t.Helper()
	w := simulate(t, nil)
	b := &boot{units: map[string]string{}, userData: w.World().Machines()[0].UserData}
	b.files = bootFiles(t, b.userData)
	for _, c := range w.World().Commands("") {
		if m := putUnit.FindStringSubmatch(c.Script); m != nil {
			b.units[m[1]] = c.Stdin
		}
		if strings.HasSuffix(c.Script, "/firewall/cloudflare.nft") && c.Stdin != "" {
			b.ranges = c.Stdin
		}
	}
	deployment, err := w.Deployment()
	require.NoError(t, err)
	for _, r := range deployment.Resources {
		if r.Type != "pulumi:providers:docker" {
			continue
		}
		// Providers keep lists as JSON text; the engine's file may hold either.
		list, ok := r.Inputs["sshOpts"].([]any)
		if !ok {
			text, _ := r.Inputs["sshOpts"].(string)
			require.NoError(t, json.Unmarshal([]byte(text), &list), "%v", r.Inputs["sshOpts"])
		}
		for _, option := range list {
			b.sshOptions = append(b.sshOptions, fmt.Sprint(option))
		}
	}
	require.NotEmpty(t, b.sshOptions)
	return b
}

// bootFiles are the files that cloud-init writes, by path.
func bootFiles(t *testing.T, userData string) map[string]string {
	t.Helper()
	var config struct {
		WriteFiles []struct{ Path, Content string } `yaml:"write_files"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(userData), &config))
	out := map[string]string{}
	for _, f := range config.WriteFiles {
		out[f.Path] = f.Content
	}
	return out
}

func (b *boot) save(t *testing.T, name, path string) string {
	t.Helper()
	require.NotEmpty(t, b.files[path], path)
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(b.files[path]), 0o600))
	return file
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return string(out)
}

var ourProgram = regexp.MustCompile(`(/opt/homelab/(alerts|downloads|firewall|media|state)|/usr/local/sbin)/homelab-[\w-]+`)

// The programs that will read the files of the first boot accept them.
func TestTheFirstBootIsAccepted(t *testing.T) {
	b := newBoot(t)
	dir := t.TempDir()
	assert.LessOrEqual(t, len(b.userData), 32<<10)

	t.Run("cloud-init", func(t *testing.T) {
		require.NoError(t, os.WriteFile(dir+"/user-data", []byte(b.userData), 0o600))
		run(t, "cloud-init", "schema", "--config-file", dir+"/user-data")
	})
	t.Run("bash", func(t *testing.T) {
		scripts := 0
		for path, content := range b.files {
			if strings.HasPrefix(content, "#!/bin/bash\n") {
				scripts++
				run(t, "bash", "-n", b.save(t, "script", path))
			}
		}
		assert.Equal(t, 5, scripts)
	})
	t.Run("sudo", func(t *testing.T) {
		run(t, "visudo", "--check", "--file", b.save(t, "sudoers", "/etc/sudoers.d/homelab"))
	})
	t.Run("sshd", func(t *testing.T) {
		require.NoError(t, os.MkdirAll("/run/sshd", 0o755))
		key := dir + "/host-key"
		run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
		config := strings.ReplaceAll(b.files["/etc/ssh/sshd_config.d/10-homelab.conf"], "/etc/ssh/ssh_host_ed25519_key", key)
		require.NoError(t, os.WriteFile(dir+"/sshd_config", []byte(config), 0o600))
		effective := run(t, "sshd", "-T", "-f", dir+"/sshd_config")
		for _, line := range []string{
			"passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no", "permitemptypasswords no", "allowusers deploy",
			"maxstartups 100:30:200", "maxsessions 100", "authenticationmethods publickey",
		} {
			assert.Contains(t, effective, line+"\n")
		}
	})
	t.Run("systemd", func(t *testing.T) {
		units := map[string]string{"homelab-firewall.service": b.files["/etc/systemd/system/homelab-firewall.service"]}
		for name, content := range b.units {
			// The programs are not on this machine; that they are there is what the deployment's
			// own check says.
			units[name] = ourProgram.ReplaceAllString(content, "/bin/true")
		}
		folder := t.TempDir()
		for name, content := range units {
			require.NoError(t, os.WriteFile(folder+"/"+name, []byte(content), 0o600))
		}
		for name := range units {
			if strings.Contains(name, "backup") || strings.Contains(name, "restore") {
				continue // with the tests of the backup
			}
			out, err := exec.Command("systemd-analyze", "verify", "--man=no", folder+"/"+name).CombinedOutput()
			assert.NoError(t, err, "%s: %s", name, out)
			assert.NotContains(t, string(out), name, "systemd says something about it")
		}
	})
	t.Run("apt", func(t *testing.T) {
		dump := run(t, "apt-config", "dump", "--config-file", b.save(t, "apt", "/etc/apt/apt.conf.d/60homelab"))
		assert.Contains(t, dump, `Unattended-Upgrade::Automatic-Reboot "true";`)
	})
	t.Run("sysctl", func(t *testing.T) {
		for _, line := range strings.Split(strings.TrimSpace(b.files["/etc/sysctl.d/80-homelab.conf"]), "\n") {
			key, _, found := strings.Cut(line, " = ")
			require.True(t, found, "%q", line)
			if _, err := os.Stat("/proc/sys/" + strings.ReplaceAll(key, ".", "/")); err != nil {
				t.Logf("this kernel has no %s", key)
			}
		}
	})
	t.Run("dockerd", func(t *testing.T) {
		help, err := exec.Command("dockerd", "--help").CombinedOutput()
		if err != nil || !bytes.Contains(help, []byte("--validate")) {
			t.Log("no dockerd here that can validate (Docker 23 and later): the settings are checked by their types alone")
			return
		}
		run(t, "dockerd", "--validate", "--config-file", b.save(t, "daemon.json", "/etc/docker/daemon.json"))
	})
}

// writeFilter writes the packet filter of a first boot into a folder: it includes the files of the
// deployment from a pattern, and ends with more.
func writeFilter(t *testing.T, boot map[string]string, folder, files, more string) {
	t.Helper()
	const base, include = "/etc/homelab/base.nft", "/opt/homelab/firewall/*.nft"
	whole := boot["/etc/homelab/firewall.nft"]
	require.Equal(t, 2, strings.Count(whole, `include "`))
	require.Contains(t, whole, `"`+base+`"`)
	require.Contains(t, whole, `"`+include+`"`)
	require.NotEmpty(t, boot[base])
	require.NoError(t, os.WriteFile(folder+"/base.nft", []byte(boot[base]), 0o600))
	whole = strings.NewReplacer(base, folder+"/base.nft", include, files).Replace(whole)
	require.NoError(t, os.WriteFile(folder+"/firewall.nft", []byte(whole+more), 0o600))
}

// The packet filter, loaded into a network of its own, with a machine on its public side.
func TestThePacketFilter(t *testing.T) {
	b := newBoot(t)
	dir := t.TempDir()
	writeFilter(t, b.files, dir, dir+"/ranges/*.nft", "")
	require.NoError(t, os.Mkdir(dir+"/ranges", 0o700))
	run(t, "nft", "--check", "--file", dir+"/firewall.nft")

	inside, outside := fmt.Sprintf("hl-in-%d", os.Getpid()), fmt.Sprintf("hl-out-%d", os.Getpid())
	for _, name := range []string{inside, outside} {
		run(t, "ip", "netns", "add", name)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", name).Run() })
	}
	in := func(args ...string) string {
		return run(t, "ip", append([]string{"netns", "exec", inside}, args...)...)
	}
	run(t, "ip", "link", "add", "pub0", "netns", inside, "type", "veth", "peer", "name", "net0", "netns", outside)
	run(t, "ip", "link", "add", "tailscale0", "netns", inside, "type", "veth", "peer", "name", "tail0", "netns", outside)
	// 173.245.48.0/20 is one of Cloudflare's; 192.0.2.0/24 is nobody's.
	for _, a := range [][]string{
		{inside, "pub0", "203.0.113.2/24"}, {outside, "net0", "203.0.113.1/24"}, {inside, "tailscale0", "100.64.0.2/24"}, {outside, "tail0", "100.64.0.1/24"},
		{outside, "net0", "173.245.48.9/32"}, {outside, "net0", "192.0.2.9/32"},
	} {
		run(t, "ip", "-n", a[0], "address", "add", a[2], "dev", a[1])
	}
	for _, l := range [][]string{{inside, "lo"}, {inside, "pub0"}, {inside, "tailscale0"}, {outside, "lo"}, {outside, "net0"}, {outside, "tail0"}} {
		run(t, "ip", "-n", l[0], "link", "set", l[1], "up")
	}
	run(t, "ip", "-n", inside, "route", "add", "default", "via", "203.0.113.1")
	in("nft", "add", "table", "ip", "docker") // somebody else's
	in("nft", "--file", dir+"/base.nft")

	for _, port := range []string{"443", "22", "8080"} {
		server := exec.Command("ip", "netns", "exec", inside, "python3", "-m", "http.server", port, "--directory", dir)
		require.NoError(t, server.Start())
		t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	}
	reaches := func(from, to, port string) bool {
		script := `import socket,sys; s=socket.create_connection((sys.argv[2],int(sys.argv[3])),2,(sys.argv[1],0)); s.close()`
		return exec.Command("ip", "netns", "exec", outside, "python3", "-c", script, from, to, port).Run() == nil
	}
	require.Eventually(t, func() bool { return reaches("100.64.0.1", "100.64.0.2", "8080") }, 20*time.Second, 200*time.Millisecond, "the tailnet reaches everything")
	assert.True(t, reaches("192.0.2.9", "203.0.113.2", "22"), "SSH, with the base alone")
	for _, port := range []string{"443", "8080"} {
		assert.False(t, reaches("173.245.48.9", "203.0.113.2", port), "%s, with the base alone", port)
	}
	in("nft", "--file", dir+"/firewall.nft")
	assert.False(t, reaches("173.245.48.9", "203.0.113.2", "443"), "no ranges yet, so nobody")
	require.NotEmpty(t, b.ranges)
	require.NoError(t, os.WriteFile(dir+"/ranges/cloudflare.nft", []byte(b.ranges), 0o600))
	for range 2 { // a second time replaces, and adds nothing
		in("nft", "--file", dir+"/firewall.nft")
		assert.True(t, reaches("173.245.48.9", "203.0.113.2", "443"), "Cloudflare")
		assert.False(t, reaches("192.0.2.9", "203.0.113.2", "443"), "somebody else")
		assert.False(t, reaches("173.245.48.9", "203.0.113.2", "8080"), "another port")
		assert.True(t, reaches("192.0.2.9", "203.0.113.2", "22"), "SSH is shut at Hetzner, not here")
	}
	assert.Contains(t, in("nft", "list", "tables"), "table ip docker")
	assert.Equal(t, 1, strings.Count(in("nft", "list", "tables"), "inet homelab"))

	// A published port: translated before the input chain, to an address behind another interface.
	in("nft", "add", "chain", "ip", "docker", "nat", "{ type nat hook prerouting priority dstnat ; }")
	in("nft", "add", "rule", "ip", "docker", "nat", "tcp", "dport", "443", "dnat", "to", "203.0.113.2:8080")
	in("nft", "add", "rule", "inet", "homelab", "input", "tcp", "dport", "8080", "accept") // as if it were forwarded: past this chain
	assert.True(t, reaches("173.245.48.9", "203.0.113.2", "443"), "Cloudflare, to a published port")
	assert.False(t, reaches("192.0.2.9", "203.0.113.2", "443"), "somebody else, to a published port")
}

// The ssh program of the laptop accepts the pinned host key and no other.
func TestThePinnedHostKey(t *testing.T) {
	b := newBoot(t)
	me, err := user.Current()
	require.NoError(t, err)
	dir := t.TempDir()
	pinned := ""
	for _, o := range b.sshOptions {
		if strings.HasPrefix(o, "KnownHostsCommand=") {
			pinned = o[strings.Index(o, "ssh-ed25519 "):]
		}
	}
	require.NotEmpty(t, pinned)
	var config struct {
		Keys map[string]string `yaml:"ssh_keys"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(b.userData), &config))
	require.NoError(t, os.MkdirAll("/run/sshd", 0o755))
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/login")
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/wrong")
	require.NoError(t, os.WriteFile(dir+"/right", []byte(config.Keys["ed25519_private"]), 0o600))
	require.NoError(t, os.Rename(dir+"/login.pub", dir+"/authorized"))
	for _, c := range []struct {
		key string
		ok  bool
	}{{"right", true}, {"wrong", false}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, port, err := net.SplitHostPort(listener.Addr().String())
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		sshd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", port, "-h", dir+"/"+c.key,
			"-o", "ListenAddress=127.0.0.1", "-o", "AuthorizedKeysFile="+dir+"/authorized", "-o", "StrictModes=no", "-o", "PidFile=none", "-o", "UsePAM=no",
			"-o", "PermitRootLogin=yes")
		require.NoError(t, sshd.Start())
		var out []byte
		require.Eventually(t, func() bool {
			args := append([]string{"-F", "/dev/null", "-i", dir + "/login", "-p", port}, b.sshOptions...)
			out, err = exec.Command("ssh", append(args, me.Username+"@127.0.0.1", "echo", "arrived")...).CombinedOutput()
			return !bytes.Contains(out, []byte("Connection refused"))
		}, 20*time.Second, 100*time.Millisecond)
		_ = sshd.Process.Kill()
		_ = sshd.Wait()
		if c.ok {
			assert.NoError(t, err, "%s", out)
			assert.Contains(t, string(out), "arrived")
		} else {
			assert.Error(t, err, "ssh talked to a machine with another key")
			assert.Contains(t, string(out), "Host key verification failed")
		}
	}
}
