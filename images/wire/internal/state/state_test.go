package state

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T, dir string, readOnly bool) *State {
	t.Helper()
	s, err := Open(dir, readOnly)
	require.NoError(t, err)
	return s
}

func TestStateIsKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, false)
	require.NoError(t, s.Attempt("radarr/a", true, nil))
	require.NoError(t, s.Record("radarr/a", map[string]json.RawMessage{"x": json.RawMessage(`1`)}))
	require.NoError(t, s.Record("radarr/a", map[string]json.RawMessage{"y": json.RawMessage(`"z"`)}))
	require.NoError(t, s.Record("sonarr/b", nil))
	require.NoError(t, s.SetPending("prowlarr/sync", true))
	require.NoError(t, s.SetCredential("jellyfin", "a-first-key"))
	require.NoError(t, s.SetCredential("jellyfin", "a-key"))
	digest := s.Digest("a secret")
	require.NoError(t, s.Close())

	s = open(t, dir, false)
	assert.Equal(t, []string{"radarr/a"}, s.Keys("radarr/"))
	assert.True(t, s.Object("radarr/a").Made)
	assert.Equal(t, `1`, string(s.Object("radarr/a").Fields["x"]))
	assert.Equal(t, `"z"`, string(s.Object("radarr/a").Fields["y"]))
	assert.False(t, s.Object("sonarr/b").Made)
	assert.True(t, s.Pending("prowlarr/sync"))
	assert.Equal(t, digest, s.Digest("a secret"))
	assert.Equal(t, "a-key", s.Credential("jellyfin"))
	assert.Empty(t, s.Credential("jellyseerr"))
	require.NoError(t, s.Forget("radarr/"))
	assert.Empty(t, s.Keys("radarr/"))
	require.NoError(t, s.Close())

	for _, name := range []string{appliedFile, credentialsFile, keyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 4, "no temporary file is left")
}

func TestOnlyOneWriter(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, false)
	_, err := Open(dir, false)
	assert.ErrorContains(t, err, "another pass is running")
	reader := open(t, dir, true)
	require.NoError(t, reader.Record("radarr/a", nil))
	require.NoError(t, reader.SetCredential("jellyfin", "a-key"))
	assert.Equal(t, "a-key", reader.Credential("jellyfin"))
	require.NoError(t, reader.Close())
	require.NoError(t, s.Close())
	s = open(t, dir, false)
	assert.Empty(t, s.Keys(""), "a reader writes nothing")
	assert.Empty(t, s.Credential("jellyfin"))
	require.NoError(t, s.Close())
}

func TestBadState(t *testing.T) {
	for _, file := range []string{appliedFile, credentialsFile} {
		for name, content := range map[string]string{
			"not JSON": "{", "newer": `{"version":2}`, "wrong type": `{"version":1,"keys":["a-key"],"objects":["a-key"]}`,
		} {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600))
			_, err := Open(dir, false)
			require.ErrorContains(t, err, "reading the state", name)
			assert.NotContains(t, err.Error(), "a-key")
		}
	}
	_, err := Open(filepath.Join(t.TempDir(), "missing"), false)
	assert.Error(t, err)
}
