// Command tool runs one of the project's pinned tools, and builds it first when need be:
//
//	go run ./internal/toolchain/tool staticcheck ./...
//
// Its exit code is the tool's. As "tool build OUT PACKAGE" it builds a package of the checkout,
// with progress; as "tool path NAME" it prints where the tool is, and as "tool cache" the folder of
// the built tools.
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
	if args[0] == "build" {
		if len(args) != 3 {
			return 2, errors.New("usage: tool build OUT PACKAGE")
		}
		if err := toolchain.Compile(ctx, args[1], args[2], os.Stderr); err != nil {
			return 1, err
		}
		return 0, nil
	}
	if args[0] == "cache" {
		dir, err := toolchain.CacheDir()
		if err != nil {
			return 1, err
		}
		fmt.Println(dir)
		return 0, nil
	}
	if args[0] == "path" {
		if len(args) != 2 {
			return 2, errors.New("usage: tool path NAME")
		}
		path, err := find(ctx, args[1])
		if err != nil {
			return 1, err
		}
		fmt.Println(path)
		return 0, nil
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

// find returns the tool's executable. The Pulumi CLI may come from PATH, the others are always
// ours.
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
