//go:build unix

// Command homelab is the Pulumi program: it declares the whole server and leaves the rest to the
// engine.
package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/stack"
)

func main() {
	pulumi.Run(stack.Deploy)
}
