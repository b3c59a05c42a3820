package workload

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeDocker answers as Docker does about a container whose state and last check are in files.
const fakeDocker = `#!/bin/sh
cd "$(dirname "$0")"
case "${5:-}" in
*State.Status*) cat state ;;
*Log*) printf 'an earlier check\nradarr refuses its API key\n' ;;
*) echo "$1" >>restarts ;;
esac
`

// A deployment goes on once a container is healthy and, if it is a tunnel, its gate is open; what
// the last check said is what it fails with.
func TestHealthyScript(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) { require.NoError(t, os.WriteFile(dir+"/"+name, []byte(text), 0o755)) }
	put("docker", fakeDocker)
	put("sleep", "#!/bin/sh\nexec /bin/sleep 0.05\n")
	run := func(words ...string) (string, error) {
		cmd := exec.Command("sh", append([]string{"-c", healthyScript, "healthy", "app"}, words...)...)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	put("state", "running, healthy\n")
	said, err := run("4")
	require.NoError(t, err, said)

	said, err = run("4", dir+"/gate")
	require.Error(t, err)
	assert.Contains(t, said, "its gate "+dir+"/gate is shut: systemctl status homelab-containers says more")
	opened := time.AfterFunc(100*time.Millisecond, func() { _ = os.Mkdir(dir+"/gate", 0o700) })
	defer opened.Stop()
	said, err = run("600", dir+"/gate")
	require.NoError(t, err, said)

	put("state", "running, unhealthy\n")
	said, err = run("4")
	require.Error(t, err)
	assert.Contains(t, said, "radarr refuses its API key\ncontainer app is not healthy (running, unhealthy): docker logs app says more\n")
	restarts, err := os.ReadFile(dir + "/restarts")
	require.NoError(t, err)
	assert.Equal(t, "restart\n", string(restarts), "it is started again once")
}
