//go:build host

package host

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/internal/netns"
)

// The engine gets every file that the proxy's program is made of, and no test.
func TestTheProxysImageCanBeBuilt(t *testing.T) {
	program := buildImage(t, "caddy")
	out, err := exec.Command(program, "list-modules").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// The engine gets every file that the wiring's program is made of, and none of its stand-ins.
func TestTheWiringsImageCanBeBuilt(t *testing.T) {
	program := buildImage(t, "wire")
	out, err := exec.Command(program, "--help").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, command := range []string{"run", "once", "healthy"} {
		assert.Contains(t, string(out), "\n  "+command+" ")
	}
}

// buildImage returns the program of an image: what .dockerignore leaves of its folder is copied by a
// real engine, and built as the Dockerfile says.
func buildImage(t *testing.T, name string) string {
	t.Helper()
	machine, err := netns.New("machine")
	require.NoError(t, err)
	t.Cleanup(func() { _ = machine.Close() })
	e := startDocker(t, machine)

	folder, err := filepath.Abs("../../images/" + name)
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

	// As the Dockerfile, whose name for the program is the one that the container's health check has.
	text, err := os.ReadFile(folder + "/Dockerfile")
	require.NoError(t, err)
	m := buildLine.FindStringSubmatch(string(text))
	require.NotNil(t, m, "%s", text)
	program := t.TempDir() + "/" + m[2]
	build := exec.Command("go", "build", "-trimpath", "-ldflags="+m[1], "-o", program, ".")
	build.Dir, build.Env = copied, append(os.Environ(), "CGO_ENABLED=0")
	out, err = build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, filepath.WalkDir(copied, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			assert.False(t, strings.HasSuffix(path, "_test.go") || entry.Name() == "testdata" || entry.Name() == "fake", "%s is for tests, and part of the image", path)
		}
		return err
	}))
	return program
}

// buildLine is the step of a Dockerfile that builds the image's one program.
var buildLine = regexp.MustCompile(`\nRUN go build -trimpath -ldflags="([^"]*)" -o /out/([a-z-]+) \.\n`)
