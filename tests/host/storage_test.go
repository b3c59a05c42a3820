//go:build host

package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	putFile = regexp.MustCompile(`homelab-file put \d+ \S+ (\S+)$`)
	putUnit = regexp.MustCompile(`homelab-unit put (\S+)$`)
)

func files(t testing.TB, commands []deployed) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, c := range commands {
		if m := putFile.FindStringSubmatch(c.script); m != nil {
			out[m[1]] = c.stdin
		}
		if m := putUnit.FindStringSubmatch(c.script); m != nil {
			out["/etc/systemd/system/"+m[1]] = c.stdin
		}
	}
	require.Greater(t, len(out), 30)
	return out
}

// library is the deployment's media mount against a WebDAV server on loopback: its program, its
// configuration and its options are used as they are, but for the places and the server's address.
type library struct {
	t                       testing.TB
	dir, data, point, cache string
	address, user           string
	options                 string
	server                  *exec.Cmd
}

var options = regexp.MustCompile(`(?m)^Options=(.*)$`)

func newLibrary(t testing.TB, deployment map[string]string) *library {
	t.Helper()
	require.Zero(t, os.Getuid(), "this test needs root")
	dir := t.TempDir()
	l := &library{t: t, dir: dir, data: dir + "/box", point: dir + "/storagebox", cache: dir + "/cache"}
	// Other users are tried on the mount.
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	for _, folder := range []string{l.data, dir + "/files", dir + "/run", l.cache} {
		require.NoError(t, os.Mkdir(folder, 0o755))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.address = listener.Addr().String()
	require.NoError(t, listener.Close())
	conf := deployment["/opt/homelab/media/rclone.conf"]
	l.user = regexp.MustCompile(`(?m)^user = (.*)$`).FindStringSubmatch(conf)[1]
	conf = regexp.MustCompile(`(?m)^url = .*$`).ReplaceAllString(conf, "url = http://"+l.address+"/")
	l.write("files/rclone.conf", conf)
	l.write("files/password", deployment["/opt/homelab/media/password"])
	l.write("files/homelab-media", deployment["/opt/homelab/media/homelab-media"])
	l.options = options.FindStringSubmatch(deployment["/etc/systemd/system/mnt-storagebox.mount"])[1]
	for from, to := range map[string]string{"/run/homelab-media": dir + "/run", "/var/cache/homelab-media": l.cache} {
		require.Contains(t, l.options, from)
		l.options = strings.ReplaceAll(l.options, from, to)
	}
	if _, err := os.Lstat("/usr/sbin/mount.rclone"); os.IsNotExist(err) {
		rclone, err := exec.LookPath("rclone")
		require.NoError(t, err)
		require.NoError(t, os.Symlink(rclone, "/usr/sbin/mount.rclone")) // as the first boot does
		t.Cleanup(func() { _ = os.Remove("/usr/sbin/mount.rclone") })
	}
	t.Cleanup(func() {
		l.unmount()
		l.stop()
		_ = exec.Command("chattr", "-i", l.point).Run()
	})
	return l
}

// gate is where homelab-media says that the library is there.
func (l *library) gate() string { return l.dir + "/gates/media" }

func (l *library) write(name, content string) {
	l.t.Helper()
	require.NoError(l.t, os.WriteFile(filepath.Join(l.dir, name), []byte(content), 0o600))
}

func (l *library) read(name string) string {
	l.t.Helper()
	content, err := os.ReadFile(filepath.Join(l.dir, name))
	require.NoError(l.t, err)
	return string(content)
}

// serve starts the box.
func (l *library) serve(password string) {
	l.t.Helper()
	l.server = exec.Command("rclone", "serve", "webdav", "--config", "/dev/null", "--addr", l.address, "--dir-cache-time", "0s", "--user", l.user, "--pass", password, l.data)
	l.server.Stdout, l.server.Stderr = io.Discard, io.Discard
	require.NoError(l.t, l.server.Start())
	require.Eventually(l.t, func() bool {
		c, err := net.DialTimeout("tcp", l.address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 20*time.Second, 50*time.Millisecond)
}

func (l *library) stop() {
	if l.server != nil {
		_ = l.server.Process.Kill()
		_ = l.server.Wait()
		l.server = nil
	}
}

// program runs homelab-media.
func (l *library) program(args ...string) error {
	cmd := exec.Command("bash", append([]string{l.dir + "/files/homelab-media"}, args...)...)
	cmd.Env = append(os.Environ(), "HOMELAB_MEDIA_FILES="+l.dir+"/files", "HOMELAB_MEDIA_RUN="+l.dir+"/run", "HOMELAB_MEDIA_CACHE="+l.cache,
		"HOMELAB_MEDIA_POINT="+l.point)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("homelab-media %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// mount does what systemd does for the unit.
func (l *library) mount() error {
	if err := l.program("prepare", "webdav", "2000"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "mount", "-t", "rclone", "-o", l.options, "media:", l.point)
	// The helper goes on as the file system's daemon: a pipe would wait for it.
	log, err := os.Create(l.dir + "/mount.log")
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mounting: %w: %s", err, l.read("mount.log"))
	}
	return nil
}

func (l *library) unmount() { _ = exec.Command("umount", "--lazy", l.point).Run() }

// as runs a shell command as a user of the machine.
func (l *library) as(user, script string) error {
	cmd := exec.Command("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "sh", "-c", script)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// arrives waits until the box holds the file.
func (l *library) arrives(name string, size int64) {
	l.t.Helper()
	require.Eventually(l.t, func() bool {
		info, err := os.Stat(filepath.Join(l.data, name))
		return err == nil && info.Size() == size
	}, 5*time.Minute, 200*time.Millisecond, "%s did not arrive on the box", name)
}

func TestMediaMount(t *testing.T) {
	needsFUSE(t)
	deployment := files(t, deploy(t))
	password := deployment["/opt/homelab/media/password"]
	l := newLibrary(t, deployment)

	// Nothing is mounted: nobody writes below the bare mount point, and the library is not declared
	// ready.
	require.NoError(t, l.program("prepare", "webdav", "2000"))
	require.Error(t, os.WriteFile(l.point+"/lost", []byte("x"), 0o644), "root wrote to the system's disk")
	require.Error(t, os.Mkdir(l.point+"/movies", 0o755))
	require.ErrorContains(t, l.program("layout", l.gate(), "2000", "movies"), "is not mounted")
	assert.NoDirExists(t, l.gate())
	config, err := os.Stat(l.dir + "/run/rclone.conf")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), config.Mode().Perm())
	assert.NotContains(t, l.read("run/rclone.conf"), password)

	l.serve(password)
	require.NoError(t, l.mount())
	require.NoError(t, l.program("layout", l.gate(), "2000", "downloads", "movies", "music", "tv"))
	require.NoError(t, l.program("layout", l.gate(), "2000", "downloads", "movies", "music", "tv"), "a second time")
	assert.DirExists(t, l.gate(), "what looks into the library may start")
	require.NoError(t, l.program("close", l.gate()))
	require.NoError(t, l.program("close", l.gate()), "a second time")
	assert.NoDirExists(t, l.gate())
	require.NoError(t, l.program("prepare", "webdav", "2000"), "while it is mounted")
	for _, folder := range []string{"downloads", "movies", "music", "tv"} {
		assert.DirExists(t, l.data+"/"+folder)
	}

	t.Run("write, read, rename", func(t *testing.T) {
		body := bytes.Repeat([]byte("homelab "), 1<<17)
		require.NoError(t, os.WriteFile(l.point+"/downloads/a.mkv", body, 0o644))
		l.arrives("downloads/a.mkv", int64(len(body)))
		require.NoError(t, os.Rename(l.point+"/downloads/a.mkv", l.point+"/movies/b.mkv"))
		l.arrives("movies/b.mkv", int64(len(body)))
		assert.NoFileExists(t, l.data+"/downloads/a.mkv")
		got, err := os.ReadFile(l.point + "/movies/b.mkv")
		require.NoError(t, err)
		assert.True(t, bytes.Equal(body, got))
		require.NoError(t, os.Remove(l.point+"/movies/b.mkv"))
		assert.NoFileExists(t, l.data+"/movies/b.mkv")
	})
	t.Run("only the library's owner writes", func(t *testing.T) {
		require.NoError(t, l.as("2000", "echo x >"+l.point+"/music/owner"))
		require.NoError(t, l.as("2001", "cat "+l.point+"/music/owner"))
		require.Error(t, l.as("2001", "echo x >"+l.point+"/music/player"))
		require.Error(t, l.as("2001", "rm -f "+l.point+"/music/owner"))
	})
	t.Run("a file of 4 GiB", func(t *testing.T) { largeFile(t, l) })
	t.Run("the box goes and comes back", func(t *testing.T) { outage(t, l, password) })
	t.Run("another password", func(t *testing.T) { otherPassword(t, l) })
}

// largeFile writes 4 GiB and reads a piece of the middle of a file that the machine has never seen.
func largeFile(t *testing.T, l *library) {
	const size = 4 << 30
	file, err := os.Create(l.point + "/movies/large.mkv")
	require.NoError(t, err)
	require.NoError(t, file.Truncate(size))
	for _, at := range []int64{0, size / 2, size - 8} {
		_, err := file.WriteAt(fmt.Appendf(nil, "%08x", at>>4), at)
		require.NoError(t, err)
	}
	require.NoError(t, file.Close())
	l.arrives("movies/large.mkv", size)
	require.NoError(t, os.Rename(l.point+"/movies/large.mkv", l.point+"/movies/unseen.mkv"))
	l.arrives("movies/unseen.mkv", size)
	l.unmount()
	require.NoError(t, os.RemoveAll(l.cache+"/vfs"))
	require.NoError(t, l.mount())
	unseen, err := os.Open(l.point + "/movies/unseen.mkv")
	require.NoError(t, err)
	defer unseen.Close()
	for _, at := range []int64{size / 2, size - 8, 0} {
		started, got := time.Now(), make([]byte, 8)
		_, err := unseen.ReadAt(got, at)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("%08x", at>>4), string(got))
		assert.Less(t, time.Since(started), 5*time.Second, "a seek to %d fetched far more than it needed", at)
	}
	used, err := exec.Command("du", "--summarize", "--block-size=1M", l.cache).Output()
	require.NoError(t, err)
	var mebibytes int
	_, err = fmt.Sscan(string(used), &mebibytes)
	require.NoError(t, err)
	assert.Less(t, mebibytes, 1024, "three small reads fetched most of the file")
}

func outage(t *testing.T, l *library, password string) {
	require.NoError(t, os.WriteFile(l.data+"/tv/seen", []byte("seen"), 0o644))
	require.NoError(t, os.WriteFile(l.data+"/tv/later", []byte("later"), 0o644))
	l.unmount()
	require.NoError(t, l.mount())
	_, err := os.ReadFile(l.point + "/tv/seen")
	require.NoError(t, err)
	l.stop()
	got, err := os.ReadFile(l.point + "/tv/seen")
	require.NoError(t, err, "what the machine has does not need the box")
	assert.Equal(t, "seen", string(got))
	_, err = os.ReadFile(l.point + "/tv/later")
	require.Error(t, err, "a file came from a box that is not there")
	// Written while the box is away: kept, and sent when it is back.
	require.NoError(t, os.WriteFile(l.point+"/tv/patient", []byte("patient"), 0o644))
	l.serve(password)
	l.arrives("tv/patient", 7)
	got, err = os.ReadFile(l.point + "/tv/later")
	require.NoError(t, err, "the mount did not recover by itself")
	assert.Equal(t, "later", string(got))
}

func otherPassword(t *testing.T, l *library) {
	require.NoError(t, os.WriteFile(l.data+"/tv/after", []byte("after"), 0o644))
	l.stop()
	l.serve("Another/Password1")
	_, err := os.ReadFile(l.point + "/tv/after")
	require.Error(t, err)
	l.write("files/password", "Another/Password1")
	l.unmount()
	require.NoError(t, l.mount())
	got, err := os.ReadFile(l.point + "/tv/after")
	require.NoError(t, err)
	assert.Equal(t, "after", string(got))
}

// The cache's disk is full: the writer is told, nothing half written reaches the box, and the mount
// goes on.
func TestMediaMountWithAFullDisk(t *testing.T) {
	needsFUSE(t)
	deployment := files(t, deploy(t))
	l := newLibrary(t, deployment)
	require.NoError(t, exec.Command("mount", "-t", "tmpfs", "-o", "size=16m", "cache", l.cache).Run())
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", l.cache).Run() })
	l.serve(deployment["/opt/homelab/media/password"])
	require.NoError(t, l.mount())
	require.NoError(t, l.program("layout", l.gate(), "2000", "movies"))
	err := os.WriteFile(l.point+"/movies/too-large", make([]byte, 64<<20), 0o644)
	require.Error(t, err, "64 MiB fit on a disk of 16")
	_ = os.Remove(l.point + "/movies/too-large")
	require.Eventually(t, func() bool { return os.WriteFile(l.point+"/movies/small", []byte("small"), 0o644) == nil }, time.Minute, time.Second)
	l.arrives("movies/small", 5)
	info, err := os.Stat(l.data + "/movies/too-large")
	assert.True(t, os.IsNotExist(err) || info.Size() < 64<<20)
}
