// Command homelab-home is the start page: every service, its link and its state, and for
// administrators the open alerts, the backup and the machine. Production image and tests are built
// from this one folder.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"homelab/images/home/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
