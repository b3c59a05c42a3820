//go:build host

package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What systemctl status shows of the containers follows what Docker says of them.
func TestTheStateOfTheContainers(t *testing.T) {
	program := files(t, deploy(t))["/opt/homelab/state/homelab-containers"]
	require.NotEmpty(t, program)
	dir := t.TempDir()
	put := func(name, content string) {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file+".new", []byte(content), 0o755))
		require.NoError(t, os.Rename(file+".new", file))
	}
	put("program", program)
	put("docker", "#!/bin/sh\ncat "+dir+"/containers\n")
	put("systemd-notify", "#!/bin/sh\necho \"$*\" >"+dir+"/status\n")
	put("containers", "caddy running Up 2 hours (healthy)\ncrowdsec running Up 3 seconds (health: starting)\nauthelia exited Exited (1) 5 seconds ago\n")
	cmd := exec.Command("bash", dir+"/program")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOMELAB_CONTAINERS_INTERVAL=0.1")
	var journal strings.Builder
	cmd.Stdout = &journal
	require.NoError(t, cmd.Start())
	shows := func(want string) {
		t.Helper()
		assert.Eventually(t, func() bool {
			status, _ := os.ReadFile(dir + "/status")
			return strings.Contains(string(status), want)
		}, 10*time.Second, 20*time.Millisecond, "%s", want)
	}
	shows("1 of 3 containers healthy: authelia exited, crowdsec starting")
	put("containers", "caddy running Up 2 hours (healthy)\ncrowdsec running Up 3 seconds (healthy)\n")
	shows("2 of 2 containers healthy")
	put("docker", "#!/bin/sh\nexit 1\n")
	shows("Docker does not answer")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for _, line := range []string{"caddy is healthy\n", "crowdsec is starting\n", "crowdsec is healthy\n", "authelia is exited\n", "authelia is gone\n"} {
		assert.Equal(t, 1, strings.Count(journal.String(), line), "%s in %s", line, journal.String())
	}
}
