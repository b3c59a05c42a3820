// Command policy is the policy pack: the engine starts it, sends it the stack's resources, and shows
// what it finds.
package main

import (
	"fmt"
	"os"

	"homelab/policy/pack"
)

func main() {
	if err := pack.Serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
