// Package linuxonly uses what only Linux has.
package linuxonly

import "syscall"

// Attributes exist on Linux only.
var Attributes = syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
