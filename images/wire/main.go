// Command homelab-wire connects the apps of the media stack with each other over their HTTP APIs.
// Production image and tests are built from this one folder.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"homelab/images/wire/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
