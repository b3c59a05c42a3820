//go:build linux

package vpn

import (
	"archive/tar"
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/vpnkeys"
)

// docker is a Docker engine of the machine, whose folders are the test's.
type docker struct {
	t      *testing.T
	socket string
}

func (s *space) docker() *docker {
	t := s.t
	t.Helper()
	folder, err := os.MkdirTemp("/var/tmp", "homelab-vpn-") // the path of a socket may have 107 characters
	require.NoError(t, err)
	d := &docker{t, filepath.Join(folder, "docker.sock")}
	log, err := os.Create(filepath.Join(folder, "log"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "daemon.json"), []byte("{}"), 0o600))
	daemon := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", `mount --make-rshared /; exec "$@"`, "dockerd",
		"dockerd", "--data-root", folder+"/data", "--exec-root", folder+"/exec", "--pidfile", folder+"/pid", "--host", "unix://"+d.socket,
		"--storage-driver", "vfs", "--userland-proxy=false", "--config-file", folder+"/daemon.json")
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	s.do(func() { err = daemon.Start() })
	require.NoError(t, err, "the test needs Debian's package docker.io")
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
		_ = log.Close()
		_ = os.RemoveAll(folder)
	})
	require.Eventually(t, func() bool { return d.command("info").Run() == nil }, patience, interval)
	return d
}

func (d *docker) command(words ...string) *exec.Cmd {
	return exec.Command("docker", append([]string{"--host", "unix://" + d.socket}, words...)...)
}

func (d *docker) run(words ...string) string {
	d.t.Helper()
	var said bytes.Buffer
	cmd := d.command(words...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(d.t, err, "docker %q: %s", words, &said)
	return strings.TrimSpace(string(out))
}

// load makes the image as far as the tunnel needs it.
func (d *docker) load(program string) {
	d.t.Helper()
	content, err := os.ReadFile(program)
	require.NoError(d.t, err)
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for _, h := range []tar.Header{
		{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "usr/bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "usr/local/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "usr/local/bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "usr/local/bin/standin", Mode: 0o755, Size: int64(len(content))},
		{Name: "gluetun-entrypoint", Typeflag: tar.TypeSymlink, Linkname: "/usr/local/bin/standin"},
		{Name: "usr/bin/wget", Typeflag: tar.TypeSymlink, Linkname: "/usr/local/bin/standin"},
	} {
		require.NoError(d.t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write(content)
			require.NoError(d.t, err)
		}
	}
	require.NoError(d.t, w.Close())
	load := d.command("import", "--change", `ENTRYPOINT ["/gluetun-entrypoint"]`, "--change", `HEALTHCHECK --interval=1s CMD ["/gluetun-entrypoint", "healthcheck"]`, "-", "gluetun:1")
	load.Stdin = &image
	out, err := load.CombinedOutput()
	require.NoError(d.t, err, "%s", out)
}

// The container has the rights that components/vpn declares, and what is behind it has its network.
func TestTheStandinInAContainer(t *testing.T) {
	r := newRehearsal(t, vpnkeys.Server(), vpnkeys.Client().PublicKey())
	d := r.machine.docker()
	d.load(r.program)
	d.run("network", "create", "--subnet", "172.30.3.0/24", "--gateway", bridgeAddress, "gluetun")
	words := []string{
		"run", "--detach", "--name", "gluetun", "--network", "gluetun", "--ip", containerAddress, "--dns", "185.12.64.1", "--user", "0:0",
		"--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--security-opt", "no-new-privileges", "--device", "/dev/net/tun",
		"--memory", "256m", "--memory-swap", "256m", "--tmpfs", "/tmp/gluetun:size=1m", "--volume", r.folder + ":" + r.folder + ":ro",
	}
	for _, e := range r.env {
		if !strings.HasPrefix(e, "PATH=") {
			words = append(words, "--env", e)
		}
	}
	d.run(append(words, "gluetun:1")...)
	said := func() string { out, _ := d.command("logs", "gluetun").CombinedOutput(); return string(out) }
	require.Eventually(t, func() bool { return d.run("inspect", "--format", "{{.State.Health.Status}}", "gluetun") == "healthy" }, patience, interval, "%s", said())
	assert.Equal(t, []netip.AddrPort{endpoint51}, r.server.Addresses())

	behind := d.run("run", "--rm", "--network", "container:gluetun", "--user", "2000:2000", "--cap-drop", "ALL", "--entrypoint", "/usr/bin/wget", "gluetun:1",
		"-q", "-T", "10", "-O", "-", "http://site.example.com/")
	assert.Equal(t, exitAddress, netip.MustParseAddrPort(behind).Addr(), "by its name, which is asked for through the tunnel")
	asked := d.run("exec", "gluetun", "wget", "-q", "-T", "4", "-O", "-", "https://1.1.1.1/cdn-cgi/trace")
	assert.Equal(t, exitAddress, netip.MustParseAddrPort(asked).Addr())

	pid, err := strconv.Atoi(d.run("inspect", "--format", "{{.State.Pid}}", "gluetun"))
	require.NoError(t, err)
	r.container = spaceOf(t, pid)
	r.sendsPastTheTunnel("in the container")
	begin := time.Now()
	d.run("stop", "--time", "30", "gluetun")
	assert.Less(t, time.Since(begin), 20*time.Second, "it had to be killed")
	assert.Equal(t, "0", d.run("inspect", "--format", "{{.State.ExitCode}}", "gluetun"), said())
	d.run("start", "gluetun")
	require.Eventually(t, func() bool { return d.run("inspect", "--format", "{{.State.Health.Status}}", "gluetun") == "healthy" }, patience, interval, "%s", said())
}
