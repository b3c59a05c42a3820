// Package programs builds programs that the machine installs from a vendor, where the vendor's
// packages cannot be had.
package programs

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"homelab/internal/machine/internal/sources"
	"homelab/internal/toolchain"
)

// tailscaleDir is the folder of the module that pins Tailscale, in the checkout.
const tailscaleDir = "internal/toolchain/tools/tailscale"

// Tailscale builds Tailscale's two programs from its module, once into the user's cache, and
// returns what a package is made of. It takes some minutes the first time; progress hears of it,
// nil means nobody. It needs a checkout, and Linux: the programs are for this computer's platform.
func Tailscale(ctx context.Context, progress io.Writer) (sources.Tailscale, error) {
	if runtime.GOOS != "linux" {
		return sources.Tailscale{}, fmt.Errorf("building Tailscale for the machine needs Linux, not %s", runtime.GOOS)
	}
	root, err := toolchain.Root()
	if err != nil {
		return sources.Tailscale{}, err
	}
	dir := filepath.Join(root, filepath.FromSlash(tailscaleDir))
	version, module, err := pinned(ctx, dir)
	if err != nil {
		return sources.Tailscale{}, err
	}
	out := sources.Tailscale{Version: version, Module: module}
	for name, path := range map[string]*string{"tailscale": &out.Client, "tailscaled": &out.Daemon} {
		*path, err = toolchain.Build(ctx, toolchain.Tool{
			Name: name, Dir: tailscaleDir, Package: "tailscale.com/cmd/" + name,
			LDFlags: []string{"-s", "-w", "-X tailscale.com/version.shortStamp=" + version, "-X tailscale.com/version.longStamp=" + version + "-rehearsal"},
		}, progress)
		if err != nil {
			return sources.Tailscale{}, err
		}
	}
	return out, nil
}

// pinned returns the version of tailscale.com that the module in dir requires, and the folder of
// its sources, which are downloaded if they are missing.
func pinned(ctx context.Context, dir string) (version, module string, err error) {
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("go %s: %w: %s", strings.Join(cmd.Args[1:], " "), err, strings.TrimSpace(string(out)))
		}
		return strings.TrimSpace(string(out)), nil
	}
	if _, err := run("mod", "download", "tailscale.com"); err != nil {
		return "", "", err
	}
	found, err := run("list", "-mod=readonly", "-m", "-f", "{{.Version}} {{.Dir}}", "tailscale.com")
	if err != nil {
		return "", "", err
	}
	version, module, ok := strings.Cut(found, " ")
	if !ok || !strings.HasPrefix(version, "v") || module == "" {
		return "", "", fmt.Errorf("go knows no folder of tailscale.com: %q", found)
	}
	return strings.TrimPrefix(version, "v"), module, nil
}
