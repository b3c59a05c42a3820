//go:build unix

package process_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/process"
)

func TestOwnGroup(t *testing.T) {
	start := func(prepare func(*exec.Cmd)) int {
		cmd := exec.CommandContext(t.Context(), "cat")
		_, err := cmd.StdinPipe() // keeps cat waiting
		require.NoError(t, err)
		prepare(cmd)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Wait() })
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		group, err := syscall.Getpgid(cmd.Process.Pid)
		require.NoError(t, err)
		return group
	}
	ours, err := syscall.Getpgid(os.Getpid())
	require.NoError(t, err)
	assert.Equal(t, ours, start(func(*exec.Cmd) {}), "a child is in the group of its parent")
	assert.NotEqual(t, ours, start(process.OwnGroup))
}

func TestInterruptsAreTheTerminalsAndTheSystems(t *testing.T) {
	assert.Equal(t, []os.Signal{syscall.SIGINT, syscall.SIGTERM}, process.Interrupts())
}
