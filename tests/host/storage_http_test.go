//go:build host

package host

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// needsFUSE leaves a test of the mount to TestMediaWithoutTheKernel where the machine does not let
// anybody mount; make test-host says so.
func needsFUSE(t *testing.T) {
	t.Helper()
	info, err := os.Stat("/dev/fuse")
	device, denied := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil || denied != nil || info.Mode()&os.ModeCharDevice == 0 {
		t.Skipf("FUSE is not permitted here (%v): TestMediaWithoutTheKernel drives the mount's options through rclone's VFS alone", denied)
	}
	require.NoError(t, device.Close())
}

// front is rclone's VFS with the mount unit's options, reached over HTTP instead of through the
// kernel.
type front struct {
	*library
	process *exec.Cmd
	url     string
}

// kernelOptions mean something to the kernel or to mount(8) alone.
var kernelOptions = map[string]bool{
	"rw": true, "_netdev": true, "allow_other": true, "default_permissions": true, "args2env": true, "attr_timeout": true,
}

func (f *front) start() {
	f.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f.t, err)
	address := listener.Addr().String()
	require.NoError(f.t, listener.Close())
	require.NoError(f.t, f.program("prepare", "webdav", "2000"))
	args := []string{"serve", "webdav", "--addr", address}
	for _, option := range strings.Split(f.options, ",") {
		name, value, _ := strings.Cut(option, "=")
		if !kernelOptions[name] {
			args = append(args, "--"+strings.ReplaceAll(name, "_", "-")+"="+value)
		}
	}
	f.process = exec.Command("rclone", append(args, "media:")...)
	said := &bytes.Buffer{}
	f.process.Stderr = said
	require.NoError(f.t, f.process.Start())
	f.url = "http://" + address + "/"
	require.Eventually(f.t, func() bool {
		answer, err := http.Get(f.url)
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil
	}, 20*time.Second, 50*time.Millisecond, "rclone did not take the mount's options: %s", strings.Join(args, " "))
}

func (f *front) stop() {
	if f.process != nil {
		_ = f.process.Process.Kill()
		_ = f.process.Wait()
		f.process = nil
	}
}

// ask sends one request; header is an optional name and value.
func (f *front) ask(method, path, body string, header ...string) (int, string) {
	f.t.Helper()
	request, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	require.NoError(f.t, err)
	if len(header) == 2 {
		request.Header.Set(header[0], header[1])
	}
	answer, err := (&http.Client{Timeout: 3 * time.Minute}).Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

// reads returns the bytes from one place to another, or an error.
func (f *front) reads(path string, from, to int64) (string, error) {
	status, text := f.ask(http.MethodGet, path, "", "Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	if status != http.StatusPartialContent {
		return "", fmt.Errorf("%d: %s", status, text)
	}
	return text, nil
}

// The mount's cache, its options and its credentials without a mount: what needs no kernel is tried
// where there is no FUSE, too.
func TestMediaWithoutTheKernel(t *testing.T) {
	deployment := files(t, deploy(t))
	password := deployment["/opt/homelab/media/password"]
	f := &front{library: newLibrary(t, deployment)}
	t.Cleanup(f.stop)
	require.NoError(t, exec.Command("mount", "-t", "tmpfs", "-o", "size=64m", "cache", f.cache).Run())
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", f.cache).Run() })
	f.serve(password)
	f.start()
	require.Error(t, os.WriteFile(f.point+"/lost", []byte("x"), 0o644), "root wrote below the bare mount point")

	body := strings.Repeat("homelab ", 1<<17)
	status, said := f.ask(http.MethodPut, "a.mkv", body)
	require.Equal(t, http.StatusCreated, status, "%s", said)
	f.arrives("a.mkv", int64(len(body)))
	status, said = f.ask("MOVE", "a.mkv", "", "Destination", f.url+"b.mkv")
	require.Equal(t, http.StatusCreated, status, "%s", said)
	f.arrives("b.mkv", int64(len(body)))
	got, err := f.reads("b.mkv", 0, int64(len(body)))
	require.NoError(t, err)
	assert.Equal(t, body, got)

	// 4 GiB that the machine has never seen: what is read of it fits into a cache of 64 MiB.
	const size = 4 << 30
	large, err := os.Create(f.data + "/large.mkv")
	require.NoError(t, err)
	require.NoError(t, large.Truncate(size))
	_, err = large.WriteAt([]byte("the middle"), size/2)
	require.NoError(t, err)
	require.NoError(t, large.Close())
	for _, name := range []string{"seen", "later", "after"} {
		require.NoError(t, os.WriteFile(f.data+"/"+name, []byte(name), 0o644))
	}
	f.stop()
	f.start()
	started := time.Now()
	got, err = f.reads("large.mkv", size/2, size/2+10)
	require.NoError(t, err)
	assert.Equal(t, "the middle", got)
	assert.Less(t, time.Since(started), 5*time.Second)

	// The box goes and comes back.
	_, err = f.reads("seen", 0, 4)
	require.NoError(t, err)
	f.library.stop()
	got, err = f.reads("seen", 0, 4)
	require.NoError(t, err, "what the machine has does not need the box")
	assert.Equal(t, "seen", got)
	_, err = f.reads("later", 0, 5)
	require.Error(t, err, "a file came from a box that is not there")
	f.serve(password)
	got, err = f.reads("later", 0, 5)
	require.NoError(t, err, "it did not recover by itself")
	assert.Equal(t, "later", got)

	// Another password: nothing is read with the old one.
	f.library.stop()
	f.serve("Another/Password1")
	_, err = f.reads("after", 0, 5)
	require.Error(t, err)
	f.stop()
	f.write("files/password", "Another/Password1")
	f.start()
	got, err = f.reads("after", 0, 5)
	require.NoError(t, err)
	assert.Equal(t, "after", got)

	// The disk is full: the writer is told, and what comes later arrives.
	status, _ = f.ask(http.MethodPut, "too-large", strings.Repeat("x", 256<<20))
	assert.NotEqual(t, http.StatusCreated, status, "256 MiB fit on a disk of 64")
	_, _ = f.ask(http.MethodDelete, "too-large", "")
	require.Eventually(t, func() bool {
		status, _ := f.ask(http.MethodPut, "small", "small")
		return status == http.StatusCreated
	}, time.Minute, time.Second)
	f.arrives("small", 5)
}
