package buildfolder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDigestOfAFolder(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
	}
	_, err := Digest(folder)
	require.ErrorContains(t, err, "no Dockerfile")
	_, err = Digest(filepath.Join(folder, "missing"))
	require.Error(t, err)

	seen := map[string]string{}
	digest := func(after string) {
		t.Helper()
		got, err := Digest(folder)
		require.NoError(t, err)
		again, err := Digest(folder)
		require.NoError(t, err)
		assert.Equal(t, got, again)
		assert.Len(t, got, 64)
		assert.Equal(t, got[:16], Tag(got))
		assert.Empty(t, seen[got], "%s gives the digest of: %s", after, seen[got])
		seen[got] = after
	}
	write("Dockerfile", "FROM scratch\n")
	digest("a Dockerfile")
	write("main.go", "package main\n")
	digest("a second file")
	write("main.go", "package main \n")
	digest("another content")
	require.NoError(t, os.Rename(filepath.Join(folder, "main.go"), filepath.Join(folder, "sub.go")))
	digest("another name")
	write("sub/main.go", "")
	digest("a file in a folder")
}
