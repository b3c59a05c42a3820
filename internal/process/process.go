//go:build unix

// Package process holds what the operating system decides about processes: which signals end a
// command, and how a child is kept from getting those of the terminal.
package process

import (
	"os"
	"os/exec"
	"syscall"
)

// Interrupts returns the signals that ask a command to stop: Ctrl-C and SIGTERM.
func Interrupts() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// OwnGroup makes cmd start in a process group of its own: Ctrl-C in the terminal does not reach it.
func OwnGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}
