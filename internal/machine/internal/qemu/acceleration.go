package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// Acceleration is how a machine's processors are run.
type Acceleration string

const (
	// Auto is KVM where it is there and boots a kernel within some seconds, and TCG otherwise.
	Auto Acceleration = ""
	// KVM runs them on the host's own processors.
	KVM Acceleration = "kvm"
	// TCG translates what they do: it works everywhere, and takes some ten times as long.
	TCG Acceleration = "tcg"
)

func (a Acceleration) arguments() []string {
	if a == KVM {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
}

// trialTime is how long a kernel may take to arrive at its missing root file system. It takes one
// second on processors that work.
const trialTime = 12 * time.Second

// trial is what was found about KVM; it does not change while this process runs.
var trial struct {
	sync.Mutex
	done  bool
	works bool
}

// choose turns Auto into what works here.
func (a Acceleration) choose(ctx context.Context, binary string, config Config) (Acceleration, error) {
	switch a {
	case KVM, TCG:
		return a, nil
	case Auto:
	default:
		return a, fmt.Errorf("describing a virtual machine: %q is no acceleration", a)
	}
	trial.Lock()
	defer trial.Unlock()
	if !trial.done {
		why := tryKVM(ctx, binary, config.Kernel)
		if ctx.Err() != nil {
			return a, context.Cause(ctx)
		}
		trial.done, trial.works = true, why == nil
		if why != nil {
			_, _ = fmt.Fprintf(config.Progress, "KVM cannot be used (%v): the virtual machine is emulated, which takes about ten times as long\n", why)
		}
	}
	if trial.works {
		return KVM, nil
	}
	return TCG, nil
}

// tryKVM boots the kernel alone. It finds no root file system, and says so, if it gets that far:
// on a computer that is a virtual machine itself, it may not.
func tryKVM(ctx context.Context, binary, kernel string) error {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := device.Close(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	arguments := append(KVM.arguments(), "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "512", "-no-reboot",
		"-kernel", kernel, "-append", "console=ttyS0 panic=-1", "-serial", "stdio")
	cmd := exec.CommandContext(ctx, binary, arguments...)
	cmd.SysProcAttr = attributes()
	said, err := lockedOutput(cmd)
	switch {
	case bytes.Contains(said, []byte("VFS: Unable to mount root fs")):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("a kernel does not boot within %s", trialTime)
	case err != nil:
		return fmt.Errorf("a kernel does not boot: %w", err)
	}
	return errors.New("a kernel does not boot")
}

// lockedOutput runs a command as cmd.CombinedOutput does, on a thread that lasts as long: see start.
func lockedOutput(cmd *exec.Cmd) (said []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		said, err = cmd.CombinedOutput()
	}()
	<-done
	return said, err
}
