package document_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/standins/document"
)

func TestContentIsThereAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "app.db")
	f, err := document.Open(path)
	require.NoError(t, err)
	assert.Nil(t, f.Content())
	for _, content := range []string{"one", "two", "two"} {
		require.NoError(t, f.Write([]byte(content)))
	}
	again, err := document.Open(path) // as a backup does, while it is in use
	require.NoError(t, err)
	assert.Equal(t, "two", string(again.Content()))
	require.NoError(t, again.Close())
	require.NoError(t, f.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

// The deployment's backup is a program in Python, with its SQLite.
func TestABackupReadsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	f, err := document.Open(path)
	require.NoError(t, err)
	require.NoError(t, f.Write([]byte("content")))
	out, err := exec.Command("python3", "-c", `import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as d: print(d.execute("PRAGMA integrity_check").fetchall())`, path).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Equal(t, "[('ok',)]\n", string(out))
	require.NoError(t, f.Close())
}

func TestWhatIsNoDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	require.NoError(t, os.WriteFile(path, []byte("this is no database, but text of some length"), 0o600))
	_, err := document.Open(path)
	require.ErrorContains(t, err, path)
}
