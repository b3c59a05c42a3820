//go:build !unix

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "error: homelab runs on Linux and macOS; on Windows, run it inside WSL: https://learn.microsoft.com/windows/wsl/install")
	os.Exit(2)
}
