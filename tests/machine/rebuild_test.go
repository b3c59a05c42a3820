//go:build machine

package machine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"homelab/internal/rehearsal"
	"homelab/tests/readme"
)

// pulumi is a command of Pulumi's own program on the stack.
func (l *lab) pulumi(args ...string) *exec.Cmd {
	l.t.Helper()
	find := exec.CommandContext(l.t.Context(), "go", "run", "./internal/toolchain/tool", "path", "pulumi")
	find.Dir = l.project
	path, err := find.Output()
	require.NoError(l.t, err)
	cmd := exec.CommandContext(l.t.Context(), strings.TrimSpace(string(path)), append(args, "--stack", stack)...)
	cmd.Dir = l.state
	cmd.Env = append(os.Environ(), "PULUMI_BACKEND_URL=file://"+filepath.Join(l.state, "backend"),
		"PULUMI_CONFIG_PASSPHRASE_FILE="+filepath.Join(l.state, "passphrase"), "PULUMI_SKIP_UPDATE_CHECK=true")
	return cmd
}

// output is an output of the stack, secrets included.
func (l *lab) output(name string) string {
	l.t.Helper()
	cmd := l.pulumi("stack", "output", name, "--show-secrets")
	var said strings.Builder
	cmd.Stderr = &said
	value, err := cmd.Output()
	require.NoError(l.t, err, "output %s: %s", name, said.String())
	return strings.TrimSuffix(string(value), "\n")
}

// knock logs in with the recovery key over the internet, as docs/locked-out.md has it, from an
// address.
func (l *lab) knock(from netip.Addr) error {
	l.t.Helper()
	key, err := ssh.ParsePrivateKey([]byte(l.output("recoveryKey") + "\n"))
	require.NoError(l.t, err)
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(l.output("hostKey")))
	require.NoError(l.t, err)
	address := net.JoinHostPort(l.output("publicIpv4"), "22")
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	conn, err := l.client.Dial(ctx, rehearsal.Target{Origin: rehearsal.FromInternet, From: from, Network: "tcp", Address: address})
	if err != nil {
		return fmt.Errorf("knocking: %w", err)
	}
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "deploy", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(hostKey), HostKeyAlgorithms: []string{hostKey.Type()},
	})
	if err != nil {
		_ = conn.Close()
		return err
	}
	client := ssh.NewClient(c, channels, requests)
	defer func() { _ = client.Close() }() // it was used
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	out, err := session.Output("id --user --name")
	if err == nil && strings.TrimSpace(string(out)) != "deploy" {
		err = fmt.Errorf("logged in as %q", out)
	}
	return err
}

// lockedOut follows docs/locked-out.md: Tailscale is gone, the glass is broken, and shut again.
func (l *lab) lockedOut() {
	named, stranger := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
	l.t.Cleanup(func() {
		l.configure(func(config map[string]any) { delete(setting(config, "homelab:server"), "breakGlass") })
	})
	require.Error(l.t, l.knock(named), "before the glass is broken")
	back := l.away(rehearsal.TailnetServers)
	l.configure(func(config map[string]any) {
		setting(config, "homelab:server")["breakGlass"] = map[string]any{"cidr": named.String() + "/32", "reason": "the tailnet is gone"}
	})
	l.run("up")
	require.NoError(l.t, l.knock(named))
	require.Error(l.t, l.knock(stranger), "the next address")
	back()
	l.configure(func(config map[string]any) { delete(setting(config, "homelab:server"), "breakGlass") })
	l.eventually(boots, func() []string {
		if _, err := l.shell("true"); err != nil {
			return []string{err.Error()}
		}
		return nil
	})
	l.run("up")
	require.Error(l.t, l.knock(named), "the glass is whole")
	l.nothingToChange()
}

// newMachine follows the README, Rebuild the server, and docs/backup.md, Restore everything, word
// for word: what a service kept is there again, with its owner, and addresses and boxes are the
// same.
func (l *lab) newMachine() {
	address, box := l.output("publicIpv4"), l.box("media")
	const marker = "/opt/homelab/jellyfin/config/data/marker"
	l.root("mkdir --parents " + filepath.Dir(marker) + "\necho kept >" + marker + "\nchown --reference=/opt/homelab/jellyfin/config " + filepath.Dir(marker) + " " + marker)
	owner := l.root("stat --format '%u:%g %a' " + marker)
	library := l.root("find /mnt/storagebox -maxdepth 2 | sort")
	_, err := l.shell("sudo homelab-unit start homelab-backup.service")
	require.NoError(l.t, err)

	began := time.Now()
	l.configure(func(config map[string]any) { config["homelab:protect"] = false })
	l.run("up", "--policy=false")
	before := l.boot()
	l.configure(func(config map[string]any) { setting(config, "homelab:server")["generation"] = 2 })
	preview := l.run("preview", "--policy=false")
	assert.NotRegexp(l.t, `(?m)(primaryIp|storageBox):\S+ \S+ (delete|replace)`, preview)
	l.run("up", "--policy=false")
	assert.NotEqual(l.t, before, l.boot())
	up := time.Since(began)

	text, err := os.ReadFile(filepath.Join(l.project, "docs", "backup.md"))
	require.NoError(l.t, err)
	commands := readme.Commands(string(text), "Restore everything")
	require.NotEmpty(l.t, commands)
	for _, command := range commands {
		out, err := l.shell(command)
		require.NoError(l.t, err, "%s: %s", command, out)
	}
	l.settled()
	l.t.Logf("the new machine was up after %s, and restored after %s", up.Round(time.Second), time.Since(began).Round(time.Second))
	assert.Equal(l.t, "kept\n", l.root("cat "+marker))
	assert.Equal(l.t, owner, l.root("stat --format '%u:%g %a' "+marker))
	assert.Equal(l.t, library, l.root("find /mnt/storagebox -maxdepth 2 | sort"))
	assert.Equal(l.t, address, l.output("publicIpv4"))
	assert.Equal(l.t, box, l.box("media"))
	l.configure(func(config map[string]any) { config["homelab:protect"] = true })
	l.run("up")
	l.nothingToChange()
}
