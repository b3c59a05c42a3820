package toolchain

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAPackageIsBuiltInItsModule(t *testing.T) {
	root, err := Root()
	require.NoError(t, err)
	for pkg, want := range map[string][2]string{
		"./cmd/homelab":                 {".", "./cmd/homelab"},
		"./tests/chain/standin":         {"tests/chain/standin", "./."},
		"./internal/machine/firstboot":  {"internal/machine", "./firstboot"},
		"./nothing/at/all":              {".", "./nothing/at/all"},
		"homelab/cmd/homelab":           {".", "homelab/cmd/homelab"},
		"github.com/example/module/cmd": {".", "github.com/example/module/cmd"},
	} {
		dir, inside := moduleOf(root, pkg)
		assert.Equal(t, want, [2]string{filepath.ToSlash(mustRel(t, root, dir)), inside}, pkg)
	}
}

func mustRel(t *testing.T, root, dir string) string {
	t.Helper()
	relative, err := filepath.Rel(root, dir)
	require.NoError(t, err)
	return relative
}
