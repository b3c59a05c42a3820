//go:build host

package host

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The protocol davfs2 mounts as the unit does, keeps what is written, and lets only the library's
// owner write. It runs on a machine with an /etc of its own, because the owner gets a name; what is
// changed in the deployment's files is the server's address.
func TestMediaOverDavfs2(t *testing.T) {
	needsFUSE(t)
	w := simulate(t, map[string]any{"homelab:storage.media.protocol": "davfs2"})
	m := newMachine(t)
	m.must(t, "cp", "-a", "/etc", m.dir+"/etc")
	m.must(t, "mount", "--bind", m.dir+"/etc", "/etc")
	for _, folder := range []string{"/mnt", "/run/homelab-media", "/var/cache/homelab-media", "/run/mount.davfs"} {
		m.must(t, "mkdir", "-p", folder)
		m.must(t, "mount", "-t", "tmpfs", "-o", "mode=755", "empty", folder)
	}
	deployment := files(t, commands(w))
	const address = "http://127.0.0.1:8080/"
	for _, c := range commands(w) {
		if strings.Contains(c.script, "homelab-file ") && strings.Contains(c.script, " /opt/homelab/media") {
			if strings.HasSuffix(c.script, "/davfs2.account") {
				c.stdin = regexp.MustCompile(`^\S+`).ReplaceAllString(c.stdin, address)
			}
			m.replay(t, c)
		}
	}
	user := strings.Fields(deployment["/opt/homelab/media/davfs2.account"])[1]
	m.must(t, "mkdir", "-p", "/srv/data")
	server := m.command(context.Background(), "", "rclone", "serve", "webdav", "--config", "/dev/null", "--addr", "127.0.0.1:8080", "--dir-cache-time", "0s",
		"--user", user, "--pass", deployment["/opt/homelab/media/password"], "/srv/data")
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = m.command(context.Background(), "", "umount", "--lazy", "/mnt/storagebox").Run()
		_ = m.command(context.Background(), "", "chattr", "-i", "/mnt/storagebox").Run()
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	prepare := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(deployment["/etc/systemd/system/homelab-media-config.service"])
	require.NotNil(t, prepare)
	m.must(t, strings.Fields(prepare[1])...)
	unit := deployment["/etc/systemd/system/mnt-storagebox.mount"]
	require.Contains(t, unit, "Type=davfs\n")
	require.Eventually(t, func() bool {
		said, err := m.run("", "mount", "-t", "davfs", "-o", options.FindStringSubmatch(unit)[1], address, "/mnt/storagebox")
		if err != nil {
			t.Log(said)
		}
		return err == nil
	}, 20*time.Second, time.Second)
	m.must(t, "/opt/homelab/media/homelab-media", "layout", "/srv/gates/media", "2000", "movies")
	as := func(user, script string) error {
		said, err := m.run("", "setpriv", "--reuid", user, "--regid", user, "--clear-groups", "sh", "-c", "umask 022; "+script)
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return nil
	}
	require.NoError(t, as("2000", "echo film >/mnt/storagebox/movies/a.mkv"))
	require.Error(t, as("2001", "echo other >/mnt/storagebox/movies/a.mkv"))
	m.must(t, "umount", "/mnt/storagebox") // waits until everything was sent
	got, err := os.ReadFile(m.at("/srv/data/movies/a.mkv"))
	require.NoError(t, err)
	assert.Equal(t, "film\n", string(got))
}
