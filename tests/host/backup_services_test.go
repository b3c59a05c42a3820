//go:build host

package host

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// services stands in for the containers: it makes the databases that they declare, and writes to
// one.
type services struct {
	m         *machine
	databases map[string]bool
	photo     string
}

// make fills every declared place, and one place that nobody declared.
func (s *services) make(t *testing.T, b box) {
	t.Helper()
	s.databases = map[string]bool{}
	for _, f := range b.Folders {
		for _, pattern := range f.Databases {
			places := []string{pattern}
			if strings.Contains(pattern, "*") {
				places = []string{strings.ReplaceAll(pattern, "*", "first"), strings.ReplaceAll(pattern, "*", "second")}
			}
			for _, place := range places {
				s.database(t, f.Path, place)
			}
		}
	}
	require.Contains(t, s.databases, "/opt/homelab/crowdsec/data/crowdsec.db")
	s.database(t, "/opt/homelab/jellyfin/config", "plugins/forgotten.sqlite")
	s.photo = "/opt/homelab/jellyfin/config/metadata/photo.jpg"
	require.NoError(t, os.MkdirAll(filepath.Dir(s.m.at(s.photo)), 0o755))
	require.NoError(t, os.WriteFile(s.m.at(s.photo), []byte(strings.Repeat("not really a photo\n", 50_000)), 0o640))
	require.NoError(t, os.WriteFile(s.m.at("/opt/homelab/jellyfin/cache/transcode"), []byte("can be made again"), 0o640))
}

// database makes one with a write-ahead log, owned by its folder's owner.
func (s *services) database(t *testing.T, folder, place string) {
	t.Helper()
	info, err := os.Stat(s.m.at(folder))
	require.NoError(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	path := folder + "/" + place
	for below := filepath.Dir(path); below != folder; below = filepath.Dir(below) {
		require.NoError(t, os.MkdirAll(s.m.at(below), 0o750))
		require.NoError(t, os.Chown(s.m.at(below), int(owner.Uid), int(owner.Gid)))
	}
	s.m.must(t, "sqlite3", path, `PRAGMA journal_mode=WAL; PRAGMA user_version=42;
		CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 100) INSERT INTO account SELECT i, 10 FROM n;
		CREATE TABLE log (line TEXT);`)
	require.NoError(t, os.Chown(s.m.at(path), int(owner.Uid), int(owner.Gid)))
	s.databases[path] = true
}

// writer moves amounts between two rows in one transaction, over and over, and lets the log grow;
// the sum never changes.
const writer = `
import random, sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
database.execute("PRAGMA wal_autocheckpoint=50")
while True:
    one, other = random.sample(range(1, 101), 2)
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE account SET amount = amount - 7 WHERE id = ?", (one,))
    database.execute("INSERT INTO log VALUES (?)", ("x" * random.randrange(4000),))
    database.execute("UPDATE account SET amount = amount + 7 WHERE id = ?", (other,))
    database.execute("COMMIT")
`

// write begins to write to CrowdSec's database, and returns what stops it.
func (s *services) write(t *testing.T) func() {
	t.Helper()
	c := s.m.command(t.Context(), "", "python3", "-c", writer, "/opt/homelab/crowdsec/data/crowdsec.db")
	require.NoError(t, c.Start())
	stopped := false
	return func() {
		if !stopped {
			stopped = true
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
}
