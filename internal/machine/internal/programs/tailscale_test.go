package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTailscale(t *testing.T) {
	built, err := Tailscale(t.Context(), os.Stderr)
	require.NoError(t, err)
	for _, program := range []string{built.Client, built.Daemon} {
		out, err := exec.Command(program, "--version").CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), built.Version+"\n", program)
	}
	// What the package is made of besides.
	for _, path := range []string{"cmd/tailscaled/tailscaled.service", "cmd/tailscaled/tailscaled.defaults", "release/deb/debian.postinst.sh"} {
		assert.FileExists(t, filepath.Join(built.Module, path))
	}
}
