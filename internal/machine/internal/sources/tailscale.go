package sources

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Tailscale is what the substitute of Tailscale's package is made of.
type Tailscale struct {
	// Version is that of the module, such as 1.94.2. Required.
	Version string
	// Client and Daemon are the two programs, for Linux on amd64: paths on this computer. Required.
	Client, Daemon string
	// Module is the folder of the module tailscale.com, which has the unit, its defaults and the
	// package's scripts. Required.
	Module string
}

// deb makes the package as Tailscale's own build does: the same files at the same places, with the
// same scripts.
func (t Tailscale) deb() (deb, error) {
	out := deb{
		name: "tailscale", version: t.Version, architecture: "amd64", depends: []string{"iptables"},
		description: "substitute of a rehearsal: built from the module tailscale.com", scripts: map[string][]byte{},
	}
	var problems []error
	read := func(path string) []byte {
		content, err := os.ReadFile(path)
		problems = append(problems, err)
		return content
	}
	daemon := filepath.Join(t.Module, "cmd", "tailscaled")
	out.files = []debFile{
		{path: "/usr/bin/tailscale", mode: 0o755, content: read(t.Client)},
		{path: "/usr/sbin/tailscaled", mode: 0o755, content: read(t.Daemon)},
		{path: "/lib/systemd/system/tailscaled.service", mode: 0o644, content: read(filepath.Join(daemon, "tailscaled.service"))},
		{path: "/etc/default/tailscaled", mode: 0o644, config: true, content: read(filepath.Join(daemon, "tailscaled.defaults"))},
	}
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		out.scripts[name] = read(filepath.Join(t.Module, "release", "deb", "debian."+name+".sh"))
	}
	if err := errors.Join(problems...); err != nil {
		return deb{}, fmt.Errorf("making the package tailscale: %w", err)
	}
	return out, nil
}
