package qemu_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/qemu"
)

// owner makes the test's executable one that owns a machine, in that folder.
const owner = "QEMU_TEST_OWNER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(owner); dir != "" {
		os.Exit(own(dir))
	}
	os.Exit(m.Run())
}

// own starts a machine and waits until it is killed.
func own(dir string) int {
	m, err := qemu.Start(context.Background(), described(dir))
	if err != nil {
		return 1
	}
	_ = m.Wait()
	return 2
}

// Whatever ends the process that owns a machine, the machine ends with it.
func TestMachineEndsWithItsOwner(t *testing.T) {
	use(t, "echo $$ >pid", "exec sleep 600")
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), owner+"="+dir)
	require.NoError(t, cmd.Start())
	var pid string
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "pid"))
		pid = strings.TrimSpace(string(text))
		return err == nil && pid != ""
	}, 10*time.Second, 10*time.Millisecond)
	require.DirExists(t, "/proc/"+pid)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	assert.Eventually(t, func() bool { _, err := os.Stat("/proc/" + pid); return err != nil }, 10*time.Second, 10*time.Millisecond)
}
