// Package packprogram makes a test's own executable the policy pack, under another name: the engine
// starts a pack by its path alone.
package packprogram

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"homelab/policy/pack"
)

// name is the name under which the executable is the pack.
const name = "homelab-policy"

// Serve is for TestMain. In a process that was started as the pack, it answers the engine and ends the
// process; otherwise it does nothing.
func Serve() {
	if filepath.Base(os.Args[0]) != name {
		return
	}
	if err := pack.Serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Path is the pack, until the test ends.
func Path(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	link := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.Symlink(self, link))
	return link
}
