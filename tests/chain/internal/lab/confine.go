//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Confine puts a running container under the memory limit that it is deployed with, and returns the
// limit in bytes. Where this process may not make groups of processes, the limit is only measured,
// and the test says so.
func (l *Lab) Confine(t testing.TB, name string) int64 {
	t.Helper()
	c := l.containers[name]
	limit := c.MemoryBytes
	require.Positive(t, limit)
	root, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		root, file = "/sys/fs/cgroup", "memory.max"
	}
	group := filepath.Join(root, "homelab-"+filepath.Base(l.folder))
	join := func(group string) error {
		return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(c.box.Process())), 0)
	}
	err := os.Mkdir(group, 0o755)
	if err == nil {
		t.Cleanup(func() {
			// A group goes when its last process has.
			require.NoError(t, join(root))
			require.NoError(t, os.Remove(group))
		})
		err = os.WriteFile(filepath.Join(group, file), []byte(strconv.FormatInt(limit, 10)), 0)
	}
	if err == nil {
		err = join(group)
	}
	if err != nil {
		t.Logf("the kernel does not enforce the memory limit of %s here: %v", name, err)
	}
	return limit
}

// Peak returns the most memory that a running container has ever used, in bytes.
func (l *Lab) Peak(t testing.TB, name string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.containers[name].box.Process()))
	require.NoError(t, err, "the container has ended")
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
			require.NoError(t, err)
			return kib << 10
		}
	}
	require.Fail(t, "the kernel does not say how much memory a process has used")
	return 0
}

// CPU returns the processor time that each running container has used.
func (l *Lab) CPU() (map[string]time.Duration, error) {
	const tick = 10 * time.Millisecond // USER_HZ, which is 100 wherever Go runs
	used := map[string]time.Duration{}
	for name, c := range l.containers {
		if c.box == nil {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.box.Process()))
		if err != nil {
			return nil, err
		}
		// The fields after the program's name, which may hold blanks: user time is the 14th of all,
		// system time the 15th.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		for _, field := range fields[11:13] {
			ticks, err := strconv.ParseInt(string(field), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("reading the processor time of %s: %w", name, err)
			}
			used[name] += time.Duration(ticks) * tick
		}
	}
	return used, nil
}
