// Command homelab-machine is the rehearsal's machine: a virtual server on the laptop, the internet
// around it, its tailnet and its Storage Boxes. It is a program of its own, so that the homelab
// command keeps its few dependencies.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "usage: homelab-machine serve --state DIR")
	os.Exit(2)
}
