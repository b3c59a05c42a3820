// Package golden compares what a test rendered with the files kept in testdata. `go test ./...
// -update` rewrites them.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Equal fails the test unless got is what testdata/name.golden holds.
func Equal(t testing.TB, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update to make the file")
	require.Equal(t, string(want), string(got))
}

// Error fails the test unless err's text is what testdata/name.golden holds.
func Error(t testing.TB, name string, err error) {
	t.Helper()
	require.Error(t, err)
	Equal(t, name, []byte(err.Error()+"\n"))
}
