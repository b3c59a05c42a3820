package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// running is one process of QEMU: from switching on to switching off.
type running struct {
	cmd     *exec.Cmd
	monitor *monitor
	agent   *agent
	keys    io.Writer
	wanted  atomic.Bool   // somebody took the power away
	off     chan struct{} // closed when the process has ended; err is set before
	err     error
}

// start runs QEMU and gives the far ends of its sockets to whom they are for. The sockets are pairs
// without a name: nobody else can plug in, and two machines cannot meet.
func start(ctx context.Context, binary string, config Config) (*running, error) {
	var wires wires
	cable, err := wires.add("network cable")
	if err != nil {
		return nil, err
	}
	defer wires.closeFarEnds()
	control, err := wires.add("monitor")
	if err != nil {
		return nil, errors.Join(err, wires.close())
	}
	inside, err := wires.add("guest agent")
	if err != nil {
		return nil, errors.Join(err, wires.close())
	}
	log, err := os.OpenFile(filepath.Join(config.Dir, "qemu.log"), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening QEMU's log: %w", err), wires.close())
	}
	cmd := exec.CommandContext(ctx, binary, arguments(config, cable.descriptor, control.descriptor, inside.descriptor)...)
	cmd.Dir = config.Dir
	cmd.ExtraFiles = wires.farEnds
	cmd.Stdout, cmd.Stderr = config.Console, log
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = 10 * time.Second
	keys, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the console's keyboard: %w", err), wires.close(), log.Close())
	}
	r := &running{cmd: cmd, monitor: newMonitor(control.near), agent: newAgent(inside.near), keys: keys, off: make(chan struct{})}
	started, unplugged := make(chan error), make(chan struct{})
	go func() {
		// The kernel ends QEMU when the thread that started it ends, so that one has to last as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		r.finish(ctx, cmd.Wait(), log)
		_ = errors.Join(wires.close(), log.Close()) // nobody is at the other ends
		// Whoever has the cable lets go of it before the machine is plugged in again.
		<-unplugged
		close(r.off)
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", binary, err), wires.close(), log.Close())
	}
	go func() {
		defer close(unplugged)
		config.Link(cable.near)
	}()
	return r, nil
}

// finish sets what the end of the process means.
func (r *running) finish(ctx context.Context, ended error, log io.ReaderAt) {
	if ended == nil || r.wanted.Load() || ctx.Err() != nil {
		return
	}
	said, err := io.ReadAll(io.NewSectionReader(log, 0, 64<<10))
	if err != nil {
		said = fmt.Appendf(nil, "(its log cannot be read: %v)", err)
	}
	r.err = fmt.Errorf("QEMU ended (%w) and said: %s", ended, strings.TrimSpace(string(bytes.TrimSpace(said))))
}

func (r *running) isOff() bool {
	select {
	case <-r.off:
		return true
	default:
		return false
	}
}

// kill ends the process at once and waits for its end.
func (r *running) kill() error {
	r.wanted.Store(true)
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cutting the virtual machine's power: %w", err)
	}
	<-r.off
	return nil
}

// button presses the power button and waits for the end of the process. A machine that has only
// begun to boot does not notice the button, so it is pressed again and again.
func (r *running) button(ctx context.Context) error {
	if r.isOff() {
		return ErrOff
	}
	again := time.NewTicker(buttonInterval)
	defer again.Stop()
	for {
		if err := r.monitor.execute("system_powerdown"); err != nil && !r.endsSoon() {
			return err
		}
		select {
		case <-r.off:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again.C:
		}
	}
}

const buttonInterval = 5 * time.Second

// endsSoon reports whether the process ends, which its monitor does a moment before.
func (r *running) endsSoon() bool {
	select {
	case <-r.off:
		return true
	case <-time.After(2 * time.Second):
		return false
	}
}

// wire is one socket of QEMU's: our end, and the number that the other end has there.
type wire struct {
	near       net.Conn
	descriptor int
}

// wires are the sockets of one process of QEMU.
type wires struct {
	near    []net.Conn
	farEnds []*os.File
}

// add makes two connected sockets: one for this process, one to be inherited.
func (w *wires) add(what string) (wire, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return wire{}, fmt.Errorf("making the virtual machine's %s: %w", what, err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), what), os.NewFile(uintptr(fds[1]), what)
	conn, err := net.FileConn(ours) // a copy of the descriptor
	if err := errors.Join(err, ours.Close()); err != nil {
		return wire{}, errors.Join(fmt.Errorf("making the virtual machine's %s: %w", what, err), theirs.Close())
	}
	w.near, w.farEnds = append(w.near, conn), append(w.farEnds, theirs)
	return wire{near: conn, descriptor: 2 + len(w.farEnds)}, nil // the first inherited one is 3
}

// closeFarEnds closes our copies of what the child has inherited.
func (w *wires) closeFarEnds() {
	for _, f := range w.farEnds {
		_ = f.Close() // a socket that was not written to
	}
}

func (w *wires) close() error {
	var problems []error
	for _, conn := range w.near {
		problems = append(problems, conn.Close())
	}
	return errors.Join(problems...)
}

// attributes keep Ctrl-C in the terminal from QEMU, which is switched off in order instead, and end
// it together with this process.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
