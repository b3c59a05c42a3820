//go:build unix

package main

import (
	"fmt"
	"runtime"

	"homelab/internal/toolchain"
)

// version is the newest one that CHANGELOG.md describes.
const version = "0.1.0"

// versionText returns what --version prints: the versions to name in a report of a mistake.
func versionText() string {
	return fmt.Sprintf("homelab %s (pulumi %s or later, %s, %s/%s)",
		version, toolchain.PulumiVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
