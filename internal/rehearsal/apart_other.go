//go:build !unix

package rehearsal

import "os/exec"

// apart does nothing: homelab-machine runs on Unix systems only.
func apart(*exec.Cmd) {}
