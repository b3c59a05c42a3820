package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

type m = map[string]any

// engineUnderTest is a real Docker engine in a network of its own.
type engineUnderTest struct {
	*Engine

	t      *testing.T
	socket string
}

// startDocker runs dockerd as root, with folders and a network namespace of its own: nothing of it
// is left on the computer.
func startDocker(t *testing.T) *engineUnderTest {
	t.Helper()
	for _, program := range []string{"dockerd", "docker", "busybox", "ip", "unshare"} {
		_, err := exec.LookPath(program)
		require.NoError(t, err, "the test needs Debian's packages docker.io, busybox, iproute2 and util-linux")
	}
	dir, err := os.MkdirTemp("/var/tmp", "homelab-engine-") // the path of a socket may have 107 characters
	require.NoError(t, err)
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o600))
	e := &engineUnderTest{Engine: New(Options{}), t: t, socket: filepath.Join(dir, "docker.sock")}
	daemon := exec.Command("unshare", "--net", "--mount", "--propagation", "private", "sh", "-ec", `mount --make-rshared /; ip link set lo up; exec "$@"`, "dockerd",
		"dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "--host", "unix://"+e.socket, "--storage-driver", "vfs",
		"--userland-proxy=false", "--config-file", dir+"/daemon.json")
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	require.NoError(t, daemon.Start())
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
		_ = log.Close()
		_ = os.RemoveAll(dir)
	})
	e.connect = func(ctx context.Context, _ rehearsal.DockerCall) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", e.socket)
	}
	require.Eventually(t, func() bool { return exec.Command("docker", "--host", "unix://"+e.socket, "info").Run() == nil }, 60*time.Second, 100*time.Millisecond)
	return e
}

// try is one call.
func (e *engineUnderTest) try(operation rehearsal.Operation, token, id string, in m) (rehearsal.DockerResult, error) {
	e.t.Helper()
	text, err := json.Marshal(in)
	require.NoError(e.t, err)
	return e.Docker(e.t.Context(), rehearsal.DockerCall{Type: "docker:index/" + token, Operation: operation, ID: id, Inputs: text})
}

// do is a call that succeeds; numbers are those of JSON.
func (e *engineUnderTest) do(operation rehearsal.Operation, token, id string, in m) (string, m) {
	e.t.Helper()
	result, err := e.try(operation, token, id, in)
	require.NoError(e.t, err)
	require.Empty(e.t, result.NotReady)
	text, err := json.Marshal(result.Outputs)
	require.NoError(e.t, err)
	var out m
	require.NoError(e.t, json.Unmarshal(text, &out))
	return result.ID, out
}

// docker runs Docker's own command.
func (e *engineUnderTest) docker(words ...string) string {
	e.t.Helper()
	out, err := exec.Command("docker", append([]string{"--host", "unix://" + e.socket}, words...)...).CombinedOutput()
	require.NoError(e.t, err, "docker %v: %s", words, out)
	return string(bytes.TrimSpace(out))
}

var sharedLibrary = regexp.MustCompile(`(/\S+) \(0x`)

// busybox is the file system of an image with busybox and what it is linked with.
func busybox(t *testing.T) []byte {
	t.Helper()
	path, err := exec.LookPath("busybox")
	require.NoError(t, err)
	files := map[string]string{"bin/busybox": path}
	program, err := elf.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, program.Close()) }()
	if libraries, err := program.ImportedLibraries(); err == nil && len(libraries) > 0 {
		linked, err := exec.Command("ldd", path).Output()
		require.NoError(t, err)
		for _, found := range sharedLibrary.FindAllSubmatch(linked, -1) {
			files[string(found[1][1:])] = string(found[1])
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	folders := map[string]bool{} // without an entry of their own only root may enter them
	for name := range files {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			folders[dir] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}))
	}
	for name, from := range files {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
		_, err = w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// importSample makes the image sample:1 and returns its ID.
func (e *engineUnderTest) importSample() string {
	e.t.Helper()
	load := exec.Command("docker", "--host", "unix://"+e.socket, "import", "-", "sample:1")
	load.Stdin = bytes.NewReader(busybox(e.t))
	out, err := load.CombinedOutput()
	require.NoError(e.t, err, "%s", out)
	return string(bytes.TrimSpace(out))
}
