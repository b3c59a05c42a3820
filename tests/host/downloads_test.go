//go:build host

package host

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// downloads is homelab-downloads with a disk of its own in the place of the machine's, so that a
// test can fill it.
type downloads struct {
	t                         *testing.T
	dir, system, files, point string
}

// onLoop leaves a test to a machine where root may use loop devices.
func onLoop(t *testing.T) {
	t.Helper()
	require.Zero(t, os.Getuid(), "this test needs root")
	if out, err := exec.Command("losetup", "--find").CombinedOutput(); err != nil {
		t.Skipf("loop devices are not permitted here (%s): TestDownloadsUnits looks at the units alone", bytes.TrimSpace(out))
	}
}

// newDownloads makes a machine whose disk has that many GB.
func newDownloads(t *testing.T, gigabytes int) *downloads {
	t.Helper()
	onLoop(t)
	dir, err := os.MkdirTemp("", "downloads")
	require.NoError(t, err)
	d := &downloads{t: t, dir: dir, system: dir + "/system"}
	d.files, d.point = d.system+"/homelab-downloads", d.system+"/lib/downloads"
	t.Cleanup(func() {
		for _, mounted := range []string{d.point, d.system} {
			_ = exec.Command("umount", "--lazy", mounted).Run()
		}
		assert.NoError(t, os.RemoveAll(dir))
	})
	require.NoError(t, os.Mkdir(d.system, 0o755))
	require.NoError(t, os.Chmod(dir, 0o755)) // other users are tried on the mount
	disk := dir + "/system.ext4"
	run(t, "truncate", "--size", strconv.Itoa(gigabytes)+"GB", disk)
	run(t, "mkfs.ext4", "-q", "-F", "-m", "0", disk)
	run(t, "mount", "-o", "loop", disk, d.system)
	return d
}

func (d *downloads) command(args ...string) *exec.Cmd {
	cmd := exec.Command("bash", append([]string{"../../components/host/files/homelab-downloads"}, args...)...)
	cmd.Env = append(os.Environ(), "HOMELAB_DOWNLOADS_FILES="+d.files, "HOMELAB_DOWNLOADS_POINT="+d.point)
	return cmd
}

// program runs homelab-downloads.
func (d *downloads) program(args ...string) error {
	if out, err := d.command(args...).CombinedOutput(); err != nil {
		return fmt.Errorf("homelab-downloads %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (d *downloads) gate() string { return d.dir + "/gates/downloads" }

// start does what systemd does for homelab-downloads.service.
func (d *downloads) start(gigabytes int) error {
	err := d.program("prepare", strconv.Itoa(gigabytes))
	if err == nil {
		err = d.program("open", d.gate(), "2000:2000", "complete", "incomplete")
	}
	if err != nil {
		require.NoError(d.t, d.program("close", d.gate()))
	}
	return err
}

// boot is a crash of the machine, as far as this program sees one: nothing is mounted, and no gate
// is left.
func (d *downloads) boot() {
	d.t.Helper()
	require.NoError(d.t, os.RemoveAll(filepath.Dir(d.gate())))
	_ = exec.Command("umount", "--lazy", d.point).Run()
	require.Eventually(d.t, func() bool { return d.loops() == "" }, 20*time.Second, 20*time.Millisecond)
}

// loops are the loop devices that hold the file.
func (d *downloads) loops() string {
	out, _ := exec.Command("losetup", "--noheadings", "--output", "NAME", "--associated", d.files+"/downloads.ext4").Output()
	return string(bytes.TrimSpace(out))
}

// as runs a shell command in the folders, as a user of the machine.
func (d *downloads) as(user, script string) error {
	cmd := exec.Command("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "sh", "-c", script)
	cmd.Dir = d.point
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// holds requires that the file has exactly that many GB, all of them taken from the machine's disk,
// and the file system in it as many.
func (d *downloads) holds(gigabytes int64, when string) {
	d.t.Helper()
	info, err := os.Stat(d.files + "/downloads.ext4")
	require.NoError(d.t, err, when)
	want := gigabytes * 1e9 / 4096 * 4096
	assert.Equal(d.t, want, info.Size(), when)
	assert.GreaterOrEqual(d.t, info.Sys().(*syscall.Stat_t).Blocks*512, want, "the file has holes: its room is not taken: %s", when)
	assert.Equal(d.t, os.FileMode(0o600), info.Mode().Perm())
	var volume syscall.Statfs_t
	require.NoError(d.t, syscall.Statfs(d.point, &volume))
	assert.InDelta(d.t, want, volume.Blocks*uint64(volume.Bsize), 0.03*float64(want), when) // its tables take the rest
}

// free is how many bytes are left on the machine's disk.
func (d *downloads) free() uint64 {
	d.t.Helper()
	var volume syscall.Statfs_t
	require.NoError(d.t, syscall.Statfs(d.system, &volume))
	return volume.Bavail * uint64(volume.Bsize)
}

func TestDownloads(t *testing.T) {
	d := newDownloads(t, 20)

	// Nothing is mounted: nothing is declared ready, and nobody is told that all is well.
	require.ErrorContains(t, d.program("open", d.gate(), "2000:2000", "complete"), "the downloads are not mounted at "+d.point)
	require.ErrorContains(t, d.program("watch"), "systemctl restart homelab-downloads mounts them again")
	assert.NoDirExists(t, d.gate())

	require.NoError(t, d.start(5))
	d.holds(5, "")
	require.NoError(t, d.start(5), "a second time")
	assert.DirExists(t, d.gate(), "what uses the downloads may start")
	require.NoError(t, d.program("watch"))
	options := run(t, "findmnt", "--noheadings", "--output", "OPTIONS", d.point)
	for _, option := range []string{"nodev", "nosuid", "noexec"} {
		assert.Contains(t, options, option)
	}
	t.Run("only their owner writes", func(t *testing.T) {
		require.NoError(t, d.as("2000", "echo kept >complete/film && mv complete/film incomplete/ && mv incomplete/film complete/"))
		require.NoError(t, d.as("2001", "cat complete/film"))
		require.Error(t, d.as("2001", "echo x >complete/other"))
		require.Error(t, d.as("2001", "rm -f complete/film"))
		require.Error(t, d.as("2000", "rm -rf .homelab"), "the owner of the folders cannot remove the proof")
		require.Error(t, d.as("2000", "printf '#!/bin/sh\n' >complete/program && chmod +x complete/program && complete/program"))
	})
	t.Run("stopped", func(t *testing.T) {
		require.NoError(t, d.program("close", d.gate()))
		require.NoError(t, d.program("close", d.gate()), "a second time")
		assert.NoDirExists(t, d.gate())
		assert.FileExists(t, d.files+"/downloads.ext4", "the downloads stay")
		require.Error(t, os.WriteFile(d.point+"/lost", nil, 0o600), "root wrote to the system's disk")
		require.Error(t, os.Mkdir(d.point+"/complete", 0o755))
	})
	kept := func() {
		t.Helper()
		require.NoError(t, d.as("2000", "grep -x kept complete/film"))
	}
	t.Run("after a boot", func(t *testing.T) {
		d.boot()
		require.NoError(t, d.start(5))
		kept()
		d.holds(5, "")
	})
	t.Run("grown", func(t *testing.T) {
		d.boot()
		require.NoError(t, d.start(7))
		kept()
		d.holds(7, "")
	})
	t.Run("not shrunk", func(t *testing.T) {
		err := d.start(6)
		require.ErrorContains(t, err, "the downloads have 7 GB and cannot shrink to 6: raise homelab:storage.downloads.sizeGB to 7")
		assert.NoDirExists(t, d.gate())
		require.NoError(t, d.start(7))
		kept()
		d.holds(7, "")
	})
	t.Run("files that a mount would hide", func(t *testing.T) {
		d.boot()
		run(t, "chattr", "-i", d.point)
		require.NoError(t, os.WriteFile(d.point+"/lost", nil, 0o600))
		require.ErrorContains(t, d.start(7), "holds files although nothing is mounted there")
		require.NoError(t, os.Remove(d.point+"/lost"))
		require.NoError(t, d.start(7))
		kept()
	})
	t.Run("somebody else's mount", func(t *testing.T) {
		require.NoError(t, d.program("close", d.gate()))
		d.boot()
		run(t, "mount", "-t", "tmpfs", "tmpfs", d.point)
		require.ErrorContains(t, d.start(7), "something else is mounted at "+d.point)
		require.ErrorContains(t, d.program("watch"), "the downloads are not mounted")
		run(t, "umount", d.point)
	})
}

// Without enough room, nothing is changed at all.
func TestDownloadsWithoutRoom(t *testing.T) {
	d := newDownloads(t, 20)
	before := d.free()
	err := d.start(16)
	require.ErrorContains(t, err, "there is no room for downloads of 16 GB")
	require.ErrorContains(t, err, "5 GB of them must stay free; lower homelab:storage.downloads.sizeGB to at most 14, or take a server with a larger disk")
	assert.NoDirExists(t, d.files)
	assert.NoDirExists(t, filepath.Dir(d.point))
	assert.Equal(t, before, d.free())

	require.NoError(t, d.start(14))
	before = d.free()
	require.ErrorContains(t, d.start(16), "there is no room for downloads of 16 GB")
	assert.Equal(t, before, d.free())
	// Once the room was taken, what else fills the disk does not keep the downloads from starting.
	run(t, "fallocate", "--length", strconv.FormatUint(before-(100<<20), 10), d.system+"/other")
	d.boot()
	require.NoError(t, d.start(14))
	d.holds(14, "")
}

// The downloads fill their disk: the writer is told, everything else on the machine's disk goes on,
// and what empties it can start.
func TestDownloadsWithAFullDisk(t *testing.T) {
	d := newDownloads(t, 20)
	require.NoError(t, d.start(5))
	before := d.free()
	require.NoError(t, d.as("2000", "fallocate --length 4600000000 complete/film"))
	require.NoError(t, d.program("watch"), "there is room left")
	require.Error(t, d.as("2000", "fallocate --length 100000000 complete/second && fallocate --length 1000000000 complete/third"))
	err := d.as("2000", "dd if=/dev/zero of=complete/fourth bs=1M")
	require.ErrorContains(t, err, "No space left on device")
	assert.Equal(t, before, d.free(), "downloads took room of the system")
	require.NoError(t, os.WriteFile(d.system+"/system", bytes.Repeat([]byte("x"), 1<<20), 0o600))
	err = d.program("watch")
	require.ErrorContains(t, err, "the downloads' disk is full: 5 of 5 GB; remove finished downloads in qBittorrent, or raise homelab:storage.downloads.sizeGB")
	assert.Equal(t, 1, strings.Count(strings.TrimSpace(err.Error()), "\n")+1, "one line: %s", err)

	d.boot()
	require.NoError(t, d.start(5), "a full disk keeps out what would empty it")
	require.NoError(t, d.as("2000", "rm complete/*"))
	require.NoError(t, d.program("watch"))

	// Something gave the room back to the machine's disk.
	run(t, "fstrim", d.point)
	require.Greater(t, d.free(), before+1e9)
	require.NoError(t, d.program("watch"))
	d.holds(5, "")
}

// A container goes on while the unit restarts: it holds the file system, which is then neither
// checked nor changed behind its back, and mounted again as the same one.
func TestDownloadsThatAContainerHolds(t *testing.T) {
	d := newDownloads(t, 20)
	require.NoError(t, d.start(5))
	container := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", "cd "+d.point+"/complete && touch here && exec sleep 600")
	require.NoError(t, container.Start())
	t.Cleanup(func() { _ = container.Process.Kill(); _ = container.Wait() })
	require.Eventually(t, func() bool { _, err := os.Stat(d.point + "/complete/here"); return err == nil }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, d.program("close", d.gate()))
	require.NotEmpty(t, d.loops(), "the container lost the downloads")
	loop := d.loops()
	require.NoError(t, d.start(5))
	assert.Equal(t, loop, d.loops())
	inside := fmt.Sprintf("/proc/%d/cwd/", container.Process.Pid)
	require.NoError(t, os.WriteFile(inside+"from-inside", nil, 0o600))
	assert.FileExists(t, d.point+"/complete/from-inside")

	t.Run("it grows in use", func(t *testing.T) {
		status, err := os.ReadFile("/proc/self/status")
		require.NoError(t, err)
		set, err := strconv.ParseUint(string(regexp.MustCompile(`CapEff:\s*(\S+)`).FindSubmatch(status)[1]), 16, 64)
		require.NoError(t, err)
		if set&(1<<24) == 0 {
			// The kernel grows a mounted file system for CAP_SYS_RESOURCE alone. What must hold
			// without it: the failure is told, no gate is open, and the next boot completes it.
			require.ErrorContains(t, d.start(6), "Permission denied to resize filesystem")
			assert.NoDirExists(t, d.gate())
			require.NoError(t, container.Process.Kill())
			_ = container.Wait()
			d.boot()
		}
		require.NoError(t, d.start(6))
		assert.FileExists(t, d.point+"/complete/from-inside")
		d.holds(6, "")
	})
}

// steps are the programs that change something. Each of them in turn is the last that prepare gets
// to run before it is killed.
var steps = []string{"rm", "install", "truncate", "mkfs.ext4", "fallocate", "sync", "mv", "e2fsck", "resize2fs", "chattr", "mount"}

// killer runs the real program and kills its caller when it was the one whose turn it is. Command
// substitutions run in shells of their own, so the whole group is killed.
const killer = `#!/bin/bash
PATH=${PATH#*:}
"$(basename "$0")" "$@"
code=$?
count=$(($(cat "$HOMELAB_TEST_COUNT") - 1))
echo "$count" >"$HOMELAB_TEST_COUNT"
((count != 0)) || kill -KILL 0
exit $code
`

// Killed after any of its steps, prepare completes the next time, and what was there is kept.
func TestDownloadsAfterACrash(t *testing.T) {
	for _, c := range []struct {
		what     string
		from, to int
	}{{"making", 0, 5}, {"growing", 5, 6}} {
		t.Run(c.what, func(t *testing.T) {
			d := newDownloads(t, 20)
			bin := t.TempDir()
			for _, step := range steps {
				require.NoError(t, os.WriteFile(filepath.Join(bin, step), []byte(killer), 0o755))
			}
			kills := 0
			for step := 1; ; step++ {
				d.anew(c.from)
				require.Less(t, step, 60)
				count := filepath.Join(bin, "count")
				require.NoError(t, os.WriteFile(count, []byte(strconv.Itoa(step)), 0o600))
				cmd := d.command("prepare", strconv.Itoa(c.to))
				cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"), "HOMELAB_TEST_COUNT="+count)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				if out, err := cmd.CombinedOutput(); err == nil {
					break
				} else {
					require.ErrorContains(t, err, "signal: killed", "step %d: %s", step, out)
				}
				kills++
				d.boot()
				require.NoError(t, d.start(c.to), "after step %d", step)
				d.holds(int64(c.to), fmt.Sprintf("after step %d", step))
				if c.from > 0 {
					require.NoError(t, d.as("2000", "grep -x kept complete/film"), "after step %d", step)
				}
				left, err := os.ReadDir(d.files)
				require.NoError(t, err)
				assert.Len(t, left, 1, "after step %d", step)
			}
			assert.GreaterOrEqual(t, kills, 8, "fewer steps than there are")
		})
	}
}

// anew removes all of it, and makes downloads of that many GB with a file in them, or none for 0.
func (d *downloads) anew(gigabytes int) {
	d.t.Helper()
	require.NoError(d.t, d.program("close", d.gate()))
	d.boot()
	if _, err := os.Stat(d.point); err == nil {
		run(d.t, "chattr", "-i", d.point)
	}
	require.NoError(d.t, os.RemoveAll(filepath.Dir(d.point)))
	require.NoError(d.t, os.RemoveAll(d.files))
	if gigabytes > 0 {
		require.NoError(d.t, d.start(gigabytes))
		require.NoError(d.t, d.as("2000", "echo kept >complete/film"))
		require.NoError(d.t, d.program("close", d.gate()))
		d.boot()
	}
}

// systemd accepts the units as they are deployed.
func TestTheUnitsOfTheDownloads(t *testing.T) {
	golden, err := os.ReadFile("../../components/host/testdata/downloads.golden")
	require.NoError(t, err)
	folder := t.TempDir()
	names := regexp.MustCompile(`(?m)^### (\S+)\n`).FindAllStringSubmatch(string(golden), -1)
	contents := regexp.MustCompile(`(?m)^### \S+\n`).Split(string(golden), -1)[1:]
	require.Len(t, names, 3)
	for i, content := range contents {
		content = strings.ReplaceAll(content, "/opt/homelab/downloads/homelab-downloads", "/bin/true")
		require.NoError(t, os.WriteFile(filepath.Join(folder, names[i][1]), []byte(content), 0o600))
	}
	// What the units name besides is the alerts'.
	alert, err := os.ReadFile("../../components/host/files/alerts/homelab-alert@.service")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(folder+"/homelab-alert@.service", bytes.ReplaceAll(alert, []byte("/opt/homelab/alerts/homelab-alert"), []byte("/bin/true")), 0o600))
	for _, name := range names {
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(folder, name[1])).CombinedOutput()
		assert.NoError(t, err, "%s: %s", name[1], out)
		assert.NotContains(t, string(out), name[1], "systemd says something about it")
	}
}
