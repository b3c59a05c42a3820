package boxes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// needed are the programs without which port 23 is nothing, with Debian's packages.
var needed = map[string]string{"bwrap": "bubblewrap", "borg": "borgbackup"}

// checkPrograms reports what is missing for SSH on port 23.
func checkPrograms() error {
	var problems []error
	for _, program := range sortedKeys(needed) {
		if !installed(program) {
			problems = append(problems, fmt.Errorf("%s is missing below /usr: apt-get install %s", program, needed[program]))
		}
	}
	return errors.Join(problems...)
}

// installed reports whether a program is where the programs of clients can see it.
func installed(program string) bool {
	path, err := exec.LookPath(program)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	return err == nil && strings.HasPrefix(path, "/usr/")
}

// searchPath is where the programs of clients are looked for.
const searchPath = "/usr/local/bin:/usr/bin:/bin"

// jobs are the programs that clients run, each in a process group of its own.
type jobs struct {
	mu      sync.Mutex
	running map[int]struct{}
}

func newJobs() *jobs { return &jobs{running: map[int]struct{}{}} }

func (j *jobs) add(pid int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.running[pid] = struct{}{}
}

func (j *jobs) remove(pid int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.running, pid)
}

func (j *jobs) signal(s syscall.Signal) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for pid := range j.running {
		_ = syscall.Kill(-pid, s) // it may have ended just now
	}
}

func (j *jobs) pause()  { j.signal(syscall.SIGSTOP) }
func (j *jobs) resume() { j.signal(syscall.SIGCONT) }

// end kills all programs and waits until they are gone.
func (j *jobs) end() {
	for {
		j.signal(syscall.SIGKILL)
		j.mu.Lock()
		left := len(j.running)
		j.mu.Unlock()
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// program is one program that a client runs in the account's home.
type program struct {
	args           []string
	environment    map[string]string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// graceSeconds is how long a program may take to end once its input has: borg gives its lock back.
const graceSeconds = 3

// run runs a program that sees /usr, read-only, and the home as /home, and nothing else: no
// network, no other file, no capability. It returns the exit status.
func (a *account) run(ctx context.Context, p program) (int, error) {
	args, err := a.sandbox(p)
	if err != nil {
		return 0, err
	}
	users, err := a.passwd()
	if err != nil {
		return 0, err
	}
	defer users.Close()
	cmd := exec.Command("bwrap", args...)
	cmd.ExtraFiles = []*os.File{users}
	cmd.Env = []string{"PATH=" + searchPath}
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	cmd.WaitDelay = time.Second
	// A group of its own, to be stopped and ended as a whole. Without a session of its own it would
	// need a terminal to be a danger, and has none.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	input, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var full atomic.Bool
	feed := &meter{from: p.stdin, space: a.box.space, full: func() {
		full.Store(true)
		// First, or a client that sees the end of the program does not look for a reason.
		_, _ = fmt.Fprintf(p.stderr, "%s: [Errno %d] Disk quota exceeded\n", p.args[0], int(errFull))
		stop()
	}}
	ended := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		// The kernel ends the program when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		a.box.freeze.RLock()
		err := cmd.Start()
		if err == nil {
			a.box.jobs.add(cmd.Process.Pid)
		}
		a.box.freeze.RUnlock()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return 0, err
	}
	defer a.box.space.changed()
	defer a.box.jobs.remove(cmd.Process.Pid)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		_, _ = io.Copy(input, feed) // the program may want no more of it
		_ = input.Close()
	}()
	err = wait(ctx, cmd, ended, fed, input)
	if full.Load() {
		return 1, nil
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	}
	return 0, err
}

// wait waits for the end of a program. When the client is gone, its input ends, and after a while
// the program.
func wait(ctx context.Context, cmd *exec.Cmd, ended <-chan error, fed <-chan struct{}, input io.Closer) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = input.Close() // it may be closed already
	case <-fed:
		// All that the client sent was sent; who only reads works on.
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
		}
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(graceSeconds * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended just now
		return <-ended
	}
}

// sandbox returns the arguments of bwrap.
func (a *account) sandbox(p program) ([]string, error) {
	home, err := a.realHome()
	if err != nil {
		return nil, err
	}
	bind := "--bind"
	if a.readonly {
		bind = "--ro-bind"
	}
	args := []string{
		"--die-with-parent", "--unshare-user-try", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL",
		"--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin", "--symlink", "usr/lib", "/lib",
		"--symlink", "usr/lib64", "/lib64", "--dev", "/dev", "--tmpfs", "/tmp", bind, home, "/home",
		"--ro-bind-data", "3", "/etc/passwd",
	}
	if a.zfs {
		args = append(args, "--ro-bind", a.box.snapshots(), "/home/"+zfsSnapshots)
	}
	args = append(args, "--remount-ro", "/", "--chdir", "/home", "--clearenv")
	environment := map[string]string{
		"HOME": "/home", "PATH": searchPath, "LANG": "C.UTF-8", "USER": a.username, "LOGNAME": a.username,
		// What borg keeps beside the repository is not for the box. By the host's ID it knows a lock
		// of this box, whose process may be gone.
		"BORG_CONFIG_DIR": "/tmp/config", "BORG_CACHE_DIR": "/tmp/cache", "BORG_HOST_ID": "storage-box-" + filepath.Base(a.box.dir),
	}
	for name, value := range p.environment {
		environment[name] = value
	}
	for _, name := range sortedKeys(environment) {
		args = append(args, "--setenv", name, environment[name])
	}
	return append(append(args, "--"), p.args...), nil
}

// passwd is a list of users with the account alone, for programs that ask who they are.
func (a *account) passwd() (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	// It fits into the pipe.
	_, err = fmt.Fprintf(writer, "%s:x:%d:%d::/home:/usr/sbin/nologin\n", a.username, os.Getuid(), os.Getgid())
	return reader, errors.Join(err, writer.Close())
}

// realHome is the home's path on the laptop. A link that leads out of the box leads nowhere.
func (a *account) realHome() (string, error) {
	whole, err := filepath.EvalSymlinks(a.box.data())
	if err != nil {
		return "", err
	}
	home, err := filepath.EvalSymlinks(filepath.Join(a.box.data(), a.home))
	if err != nil {
		return "", err
	}
	if home != whole && !strings.HasPrefix(home, whole+"/") {
		return "", fmt.Errorf("the home directory of %s is outside its box", a.username)
	}
	return home, nil
}
