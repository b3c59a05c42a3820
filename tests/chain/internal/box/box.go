//go:build linux

// Package box runs a program the way a container engine would: in mount, process and network
// namespaces of its own, with only the files it was given, as its own user, without capabilities.
package box

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"homelab/tests/internal/netns"
)

// variable carries the Spec to the process that becomes the program.
const variable = "HOMELAB_CHAIN_BOX"

// Mount is a file or folder in the box: one of the machine's, or an empty folder in memory.
type Mount struct {
	// Target is where it is in the box.
	Target string
	// Source is where it is on the machine; empty for memory.
	Source string
	// ReadOnly keeps the box from writing there.
	ReadOnly bool
	// SizeBytes is how much a folder in memory holds.
	SizeBytes int64
	// Mode is its permission bits.
	Mode uint32
}

// Spec is what to run in which surroundings.
type Spec struct {
	// Name is the container's.
	Name string
	// Mounts are everything that is in the box, beside /proc and the harmless devices, in the order
	// in which they are mounted.
	Mounts []Mount
	// ReadOnly makes the root read-only.
	ReadOnly bool
	// User and Group are numbers.
	User, Group int
	// Command is the program, by its path in the box or a name on the box's PATH, and its
	// arguments.
	Command []string
	// Env is the whole environment.
	Env []string
}

// Box is a running program.
type Box struct {
	spec    Spec
	network *netns.Namespace
	process *exec.Cmd
	ended   chan struct{}
}

// Start runs the spec in a network namespace. The folder becomes the box's root and must not exist;
// output goes to log.
func Start(spec Spec, network *netns.Namespace, folder string, log io.Writer) (*Box, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	text, err := json.Marshal(inner{spec, folder})
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{variable + "=" + string(text)}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	if err := network.Start(cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	b := &Box{spec, network, cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended shows in its log and in what no longer answers
		close(b.ended)
	}()
	return b, nil
}

// Ended is closed when the program is.
func (b *Box) Ended() <-chan struct{} { return b.ended }

// Process is the program's process ID on the machine.
func (b *Box) Process() int { return b.process.Process.Pid }

// Stop asks the program to end, and ends it after ten seconds.
func (b *Box) Stop() {
	_ = b.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.ended:
	case <-time.After(10 * time.Second):
		b.Kill()
	}
}

// Kill ends the program and everything it started at once.
func (b *Box) Kill() {
	_ = b.process.Process.Kill()
	<-b.ended
}

// Freeze stops the program where it is: its sockets stay open and nothing answers. Thaw lets it go
// on.
func (b *Box) Freeze() error { return b.process.Process.Signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (b *Box) Thaw() error { return b.process.Process.Signal(syscall.SIGCONT) }

// Exec runs another program in the box, as the same user, and returns what it wrote to its standard
// output. The error has the rest.
func (b *Box) Exec(stdin io.Reader, command ...string) (string, error) {
	arguments := []string{
		"--target", strconv.Itoa(b.process.Process.Pid), "--mount", "--net", "--pid", "--ipc", "--uts", "--root", "--wd",
		"--setuid", strconv.Itoa(b.spec.User), "--setgid", strconv.Itoa(b.spec.Group), "--",
	}
	if b.spec.User == 0 {
		arguments = append(arguments, "setpriv", "--inh-caps=-all", "--bounding-set=-all", "--")
	}
	cmd := exec.Command("nsenter", append(arguments, command...)...)
	cmd.Env, cmd.Stdin = b.spec.Env, stdin
	var output, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &errors
	if err := cmd.Run(); err != nil {
		return output.String(), fmt.Errorf("in %s: %q: %w: %s%s", b.spec.Name, command, err, output.String(), errors.String())
	}
	return output.String(), nil
}

// Enter becomes the boxed program in a process that Start began, and returns in every other. Call
// it first in main.
func Enter() {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return
	}
	var s inner
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = s.become()
	}
	fmt.Fprintf(os.Stderr, "box %s: %v\n", s.Name, err)
	os.Exit(125)
}

type inner struct {
	Spec
	Folder string
}

// point makes what the mount covers: a file over a file, a folder over a folder.
func point(source, target string) error {
	folder := true
	if source != "" {
		info, err := os.Stat(source)
		if err != nil {
			return err
		}
		folder = info.IsDir()
	}
	if folder {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_CREATE, 0o644)
	return errors.Join(err, file.Close())
}
