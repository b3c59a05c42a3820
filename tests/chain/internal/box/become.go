//go:build linux

package box

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// become builds the box's root, gives up every right and turns into the program.
func (s inner) become() error {
	// What is given up below is given up by this thread, which must be the one that turns into the
	// program.
	runtime.LockOSThread()
	if err := s.build(); err != nil {
		return fmt.Errorf("building its root: %w", err)
	}
	if err := s.drop(); err != nil {
		return fmt.Errorf("giving up rights: %w", err)
	}
	path, err := lookPath(s.Command[0], s.Env)
	if err != nil {
		return err
	}
	return syscall.Exec(path, s.Command, s.Env)
}

func (s inner) build() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("parting from the machine's mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", s.Folder, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	for _, m := range s.Mounts {
		if err := m.mount(s.Folder); err != nil {
			return fmt.Errorf("mounting %s: %w", m.Target, err)
		}
	}
	if err := s.devices(); err != nil {
		return err
	}
	old := filepath.Join(s.Folder, ".old")
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(s.Folder, old); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := errors.Join(os.Chdir("/"), unix.Unmount("/.old", unix.MNT_DETACH), os.Remove("/.old")); err != nil {
		return err
	}
	if s.ReadOnly {
		return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	return nil
}

func (m Mount) mount(root string) error {
	target := filepath.Join(root, m.Target)
	if err := point(m.Source, target); err != nil {
		return err
	}
	if m.Source == "" {
		return unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=%o,size=%d", m.Mode, m.SizeBytes))
	}
	if err := unix.Mount(m.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil || !m.ReadOnly {
		return err
	}
	return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

func (s inner) devices() error {
	proc := filepath.Join(s.Folder, "proc")
	if err := os.MkdirAll(proc, 0o555); err != nil {
		return err
	}
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		device := "/dev/" + name
		if err := (Mount{Source: device, Target: device}).mount(s.Folder); err != nil {
			return fmt.Errorf("mounting %s: %w", device, err)
		}
	}
	return nil
}

// drop leaves no capability, no way to get one back, and no group but the box's.
func (s inner) drop() error {
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("dropping capability %d: %w", capability, err)
		}
	}
	if err := unix.Setgroups(nil); err != nil {
		return fmt.Errorf("leaving groups: %w", err)
	}
	if err := unix.Setresgid(s.Group, s.Group, s.Group); err != nil {
		return fmt.Errorf("becoming group %d: %w", s.Group, err)
	}
	if err := unix.Setresuid(s.User, s.User, s.User); err != nil {
		return fmt.Errorf("becoming user %d: %w", s.User, err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("refusing new privileges: %w", err)
	}
	// A test that is killed leaves no program behind. A change of user clears this, so it comes
	// last.
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, entry := range env {
		list, ok := strings.CutPrefix(entry, "PATH=")
		for _, dir := range filepath.SplitList(list) {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); ok && err == nil && info.Mode().Perm()&0o111 != 0 && !info.IsDir() {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}
