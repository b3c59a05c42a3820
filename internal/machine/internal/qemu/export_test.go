package qemu

// ForgetTrial makes the next machine try KVM again.
func ForgetTrial() { trial.done = false }
