// Command tool runs one of the project's pinned tools, and builds it first when need be:
//
//	go run ./internal/toolchain/tool staticcheck ./...
//
// Its exit code is the tool's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"homelab/internal/toolchain"
)

func main() {
	code, err := run(context.Background(), os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("usage: tool NAME [ARGUMENT...]")
	}
	path, err := find(ctx, args[0])
	if err != nil {
		return 1, err
	}
	cmd := exec.CommandContext(ctx, path, args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	case err != nil:
		return 1, fmt.Errorf("running %s: %w", args[0], err)
	}
	return 0, nil
}

// find returns the tool's executable. The Pulumi CLI may come from PATH, the others are always ours.
func find(ctx context.Context, name string) (string, error) {
	if name == toolchain.PulumiTool.Name {
		return toolchain.Pulumi(ctx, os.Stderr)
	}
	tool, err := toolchain.Named(name)
	if err != nil {
		return "", err
	}
	return toolchain.Build(ctx, tool, os.Stderr)
}
