//go:build host

package host

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/internal/netns"
)

// The engine gets every file that the proxy's program is made of, and no test: what .dockerignore
// leaves of the folder is copied by a real engine, and built as the Dockerfile says.
func TestTheProxysImageCanBeBuilt(t *testing.T) {
	machine, err := netns.New("machine")
	require.NoError(t, err)
	t.Cleanup(func() { _ = machine.Close() })
	e := startDocker(t, machine)

	folder, err := filepath.Abs("../../images/caddy")
	require.NoError(t, err)
	recipe := t.TempDir() + "/Dockerfile"
	require.NoError(t, os.WriteFile(recipe, []byte("FROM scratch\nCOPY . /\nCMD [\"none\"]\n"), 0o600))
	e.run("build", "--quiet", "--tag", "context", "--file", recipe, folder)
	e.run("create", "--name", "context", "context")
	archive, err := exec.Command("docker", "--host", e.socket, "export", "context").Output()
	require.NoError(t, err)
	copied := t.TempDir()
	extract := exec.Command("tar", "--extract", "--directory", copied)
	extract.Stdin = bytes.NewReader(archive)
	out, err := extract.CombinedOutput()
	require.NoError(t, err, "%s", out)

	build := exec.Command("go", "build", "-trimpath", "-o", t.TempDir()+"/caddy", ".")
	build.Dir = copied
	out, err = build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	tests, err := filepath.Glob(copied + "/*/*_test.go")
	require.NoError(t, err)
	assert.Empty(t, tests, "tests are part of the image")
}
