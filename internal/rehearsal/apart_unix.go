//go:build unix

package rehearsal

import (
	"os/exec"
	"syscall"
)

// apart gives the program a session of its own: an interrupt that is typed at the terminal goes to
// the command alone, which ends the program when it has finished what it began.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
