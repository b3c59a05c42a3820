//go:build !unix

package main

import (
	"fmt"
	"os"
)

// The connection pins the server's host key through /bin/echo, which Windows lacks.
func main() {
	fmt.Fprintln(os.Stderr, "error: this program runs on Linux and macOS; on Windows, run Pulumi inside WSL: https://learn.microsoft.com/windows/wsl/install")
	os.Exit(2)
}
