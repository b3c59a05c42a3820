//go:build unix

// Command homelab previews, deploys, refreshes and destroys the stack, on the real clouds or on
// simulated ones, judges and draws it, has its services connected, and looks into the machine of a
// rehearsal.
package main

import (
	"context"
	"os"
	"os/signal"

	"homelab/cmd/homelab/internal/terminal"
	"homelab/components/settings"
	"homelab/components/stack"
	"homelab/internal/process"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

func main() {
	terminal.Restore()
	ctx, stop := signal.NotifyContext(context.Background(), process.Interrupts()...)
	// The first signal lets the engine finish what it began; a second one ends this process at
	// once.
	context.AfterFunc(ctx, stop)
	code := newApp().run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// newApp is the command as users run it.
func newApp() *app {
	return &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		program: stack.From, real: stack.Real,
		secrets: secrets(),
		cli:     toolchain.Pulumi,
		ssh:     realSSH, machines: startMachines, images: makeImages,
	}
}

// secrets are the configuration's secrets, which a simulation makes up.
func secrets() []workspace.Secret {
	var list []workspace.Secret
	for _, key := range settings.Secrets() {
		list = append(list, workspace.Secret{Key: key.Key, Generate: key.Generate, Needs: key.Needs})
	}
	return list
}
