package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"homelab/internal/filelock"
)

// machineDir is the module of the program that runs virtual machines.
const machineDir = "internal/machine"

// Machine returns the path of homelab-machine, which it builds from this checkout. Whether that is
// necessary is for go to say: the module takes files of this one, and embeds others. Progress lines
// are printed only while there is something to wait for; nil means none. Each checkout has a program
// of its own in the cache.
func Machine(ctx context.Context, progress io.Writer) (_ string, err error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(root))
	home := filepath.Join(cache, "homelab-machine", hex.EncodeToString(sum[:])[:24])
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", fmt.Errorf("building homelab-machine: %w", err)
	}
	report := newReporter(progress, "homelab-machine")
	report.why = "from this checkout (a few minutes when nothing is cached)"
	lock, err := filelock.Acquire(ctx, filepath.Join(home, "lock"), func() {
		report.line("waiting for another process that builds homelab-machine")
	})
	if err != nil {
		return "", fmt.Errorf("building homelab-machine: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	target := filepath.Join(home, "homelab-machine")
	if err := goBuild(ctx, filepath.Join(root, machineDir), report, []string{"GOWORK=off", "CGO_ENABLED=0"},
		"-trimpath", "-ldflags=-w -s", "-o", target, "."); err != nil {
		return "", fmt.Errorf("building homelab-machine: %w", err)
	}
	return target, nil
}
