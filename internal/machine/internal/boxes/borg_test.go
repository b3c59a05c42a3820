package boxes

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// borgWorld is a box with the two keys that the program installs, as it installs them.
type borgWorld struct {
	*world
	appends, prunes string // private keys
}

func newBorgWorld(t *testing.T, declared Box) *borgWorld {
	t.Helper()
	b := &borgWorld{world: newWorld(t)}
	b.apply(declared)
	var appends, prunes string
	b.appends, appends = b.key("appends", "ed25519")
	b.prunes, prunes = b.key("prunes", "ed25519")
	serve := func(option, key string) string {
		return fmt.Sprintf(`command="borg-1.4 serve%s --restrict-to-path homelab",restrict %s`, option, key)
	}
	keys := b.write("authorized_keys", serve(" --append-only", appends)+"\n"+serve("", prunes)+"\n", 0o600)
	batch := fmt.Sprintf("-mkdir .ssh\n-chmod 700 .ssh\nput %s .ssh/authorized_keys\nchmod 600 .ssh/authorized_keys\n", keys)
	args := append([]string{"sftp"}, b.sshOptions(sshPort, "")...)
	b.must(password, batch, append(args, "-o", "BatchMode=no", "-b", "-", login1+"@127.0.0.1")...)
	return b
}

// borg runs borg with one of the keys.
func (b *borgWorld) borg(key string, args ...string) (string, error) {
	b.t.Helper()
	return b.run("", "", b.borgLine(key, args...)...)
}

func (b *borgWorld) borgLine(key string, args ...string) []string {
	b.t.Helper()
	rsh := "ssh " + strings.Join(b.sshOptions(sshPort, key), " ")
	return append([]string{"borg", "--rsh", rsh, "--remote-path", "borg-1.4", "--lock-wait", "5"}, args...)
}

func (b *borgWorld) mustBorg(key string, args ...string) string {
	b.t.Helper()
	out, err := b.borg(key, args...)
	require.NoError(b.t, err, "borg %s: %s", strings.Join(args, " "), out)
	return out
}

const repository = "ssh://" + login1 + "@127.0.0.1/./homelab"

// random is a file that no compression makes smaller.
func (w *world) random(name string, size int) string {
	w.t.Helper()
	content := make([]byte, size)
	_, err := rand.Read(content)
	require.NoError(w.t, err)
	return w.write(name, string(content), 0o600)
}

// The key of the server cannot take away what the operator's can still read.
func TestBorgAppendOnly(t *testing.T) {
	t.Parallel()
	b := newBorgWorld(t, aBox())
	b.mustBorg(b.appends, "init", "--encryption", "repokey-blake2", repository)
	first := b.random("first", mebibyte)
	b.mustBorg(b.appends, "create", repository+"::first", first)
	segments := b.segments()
	transaction := segments[len(segments)-1]

	b.mustBorg(b.appends, "create", repository+"::second", b.random("second", mebibyte))
	assert.Equal(t, []string{"first", "second"}, strings.Fields(b.mustBorg(b.prunes, "list", "--short", repository)))

	// An attacker with the server's key deletes, and tries to make it final.
	b.mustBorg(b.appends, "prune", "--keep-last", "1", repository)
	b.mustBorg(b.appends, "delete", repository+"::second")
	said, err := b.borg(b.appends, "compact", repository)
	if err == nil {
		assert.Empty(t, strings.TrimSpace(said))
	}
	assert.Empty(t, strings.Fields(b.mustBorg(b.prunes, "list", "--short", repository)))
	for _, s := range segments {
		assert.Contains(t, b.segments(), s, "data of the first archive is gone")
	}

	// The operator goes back to the transaction of the first archive, as borg's manual says.
	for _, s := range b.segments() {
		if s > transaction {
			require.NoError(t, os.Remove(b.segment(s)))
		}
	}
	for _, pattern := range []string{"index.*", "hints.*", "integrity.*"} {
		found, err := filepath.Glob(b.inBox(home, "homelab", pattern))
		require.NoError(t, err)
		for _, f := range found {
			require.NoError(t, os.Remove(f))
		}
	}
	require.NoError(t, os.RemoveAll(filepath.Join(b.files, "borg"))) // what he knows of the later ones
	assert.Equal(t, []string{"first"}, strings.Fields(b.mustBorg(b.prunes, "list", "--short", repository)))
	content, err := os.ReadFile(first)
	require.NoError(t, err)
	require.NoError(t, os.Remove(first))
	b.mustBorg(b.prunes, "extract", repository+"::first")
	restored, err := os.ReadFile(filepath.Join(b.files, first))
	require.NoError(t, err)
	assert.Equal(t, content, restored)

	// His own key does delete.
	b.mustBorg(b.prunes, "delete", repository+"::first")
	b.mustBorg(b.prunes, "compact", repository)
	assert.NotContains(t, b.segments(), segments[0])
}

// segments are the numbers of the repository's data files, in order.
func (b *borgWorld) segments() []int {
	b.t.Helper()
	found, err := filepath.Glob(b.inBox(home, "homelab", "data", "*", "*"))
	require.NoError(b.t, err)
	var out []int
	for _, f := range found {
		n, err := strconv.Atoi(filepath.Base(f))
		require.NoError(b.t, err)
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func (b *borgWorld) segment(n int) string {
	return b.inBox(home, "homelab", "data", strconv.Itoa(n/1000), strconv.Itoa(n))
}

// Both keys serve one repository and do nothing else.
func TestBorgKeysDoNothingElse(t *testing.T) {
	t.Parallel()
	b := newBorgWorld(t, aBox())
	b.mustBorg(b.prunes, "init", "--encryption", "none", repository)
	require.NoError(t, os.WriteFile(b.inBox(home, "secret"), []byte("of others"), 0o600))
	require.NoError(t, os.Symlink("/etc", b.inBox(home, "out")))
	for name, key := range map[string]string{"appends": b.appends, "prunes": b.prunes} {
		paths := []string{"/home/elsewhere", "/./homelab/../elsewhere", "/./out/elsewhere"}
		if key == b.prunes {
			paths = paths[:1] // the same program judges
		}
		for _, path := range paths {
			said, err := b.borg(key, "init", "--encryption", "none", "ssh://"+login1+"@127.0.0.1"+path)
			require.Error(t, err, "%s made a repository at %s", name, path)
			assert.Contains(t, said, "Repository path not allowed", path)
		}
		ssh := append([]string{"ssh"}, b.sshOptions(sshPort, key)...)
		for _, command := range []string{"cat secret", "rm -r homelab", "rsync --server --sender . secret", ""} {
			said, _ := b.run("", "", append(slices.Clone(ssh), login1+"@127.0.0.1", command)...)
			assert.NotContains(t, said, "of others", "%s: %s", name, command)
		}
		sftp := append([]string{"sftp"}, b.sshOptions(sshPort, key)...)
		said, err := b.run("", "get secret\n", append(sftp, "-b", "-", login1+"@127.0.0.1")...)
		require.Error(t, err, "%s transferred files: %s", name, said)
	}
	assert.DirExists(t, b.inBox(home, "homelab"))
	assert.NoDirExists(t, b.inBox(home, "elsewhere"))
	entries, err := os.ReadDir(b.inBox(home))
	require.NoError(t, err)
	assert.Len(t, entries, 4, "borg left something beside the repository: %v", entries)
}

// Paths of a client that logs in with its password are those of a real box, and stay in the home.
func TestBorgWithAPassword(t *testing.T) {
	t.Parallel()
	b := newBorgWorld(t, aBox())
	rsh := "ssh " + strings.Join(b.sshOptions(sshPort, ""), " ")
	for path, ok := range map[string]bool{"/./one": true, "/home/two": true, "/~/three": true, "/etc/four": false, "/five": false, "/./out/six": false} {
		require.NoError(t, gone(os.Remove(b.inBox(home, "out"))))
		require.NoError(t, os.Symlink(b.files, b.inBox(home, "out")))
		said, err := b.run(password, "", "borg", "--rsh", rsh, "init", "--encryption", "none", "ssh://"+login1+"@127.0.0.1"+path)
		assert.Equal(t, ok, err == nil, "%s: %s", path, said)
	}
	assert.FileExists(t, b.inBox(home, "one", "config"))
	assert.FileExists(t, b.inBox(home, "two", "config"))
	assert.FileExists(t, b.inBox(home, "three", "config"))
	assert.NoDirExists(t, filepath.Join(b.files, "six"))
}

// A full box ends a backup with an error and keeps the archives that it has; with room again, the
// next backup works.
func TestBorgOnAFullBox(t *testing.T) {
	t.Parallel()
	declared := aBox()
	declared.Size = 4 * mebibyte
	b := newBorgWorld(t, declared)
	b.mustBorg(b.prunes, "init", "--encryption", "none", repository)
	b.mustBorg(b.prunes, "create", repository+"::small", b.random("small", mebibyte))
	large := b.random("large", 32*mebibyte)
	said, err := b.borg(b.prunes, "create", repository+"::large", large)
	require.Error(t, err)
	assert.Contains(t, said, "Disk quota exceeded")
	used, err := b.server.Usage("7")
	require.NoError(t, err)
	assert.Less(t, used, int64(20*mebibyte), "borg writes up to 8 MiB at once, and no more than that came after the box was full")

	declared.Size = 64 * mebibyte
	b.apply(declared)
	assert.Equal(t, "small\n", b.mustBorg(b.prunes, "list", "--short", repository))
	b.mustBorg(b.prunes, "create", repository+"::large", large)
	b.mustBorg(b.prunes, "check", "--verify-data", repository)
}

// A client that loses power in the middle leaves a repository that the next one can use, and so
// does a snapshot of that moment.
func TestBorgIsCut(t *testing.T) {
	t.Parallel()
	b := newBorgWorld(t, aBox())
	b.mustBorg(b.prunes, "init", "--encryption", "none", repository)
	b.mustBorg(b.appends, "create", repository+"::before", b.random("small", mebibyte))
	large := b.random("large", 24*mebibyte)
	line := b.borgLine(b.appends, "--upload-ratelimit", "4000", "create", repository+"::during", large)
	during := b.program("", line...)
	require.NoError(t, during.Start())
	require.Eventually(t, func() bool {
		used, err := b.server.Usage("7")
		require.NoError(t, err)
		return used > 4*mebibyte
	}, 20*time.Second, 20*time.Millisecond)
	snapshot, err := b.server.Snapshot("7")
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(-during.Process.Pid, syscall.SIGKILL))
	require.Error(t, during.Wait())

	b.mustBorg(b.appends, "create", repository+"::after", large)
	assert.Equal(t, "before\nafter\n", b.mustBorg(b.prunes, "list", "--short", repository))

	require.NoError(t, b.server.Rollback("7", snapshot))
	require.DirExists(t, b.inBox(home, "homelab", "lock.exclusive"), "the snapshot is not of the middle of a backup")
	require.NoError(t, os.RemoveAll(filepath.Join(b.files, "borg"))) // what the client knows of the later ones
	listed := b.mustBorg(b.prunes, "list", "--short", repository)
	assert.Contains(t, listed, "before\n")
	assert.Contains(t, listed, "Killed stale lock")
	assert.NotContains(t, listed, "after")
	b.mustBorg(b.appends, "create", repository+"::again", b.random("again", mebibyte))
	b.mustBorg(b.prunes, "check", repository)
}
