package qemu

import "time"

// ForgetTrial makes the next machine try KVM again.
func ForgetTrial() { trial.done = false }

// SetAgentPatience changes how long an answer of the guest agent may take, until what it returns is
// called.
func SetAgentPatience(d time.Duration) (restore func()) {
	before := agentPatience
	agentPatience = d
	return func() { agentPatience = before }
}
