//go:build host

package host

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMediaOverSFTP reads and writes the box as the protocol sftp does, and meets a box with
// another's host key first. What is tried is rclone's client with the deployment's own files, on
// the machine on which the box answers under its name.
func TestMediaOverSFTP(t *testing.T) {
	w := simulate(t, map[string]any{"homelab:storage.media.protocol": "sftp"})
	m := newMachine(t)
	deployment := files(t, commands(w))
	conf := deployment["/opt/homelab/media/rclone.conf"]
	b := box{}
	for field, into := range map[string]*string{"host": &b.Server, "user": &b.Username} {
		found := regexp.MustCompile(`(?m)^` + field + ` = (.*)$`).FindStringSubmatch(conf)
		require.NotNil(t, found, "%s", conf)
		*into = found[1]
	}
	for _, c := range commands(w) {
		if strings.Contains(c.script, "homelab-file ") && strings.Contains(c.script, " /opt/homelab/media") {
			m.replay(t, c)
		}
	}
	environment := []string{"env", "HOMELAB_MEDIA_RUN=/srv/run", "HOMELAB_MEDIA_CACHE=/srv/cache", "HOMELAB_MEDIA_POINT=/opt/homelab/point"}
	key := m.serve(t, b, deployment["/opt/homelab/media/password"])
	m.must(t, append(environment, "/opt/homelab/media/homelab-media", "prepare", "sftp", "2000")...)
	t.Cleanup(func() { _ = exec.Command("chattr", "-i", m.dir+"/opt/point").Run() })
	rclone := func(stdin string, words ...string) (string, error) {
		return m.run(stdin, append([]string{"rclone", "--config", "/srv/run/rclone.conf", "--retries", "1", "--low-level-retries", "1"}, words...)...)
	}
	said, err := rclone("", "lsd", "media:")
	require.Error(t, err, "a box with another's key was believed: %s", said)
	assert.Contains(t, said, "knownhosts: key mismatch")

	known := m.at("/opt/homelab/media/known_hosts")
	require.Equal(t, 3, strings.Count(deployment["/opt/homelab/media/known_hosts"], "["+b.Server+"]:23 "))
	require.NoError(t, os.WriteFile(known, []byte("["+b.Server+"]:23 "+key+"\n"), 0o400))
	said, err = rclone("a film", "rcat", "media:film.mkv")
	require.NoError(t, err, "%s", said)
	said, err = rclone("", "cat", "--offset", "2", "media:film.mkv")
	require.NoError(t, err, "%s", said)
	assert.Equal(t, "film", said)
}
