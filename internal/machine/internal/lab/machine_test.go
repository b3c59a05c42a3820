//go:build machine

package lab

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"homelab/internal/rehearsal"
)

// sshKey makes a key: as a file, as a line of authorized_keys, and to log in with.
func sshKey(t *testing.T) (private, public string, signer ssh.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	signer, err = ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), signer
}

// A server from its order to its end: the machine that a deployment gets, reached from the internet
// by the SSH key that it pins.
func TestAServersLife(t *testing.T) {
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	state := t.TempDir()
	options := Options{State: state, Cache: filepath.Join(cache, "homelab", "machine"), MaxMemoryMB: 1024, Progress: os.Stdout}
	l, err := Open(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close(context.Background(), false)) })
	private, public, hostKey := sshKey(t)
	_, login, me := sshKey(t)
	s := rehearsal.Server{
		ID: "100000007", Name: "homelab", Location: "fsn1", Image: "debian-13", SSHKeys: []string{login}, CPUs: 2, MemoryMB: 4096, DiskGB: 20,
		IPv4: netip.MustParseAddr("198.51.100.7"), IPv6: netip.MustParsePrefix("2001:db8:7::1/64"),
		UserData: "#cloud-config\nssh_keys:\n  ed25519_private: |\n    " + strings.ReplaceAll(strings.TrimSpace(private), "\n", "\n    ") + "\n  ed25519_public: " + public +
			"\ndisable_root: false\npackage_update: false\n",
	}
	require.NoError(t, l.Boot(t.Context(), s))
	require.ErrorContains(t, l.Boot(t.Context(), s), "there already")
	dial := func(patience time.Duration) (*ssh.Client, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := l.Dial(ctx, rehearsal.Target{Origin: rehearsal.FromInternet, Network: "tcp", Address: "198.51.100.7:22"})
		if err != nil {
			return nil, err
		}
		c, channels, requests, err := ssh.NewClientConn(conn, "machine", &ssh.ClientConfig{
			User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(me)}, HostKeyCallback: ssh.FixedHostKey(hostKey.PublicKey()),
		})
		if err != nil {
			return nil, err
		}
		return ssh.NewClient(c, channels, requests), nil
	}
	_, err = dial(3 * time.Second)
	require.Error(t, err, "no rule lets anybody in")
	everybody := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	require.NoError(t, l.SetFirewall(t.Context(), s.ID, []rehearsal.Rule{{Protocol: "tcp", First: 22, Last: 22, Sources: everybody}}))
	run := func(command string) string {
		t.Helper()
		var out []byte
		var last error
		require.Eventually(t, func() bool {
			client, err := dial(10 * time.Second)
			if last = err; err != nil {
				return false
			}
			defer func() { _ = client.Close() }()
			session, err := client.NewSession()
			if last = err; err != nil {
				return false
			}
			out, last = session.CombinedOutput(command)
			return last == nil
		}, bootPatience, time.Second, "%s: %v", command, &last)
		return strings.TrimSpace(string(out))
	}
	assert.Equal(t, "homelab", run("hostname"))
	assert.Equal(t, "100000007", run("cat /sys/class/dmi/id/product_serial"))
	first := run("cat /proc/sys/kernel/random/boot_id; echo kept > /root/kept; sync")

	require.NoError(t, l.SetPower(t.Context(), s.ID, rehearsal.CutPower))
	all, err := l.Machines(t.Context())
	require.NoError(t, err)
	assert.False(t, all[0].Running)
	require.NoError(t, l.SetPower(t.Context(), s.ID, rehearsal.SwitchOn))
	assert.NotEqual(t, first, run("cat /proc/sys/kernel/random/boot_id"))
	require.NoError(t, l.Close(t.Context(), true))

	l, err = Open(t.Context(), options)
	require.NoError(t, err)
	assert.Equal(t, "kept", run("cat /root/kept"), "it runs again with the rehearsal, from its own disk")
	console, err := l.Console(t.Context(), s.ID, false)
	require.NoError(t, err)
	text, err := io.ReadAll(console)
	require.NoError(t, err)
	require.NoError(t, console.Close())
	assert.GreaterOrEqual(t, strings.Count(string(text), "Linux version"), 3, "all its boots are there")
	require.NoError(t, l.Delete(t.Context(), s.ID, true))
	assert.NoDirExists(t, filepath.Join(state, "machines", s.ID))
	_, err = dial(3 * time.Second)
	require.Error(t, err)
}
