//go:build host

package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startSystemd runs a real systemd on the machine, as a user's manager: units start, fail, restart
// and trigger others as they do in production, without the machine being booted. The machine's
// systemctl talks to it, and it reads the units where homelab-unit puts them.
func (m *machine) startSystemd(t *testing.T) {
	t.Helper()
	units := filepath.Join(m.dir, "systemd")
	require.NoError(t, os.Mkdir(units, 0o755))
	systemctl := "#!/bin/sh\nexport XDG_RUNTIME_DIR=/run/manager\nexec /usr/bin/systemctl --user \"$@\"\n"
	require.NoError(t, os.WriteFile(m.at("/usr/local/sbin/systemctl"), []byte(systemctl), 0o755))
	for _, words := range [][]string{
		{"mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"},
		{"install", "-d", "/run/systemd/system", "/run/sshd"}, // by the first, programs know that systemd runs
		{"install", "-d", "-m", "0700", "/run/manager", "/run/manager/home"},
		{"mount", "--bind", units, "/etc/systemd/system"},
		{"mount", "--bind", units, "/etc/systemd/user"},
	} {
		m.must(t, words...)
	}
	// A group of processes of its own, which systemd takes for its tree.
	group := fmt.Sprintf("/homelab-test-%d", m.pid)
	root := "/sys/fs/cgroup/systemd"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup" // the unified hierarchy
	}
	require.NoError(t, os.MkdirAll(root+group, 0o755))
	manager := m.command(context.Background(), "", "sh", "-ec", `echo $$ > "$1/cgroup.procs"; shift; exec "$@"`, "sh", root+group,
		"/lib/systemd/systemd", "--user", "--log-target=console", "--unit=basic.target")
	manager.Env = append(os.Environ(), "XDG_RUNTIME_DIR=/run/manager", "HOME=/run/manager/home", "PATH="+machinePath)
	var log bytes.Buffer
	manager.Stdout, manager.Stderr = &log, &log
	require.NoError(t, manager.Start())
	t.Cleanup(func() {
		_, _ = m.command(context.Background(), "", "/usr/local/sbin/systemctl", "exit").CombinedOutput()
		_ = manager.Wait()
		folders, _ := filepath.Glob(root + group + "/*")
		for _, folder := range folders {
			_ = os.Remove(folder)
		}
		_ = os.Remove(root + group)
		if t.Failed() {
			t.Logf("systemd: %s", log.String())
		}
	})
	require.Eventually(t, func() bool {
		said, err := m.run("", "/usr/local/sbin/systemctl", "is-system-running")
		return err == nil || strings.Contains(said, "degraded")
	}, 20*time.Second, 100*time.Millisecond, "systemd does not answer: %s", log.String())
}

// machinePath is where the machine's own programs are looked for, before Debian's.
const machinePath = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
