// Package programs finds and builds what the chain test runs: the real programs wherever they can
// be had.
package programs

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"homelab/internal/toolchain"
)

var (
	caddy = toolchain.Tool{Name: "caddy", Dir: "images/caddy", Package: ".", LDFlags: []string{"-s", "-w"}}

	crowdsec = toolchain.Tool{
		Name: "crowdsec", Dir: "internal/toolchain/tools/crowdsec", Package: "github.com/crowdsecurity/crowdsec/cmd/crowdsec",
		LDFlags: []string{"-s", "-w"}, Tags: []string{"sqlite_modernc"},
	}
	cscli = toolchain.Tool{
		Name: "crowdsec-cli", Dir: crowdsec.Dir, Package: "github.com/crowdsecurity/crowdsec/cmd/crowdsec-cli",
		LDFlags: crowdsec.LDFlags, Tags: crowdsec.Tags,
	}
	standin = toolchain.Tool{Name: "authelia-standin", Dir: "tests/chain/standin", Package: ".", LDFlags: []string{"-s", "-w"}}
)

// Usual builds Caddy with CrowdSec's own module, which a measurement compares ours with.
func Usual(ctx context.Context, progress io.Writer) (string, error) {
	return toolchain.Build(ctx, toolchain.Tool{
		Name: "caddy-usual", Dir: "internal/toolchain/tools/caddy-usual", Package: ".", LDFlags: caddy.LDFlags,
	}, progress)
}

// Set is the paths of the programs.
type Set struct {
	// Caddy is our own build.
	Caddy string
	// CrowdSec and Cscli are built from their pinned module.
	CrowdSec, Cscli string
	// CrowdSecModule is the folder of CrowdSec's module, which holds the default files that its
	// image is made from.
	CrowdSecModule string
	// Store is Debian's valkey-server or redis-server; StoreClient is its command line client.
	Store, StoreClient string
	// Busybox is the shell and the small programs of images made from Alpine.
	Busybox string
	// Authelia is the real one, or the stand-in; its path in AutheliaRoot, if that is not empty.
	Authelia string
	// AutheliaRoot is the root of Authelia's image; empty if Authelia runs on this machine's
	// libraries.
	AutheliaRoot string
	// AutheliaIs says which, for the output.
	AutheliaIs string
}

// Find builds what must be built, and finds the rest. What is only for this run goes to the folder.
// The error names what is missing.
func Find(ctx context.Context, folder string, progress io.Writer) (*Set, error) {
	s := &Set{}
	for _, b := range []struct {
		tool toolchain.Tool
		into *string
	}{{caddy, &s.Caddy}, {crowdsec, &s.CrowdSec}, {cscli, &s.Cscli}} {
		path, err := toolchain.Build(ctx, b.tool, progress)
		if err != nil {
			return nil, err
		}
		*b.into = path
	}
	var err error
	if s.CrowdSecModule, err = crowdsecModule(ctx); err != nil {
		return nil, err
	}
	if s.Store, err = first("valkey-server", "redis-server"); err != nil {
		return nil, err
	}
	if s.Busybox, err = first("busybox"); err != nil {
		return nil, err
	}
	if s.StoreClient, err = first("valkey-cli", "redis-cli"); err != nil {
		return nil, err
	}
	return s, s.findAuthelia(ctx, folder, progress)
}

func first(names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("none of %q is on PATH: make test-chain installs them", names)
}

// crowdsecModule is the folder of CrowdSec's module, which holds the default files.
func crowdsecModule(ctx context.Context) (string, error) {
	root, err := toolchain.Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/crowdsecurity/crowdsec")
	cmd.Dir = filepath.Join(root, crowdsec.Dir)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("finding the module of crowdsec: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
