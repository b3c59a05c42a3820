//go:build host

package host

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheJailsOfANewMachine has the deployment's own command load the jails where Fail2ban never
// ran, so that its log, which one of them reads, is not there. systemctl does here what the unit
// would do; the jail that reads systemd's journal needs a systemd.
func TestTheJailsOfANewMachine(t *testing.T) {
	commands := deploy(t)
	m := newMachine(t)
	config := filepath.Join(m.dir, "fail2ban")
	require.NoError(t, os.CopyFS(config, os.DirFS("/etc/fail2ban")))
	require.NoError(t, os.RemoveAll(config+"/jail.d"))
	m.must(t, "mount", "--bind", config, "/etc/fail2ban")
	m.must(t, "mkdir", "-p", "/run/fail2ban", "/var/lib/fail2ban")
	for _, folder := range []string{"/run/fail2ban", "/var/lib/fail2ban", "/var/log"} {
		m.must(t, "mount", "-t", "tmpfs", "-o", "mode=755", "empty", folder)
	}
	require.NoError(t, os.WriteFile(m.at("/usr/local/sbin/systemctl"), []byte("#!/bin/sh\n[ \"$1\" != reload-or-restart ] || exec fail2ban-client start\n"), 0o755))
	var jails []deployed
	for _, c := range commands {
		switch {
		case strings.HasSuffix(c.script, "homelab-file jails"):
			jails = append(jails, c)
		case strings.HasSuffix(c.script, " /etc/fail2ban/jail.local"):
			c.stdin = strings.Replace(c.stdin, "[sshd]\nenabled = true", "[sshd]\nenabled = false", 1)
			m.replay(t, c)
		case strings.Contains(c.script, "homelab-file ") && (strings.Contains(c.script, "/logs") || strings.Contains(c.script, "fail2ban")):
			m.replay(t, c)
		}
	}
	require.Len(t, jails, 1)
	t.Cleanup(func() { _ = m.command(context.Background(), "", "fail2ban-client", "stop").Run() })
	said := m.replay(t, jails[0])
	assert.Contains(t, said, "homelab-authelia, homelab-caddy, recidive")
	info, err := os.Stat(m.at("/var/log/fail2ban.log"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}
