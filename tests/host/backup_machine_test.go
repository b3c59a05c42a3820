//go:build host

package host

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/components/settings"
	"homelab/components/stack"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

// deployed is what a simulated deployment ran on its machine.
type deployed struct{ resource, script, stdin string }

// simulate runs the whole stack on simulated clouds, with changes of its configuration.
func simulate(t testing.TB, config map[string]any) *workspace.Simulation {
	t.Helper()
	cli, err := toolchain.Pulumi(t.Context(), os.Stderr)
	require.NoError(t, err)
	options := workspace.Options{
		Project: "../..", Program: stack.From, CLI: cli, Stdout: io.Discard, Stderr: io.Discard,
		Env:    map[string]string{"PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"},
		Config: config,
	}
	for _, key := range settings.Secrets() {
		options.Secrets = append(options.Secrets, workspace.Secret{Key: key.Key, Generate: key.Generate, Needs: key.Needs})
	}
	w, err := workspace.Simulated(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	summary, err := w.Up(t.Context())
	if summary != nil {
		require.NoError(t, err, "%s", summary.Log)
	}
	require.NoError(t, err)
	return w
}

// deploy returns the commands that the server got from a deployment, in order.
func deploy(t testing.TB) []deployed {
	t.Helper()
	return commands(simulate(t, nil))
}

func commands(w *workspace.Simulation) []deployed {
	var out []deployed
	for _, c := range w.World().Commands("") {
		out = append(out, deployed{c.Resource, c.Script, c.Stdin})
	}
	return out
}

// machine is this one as processes of their own namespaces see it: /opt/homelab, the users and the
// network are the test's. The network is a loopback on which the Storage Box answers under its own
// name and port, so that every file of the deployment can stay as it is.
type machine struct {
	t    *testing.T
	pid  int
	root string // the machine's file system, seen from outside
	dir  string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	require.Zero(t, os.Getuid(), "this test needs root")
	if err := os.Mkdir("/opt/homelab", 0o755); err == nil {
		t.Cleanup(func() { _ = os.Remove("/opt/homelab") }) // only a mount point
	}
	m := &machine{t: t, dir: t.TempDir()}
	keeper := exec.Command("unshare", "--mount", "--net", "--propagation", "private", "--", "sh", "-ec", `
		cd /
		ip link set lo up
		mkdir "$1/opt"
		mount --bind "$1/opt" /opt/homelab
		mount -t tmpfs -o mode=755 box /srv
		mount -t tmpfs -o mode=755 sbin /usr/local/sbin
		mkdir -p /run/sshd
		echo ready
		exec sleep infinity`, "sh", m.dir)
	keeper.Stderr = os.Stderr
	out, err := keeper.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, keeper.Start())
	t.Cleanup(func() {
		_ = keeper.Process.Kill()
		_ = keeper.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	m.pid = keeper.Process.Pid
	m.root = fmt.Sprintf("/proc/%d/root", m.pid)
	for _, program := range []string{"homelab-check", "homelab-file", "homelab-unit"} {
		body, err := os.ReadFile("../../components/host/files/" + program)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(m.at("/usr/local/sbin/"+program), body, 0o755))
	}
	return m
}

// at is a path of the machine, as the test process can use it.
func (m *machine) at(path string) string { return m.root + path }

func (m *machine) command(ctx context.Context, stdin string, words ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--mount", "--net", "--root", "--wd", "--target", fmt.Sprint(m.pid), "--"}, words...)...)
	c.Stdin = strings.NewReader(stdin)
	c.Dir = "/"
	return c
}

// run runs a program on the machine and returns all that it said.
func (m *machine) run(stdin string, words ...string) (string, error) {
	out, err := m.command(m.t.Context(), stdin, words...).CombinedOutput()
	return string(out), err
}

// must is run for what has to work.
func (m *machine) must(t *testing.T, words ...string) string {
	t.Helper()
	out, err := m.run("", words...)
	require.NoError(t, err, "%s: %s", strings.Join(words, " "), out)
	return out
}

// replay runs what a deployment ran, without sudo: the test is root.
func (m *machine) replay(t *testing.T, c deployed) string {
	t.Helper()
	// The packet filter is of another test: here only its files are written.
	script, _, _ := strings.Cut(c.script, " && sudo -n /usr/local/sbin/homelab-unit firewall")
	out, err := m.run(c.stdin, strings.Fields(strings.TrimPrefix(script, "sudo -n "))...)
	require.NoError(t, err, "%s: %s", c.script, out)
	return out
}

// install puts the deployment's files below /opt/homelab in their places, and returns the commands
// that set the backup up.
func (m *machine) install(t *testing.T, commands []deployed) []deployed {
	t.Helper()
	var setup []deployed
	for _, c := range commands {
		switch {
		case strings.Contains(c.script, "homelab-file backup "):
			setup = append(setup, c)
		case strings.Contains(c.script, "homelab-file ") && strings.Contains(c.script, " /opt/homelab/"):
			m.replay(t, c)
		}
	}
	require.Len(t, setup, 3)
	return setup
}

// addLine adds a line to a file of the machine's /etc.
func (m *machine) addLine(t *testing.T, path, line string) {
	t.Helper()
	original, err := os.ReadFile(m.at(path))
	require.NoError(t, err)
	file, err := os.CreateTemp(m.dir, filepath.Base(path))
	require.NoError(t, err)
	_, err = file.Write(append(original, line+"\n"...))
	require.NoError(t, err)
	require.NoError(t, file.Chmod(0o644))
	require.NoError(t, file.Close())
	m.must(t, "mount", "--bind", file.Name(), path)
}

// box is what homelab-backup knows of the Storage Box.
type box struct {
	Server, Username, Repository string
	AuthorizedKeys               []string
	Folders                      []struct {
		Path      string
		Databases []string
	}
}

const boxHome = "/srv/box"

// serve starts the Storage Box: sshd on port 23 with the sub-account's name and password, and borg
// under the name that Hetzner gives it. It returns the box's host key.
func (m *machine) serve(t *testing.T, b box, password string) string {
	t.Helper()
	key := filepath.Join(m.dir, "box_host_key")
	require.NoError(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).Run())
	hash := exec.Command("openssl", "passwd", "-6", "-stdin")
	hash.Stdin = strings.NewReader(password)
	hashed, err := hash.Output()
	require.NoError(t, err)
	for _, f := range []struct{ path, line string }{
		{"/etc/passwd", b.Username + ":x:3000:3000::" + boxHome + ":/bin/sh"},
		{"/etc/group", b.Username + ":x:3000:"},
		{"/etc/shadow", b.Username + ":" + strings.TrimSpace(string(hashed)) + ":19000:0:99999:7:::"},
		{"/etc/hosts", "127.0.0.1 localhost " + b.Server},
	} {
		m.addLine(t, f.path, f.line)
	}
	m.must(t, "install", "-d", "-m", "0700", "-o", "3000", "-g", "3000", boxHome)
	m.must(t, "install", "-d", "/srv/bin")
	m.must(t, "ln", "-s", "/usr/bin/borg", "/srv/bin/borg-1.4")
	config := filepath.Join(m.dir, "sshd_config")
	require.NoError(t, os.WriteFile(config, []byte(strings.Join([]string{
		"Port 23", "ListenAddress 127.0.0.1", "HostKey " + key, "PidFile none", "UsePAM no", "PasswordAuthentication yes",
		"SetEnv PATH=/srv/bin:/usr/bin:/bin", "Subsystem sftp internal-sftp", "",
	}, "\n")), 0o600))
	sshd := m.command(context.Background(), "", "/usr/sbin/sshd", "-D", "-e", "-f", config)
	log, err := os.Create(filepath.Join(m.dir, "sshd.log"))
	require.NoError(t, err)
	sshd.Stderr = log
	require.NoError(t, sshd.Start())
	t.Cleanup(func() {
		_ = sshd.Process.Signal(syscall.SIGTERM)
		_ = sshd.Wait()
		_ = log.Close()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("the box's sshd: %s", said)
		}
	})
	require.Eventually(t, func() bool {
		_, err := m.run("", "ssh-keyscan", "-p", "23", "127.0.0.1")
		return err == nil
	}, 10*time.Second, 100*time.Millisecond)
	public, err := os.ReadFile(key + ".pub")
	require.NoError(t, err)
	return strings.Join(strings.Fields(string(public))[:2], " ")
}

func readJSON[T any](t *testing.T, path string) T {
	t.Helper()
	var out T
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &out), "%s", text)
	return out
}
