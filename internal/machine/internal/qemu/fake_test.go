package qemu_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/qemu"
)

// fake makes a folder with a qemu-system-x86_64 that is a shell script: it runs these lines.
func fake(t *testing.T, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\n" + strings.Join(lines, "\n") + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte(script), 0o755))
	return dir
}

// use puts a fake before the real programs.
func use(t *testing.T, lines ...string) {
	t.Helper()
	t.Setenv("PATH", fake(t, lines...)+":"+os.Getenv("PATH"))
}

// within fails the test when f takes too long.
func within(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		require.Fail(t, "takes too long")
		return nil
	}
}

func TestQemuThatFailsIsQuoted(t *testing.T) {
	use(t, "echo 'could not open disk' >&2", "exit 1")
	m, err := qemu.Start(t.Context(), config(t))
	require.NoError(t, err)
	assert.ErrorContains(t, within(t, m.Wait), "could not open disk")
	assert.ErrorIs(t, within(t, func() error { return m.Shutdown(t.Context()) }), qemu.ErrOff)
}

func TestCutEndsTheProcess(t *testing.T) {
	use(t, `echo $$ >pid`, "exec sleep 600")
	c := config(t)
	unplugged := make(chan struct{})
	c.Link = func(cable net.Conn) {
		_, _ = cable.Read(make([]byte, 1))
		close(unplugged)
	}
	m, err := qemu.Start(t.Context(), c)
	require.NoError(t, err)
	pid := filepath.Join(c.Dir, "pid")
	require.Eventually(t, func() bool { text, err := os.ReadFile(pid); return err == nil && len(text) > 1 }, 10*time.Second, 10*time.Millisecond)
	text, err := os.ReadFile(pid)
	require.NoError(t, err)
	require.NoError(t, within(t, m.Cut))
	assert.NoError(t, within(t, m.Wait))
	assert.NoDirExists(t, "/proc/"+strings.TrimSpace(string(text)))
	within(t, func() error { <-unplugged; return nil })
	assert.NoError(t, within(t, m.Cut), "a machine that is off has no power to cut")
}

func TestContextEndsTheProcess(t *testing.T) {
	use(t, "exec sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	m, err := qemu.Start(ctx, config(t))
	require.NoError(t, err)
	cancel()
	assert.NoError(t, within(t, m.Wait))
}

// monitorOf is a QEMU whose monitor knows one command: it greets, refuses what comes before the
// capabilities, and ends when the power button is pressed. Descriptor 4 is the monitor.
func monitorOf(button string) []string {
	return []string{
		`echo '{"QMP": {"version": {}}}' >&4`,
		`while read -r line <&4; do`,
		`  case $line in`,
		`  *qmp_capabilities*) ready=yes; echo '{"timestamp": {}, "event": "RESUME"}' >&4; echo '{"return": {}}' >&4 ;;`,
		`  *system_powerdown*) [ "$ready" ] || { echo '{"error": {"desc": "capabilities first"}}' >&4; continue; }; ` + button + ` ;;`,
		`  *) echo '{"error": {"desc": "unknown"}}' >&4 ;;`,
		`  esac`,
		`done`,
	}
}

func TestPowerButton(t *testing.T) {
	use(t, append([]string{`echo boot >>boots`}, monitorOf(`echo '{"return": {}}' >&4; exit 0`)...)...)
	c := config(t)
	m, err := qemu.Start(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, within(t, func() error { return m.Reboot(t.Context()) }))
	require.NoError(t, within(t, func() error { return m.Reboot(t.Context()) }))
	off := make(chan error, 1)
	go func() { off <- m.Wait() }()
	select {
	case err := <-off:
		require.Fail(t, "a machine that reboots is not off", "%v", err)
	case <-time.After(200 * time.Millisecond):
	}
	require.NoError(t, within(t, func() error { return m.Shutdown(t.Context()) }))
	assert.NoError(t, within(t, func() error { return <-off }))
	boots, err := os.ReadFile(filepath.Join(c.Dir, "boots"))
	require.NoError(t, err)
	assert.Equal(t, "boot\nboot\nboot\n", string(boots))
}

func TestMonitorThatRefuses(t *testing.T) {
	use(t, monitorOf(`echo '{"error": {"desc": "no button"}}' >&4`)...)
	m, err := qemu.Start(t.Context(), config(t))
	require.NoError(t, err)
	assert.ErrorContains(t, within(t, func() error { return m.Shutdown(t.Context()) }), "no button")
	assert.ErrorContains(t, within(t, func() error { return m.Reboot(t.Context()) }), "no button")
	require.NoError(t, m.Cut())
}

// agentOf is a QEMU with a guest agent, at descriptor 5, that runs nothing and says what a program
// would.
var agentOf = []string{
	`while read -r line <&5; do`,
	`  case $line in`,
	`  *guest-sync*) id=$(echo "$line" | sed 's/.*"id":\([0-9]*\).*/\1/'); echo '{"return": 1}' >&5; echo "{\"return\": $id}" >&5 ;;`,
	`  *forbidden*) echo '{"error": {"class": "GenericError", "desc": "not allowed"}}' >&5 ;;`,
	`  *guest-exec-status*) n=$((n + 1)); if [ $n = 1 ]; then echo '{"return": {"exited": false}}' >&5; else`,
	`    echo '{"return": {"exited": true, "exitcode": 3, "out-data": "b3V0", "err-data": "ZXJy"}}' >&5; fi ;;`,
	`  *guest-exec*) echo '{"return": {"pid": 7}}' >&5 ;;`,
	`  esac`,
	`done`,
}

func TestRun(t *testing.T) {
	use(t, agentOf...)
	m, err := qemu.Start(t.Context(), config(t))
	require.NoError(t, err)
	result, err := m.Run(t.Context(), "", "id", "-u")
	require.NoError(t, err)
	assert.Equal(t, qemu.Result{Code: 3, Stdout: "out", Stderr: "err"}, result)
	_, err = m.Run(t.Context(), "", "forbidden")
	assert.ErrorContains(t, err, "running forbidden on the machine: not allowed")
	_, err = m.Run(t.Context(), "")
	assert.ErrorContains(t, err, "no program")
	require.NoError(t, m.Cut())
	_, err = m.Run(t.Context(), "", "id")
	assert.ErrorIs(t, err, qemu.ErrOff)
}

// A program that runs is not given up because the machine stands still for a while.
func TestRunOutlastsAnAgentThatIsSilent(t *testing.T) {
	silent := slices.Clone(agentOf)
	silent[4] = strings.Replace(silent[4], `n=$((n + 1)); `, `n=$((n + 1)); if [ $n = 1 ]; then continue; fi; `, 1)
	require.NotEqual(t, agentOf[4], silent[4])
	use(t, silent...)
	t.Cleanup(qemu.SetAgentPatience(time.Second))
	m, err := qemu.Start(t.Context(), config(t))
	require.NoError(t, err)
	result, err := m.Run(t.Context(), "", "id", "-u")
	require.NoError(t, err)
	assert.Equal(t, qemu.Result{Code: 3, Stdout: "out", Stderr: "err"}, result)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	use(t, "exec sleep 600")
	mute, err := qemu.Start(t.Context(), config(t))
	require.NoError(t, err)
	_, err = mute.Run(ctx, "", "id")
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

// started is a QEMU's command line.
func started(t *testing.T, c qemu.Config) string {
	t.Helper()
	use(t, `echo "$*" >arguments.new`, "mv arguments.new arguments", "exec sleep 600")
	m, err := qemu.Start(t.Context(), c)
	require.NoError(t, err)
	var arguments []byte
	require.Eventually(t, func() bool { arguments, err = os.ReadFile(filepath.Join(c.Dir, "arguments")); return err == nil }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, m.Cut())
	return string(arguments)
}

func TestDiskOfArchives(t *testing.T) {
	without := started(t, config(t))
	assert.NotContains(t, without, "archives")
	c := config(t)
	c.Archives = "/images,1.raw"
	with := started(t, c)
	own := " -drive if=none,id=archives,format=raw,readonly=on,file=/images,,1.raw -device virtio-blk-pci,drive=archives,serial=homelab-archives"
	assert.Equal(t, without, strings.Replace(with, own, "", 1))
	devices := func(arguments string) []string { return regexp.MustCompile(`-device \S+`).FindAllString(arguments, -1) }
	assert.Equal(t, append(devices(without), devices(own)...), devices(with), "the others keep their places")
	assert.Equal(t, "/dev/disk/by-id/virtio-homelab-archives", qemu.ArchivesDevice)
}

func TestAccelerationThatDoesNotWorkIsNotUsed(t *testing.T) {
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	there := err == nil
	if there {
		require.NoError(t, kvm.Close())
	}
	for name, c := range map[string]struct {
		trial string
		works bool
	}{
		"a kernel that boots":         {"echo 'VFS: Unable to mount root fs on unknown-block(0,0)'; exit 0", true},
		"a kernel that does not boot": {"echo 'KVM internal error' >&2; kill -ABRT $$", false},
		"a kernel that says nothing":  {"exit 0", false},
	} {
		t.Run(name, func(t *testing.T) {
			qemu.ForgetTrial()
			t.Cleanup(qemu.ForgetTrial)
			use(t, `case "$*" in *-no-reboot*) `+c.trial+` ;; esac`, `echo "$*" >arguments`, "exec sleep 600")
			var progress strings.Builder
			auto := config(t)
			auto.Acceleration, auto.Progress = qemu.Auto, &progress
			m, err := qemu.Start(t.Context(), auto)
			require.NoError(t, err)
			var arguments []byte
			require.Eventually(t, func() bool {
				arguments, err = os.ReadFile(filepath.Join(auto.Dir, "arguments"))
				return err == nil && len(arguments) > 0
			}, 10*time.Second, 10*time.Millisecond)
			if c.works && there {
				assert.Equal(t, qemu.KVM, m.Acceleration())
				assert.Contains(t, string(arguments), "-accel kvm -cpu host")
				assert.Empty(t, progress.String())
			} else {
				assert.Equal(t, qemu.TCG, m.Acceleration())
				assert.Contains(t, string(arguments), "-accel tcg,thread=multi -cpu max")
				assert.Contains(t, progress.String(), "KVM cannot be used")
			}
			assert.Contains(t, string(arguments), "manufacturer=Hetzner,product=vServer,serial=4711")
			require.NoError(t, m.Cut())
		})
	}
}
