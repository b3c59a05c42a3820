package sources

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// WriteDeb writes a package without files.
func WriteDeb(t *testing.T, file, name, version string) {
	t.Helper()
	content, err := deb{name: name, version: version, architecture: "amd64", description: "test"}.build()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, content, 0o600))
}
