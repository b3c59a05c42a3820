//go:build host

package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const portalLog = "/opt/homelab/authelia/logs/authelia.log"

// failedLogin is what the portal writes.
func failedLogin(n int) string {
	return fmt.Sprintf(`{"error":"the credentials are wrong","level":"error","method":"POST","msg":"Unsuccessful 1FA authentication attempt by user 'alice'","path":"/api/firstfactor","remote_ip":"198.51.100.%d","time":"%s"}`+"\n",
		n, time.Now().UTC().Format("2006-01-02T15:04:05Z07:00"))
}

// TestThePortalsLog rotates the log with the deployment's own files while a writer has it open and
// Fail2ban reads it.
func TestThePortalsLog(t *testing.T) {
	commands := deploy(t)
	m := newMachine(t)
	for _, c := range commands {
		if strings.Contains(c.script, "homelab-file ") && !strings.Contains(c.script, "homelab-file backup ") &&
			(strings.Contains(c.script, " /opt/homelab/authelia/logs") || strings.Contains(c.script, " /opt/homelab/logs")) {
			m.replay(t, c)
		}
	}
	deployment := files(t, commands)
	rotate := regexp.MustCompile(`(?m)^ExecStart=(.+)$`).FindStringSubmatch(deployment["/etc/systemd/system/homelab-logs.service"])
	require.NotNil(t, rotate)
	words := strings.Fields(rotate[1])
	said := m.must(t, "logrotate", "--debug", words[len(words)-1])
	assert.NotContains(t, said, "error:")
	m.must(t, words...)
	assert.NoFileExists(t, m.at(portalLog+".1"), "an empty log is not rotated")

	// As the portal does: once, to append.
	log, err := os.OpenFile(m.at(portalLog), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	defer log.Close()
	write := func(text string) {
		_, err := log.WriteString(text)
		require.NoError(t, err)
	}
	found := watchedByFail2ban(t, m, deployment["/etc/fail2ban/filter.d/homelab-authelia.conf"])
	for n := range 3 {
		write(failedLogin(n + 1))
	}
	require.Eventually(t, func() bool { return found() == 3 }, 30*time.Second, 200*time.Millisecond)
	before, err := os.Stat(m.at(portalLog))
	require.NoError(t, err)
	for round := 1; round <= 3; round++ {
		write(strings.Repeat(`{"level":"info","msg":"a quiet day"}`+"\n", 30_000))
		time.Sleep(2 * time.Second) // until Fail2ban has seen it
		m.must(t, append(append([]string{}, words[:len(words)-1]...), "--force", words[len(words)-1])...)
		after, err := os.Stat(m.at(portalLog))
		require.NoError(t, err)
		assert.True(t, os.SameFile(before, after), "the portal has another file open than the detectors")
		assert.Equal(t, os.FileMode(0o640), after.Mode().Perm())
		assert.Zero(t, after.Size())
		write(failedLogin(10 + round))
		require.Eventually(t, func() bool { return found() == 3+round }, 30*time.Second, 200*time.Millisecond, "Fail2ban lost the log in round %d", round)
	}
	text, err := os.ReadFile(m.at(portalLog))
	require.NoError(t, err)
	assert.NotContains(t, string(text), "\x00", "the portal left a hole")
	assert.FileExists(t, m.at(portalLog+".1"))
	assert.FileExists(t, m.at(portalLog+".3.gz"))
	write(strings.Repeat(failedLogin(20), 120_000))
	m.must(t, words...)
	info, err := os.Stat(m.at(portalLog))
	require.NoError(t, err)
	assert.Zero(t, info.Size(), "a log that grows fast is rotated before the day is over")
}

// watchedByFail2ban runs Fail2ban with our filter and returns how many failures it has found.
func watchedByFail2ban(t *testing.T, m *machine, filter string) func() int {
	t.Helper()
	require.NotEmpty(t, filter)
	config := filepath.Join(m.dir, "fail2ban")
	require.NoError(t, os.CopyFS(config, os.DirFS("/etc/fail2ban")))
	require.NoError(t, os.RemoveAll(config+"/jail.d"))
	require.NoError(t, os.WriteFile(config+"/filter.d/homelab-authelia.conf", []byte(filter), 0o600))
	require.NoError(t, os.WriteFile(config+"/jail.local", []byte(strings.Join([]string{
		"[homelab-authelia]", "enabled = true", "filter = homelab-authelia", "backend = polling", "logpath = " + portalLog, "maxretry = 1000", "action =", "",
	}, "\n")), 0o600))
	require.NoError(t, os.WriteFile(config+"/fail2ban.local", []byte("[DEFAULT]\nlogtarget = "+m.dir+"/fail2ban.log\ndbfile = None\n"), 0o600))
	client := []string{"fail2ban-client", "-c", config, "-s", m.dir + "/fail2ban.sock", "-p", m.dir + "/fail2ban.pid"}
	m.must(t, append(client, "start")...)
	t.Cleanup(func() { _ = m.command(context.Background(), "", append(client, "stop")...).Run() })
	total := regexp.MustCompile(`Total failed:\s*(\d+)`)
	return func() int {
		status, err := m.run("", append(client, "status", "homelab-authelia")...)
		if match := total.FindStringSubmatch(status); err == nil && match != nil {
			var n int
			_, _ = fmt.Sscan(match[1], &n)
			return n
		}
		return -1
	}
}
