//go:build host

package host

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// allowed asks unattended-upgrades itself whether it would take a package from an origin: its own
// matcher, with the machine's settings.
const allowed = `
import importlib.machinery, importlib.util, sys, types
import apt_pkg
apt_pkg.init_config()
# As on Debian 13, whatever this machine is.
for key in ("Unattended-Upgrade::Origins-Pattern", "Unattended-Upgrade::Allowed-Origins"):
    apt_pkg.config.clear(key)
apt_pkg.read_config_file(apt_pkg.config, sys.argv[1])
loader = importlib.machinery.SourceFileLoader("unattended_upgrade", "/usr/bin/unattended-upgrade")
program = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(program)
program.DISTRO_CODENAME, program.DISTRO_ID = "trixie", "Debian"
keys = ("origin", "label", "archive", "codename", "component", "site")
origin = types.SimpleNamespace(**dict(zip(keys, sys.argv[2:])), trusted=True)
version = types.SimpleNamespace(origins=[origin])
print(program.is_in_allowed_origin(version, program.get_allowed_origins()))
`

func TestWhereUpgradesComeFrom(t *testing.T) {
	settings := newBoot(t).save(t, "apt", "/etc/apt/apt.conf.d/60homelab")
	for _, c := range []struct {
		what string
		// origin, label, archive, codename, component and site, as in the repository's Release file
		origin []string
		taken  bool
	}{
		{"a security fix of Debian", []string{"Debian", "Debian-Security", "stable-security", "trixie-security", "main", "deb.debian.org"}, true},
		{"a point release of Debian", []string{"Debian", "Debian", "stable", "trixie", "main", "deb.debian.org"}, true},
		{"the next Debian", []string{"Debian", "Debian", "testing", "forky", "main", "deb.debian.org"}, false},
		{"Docker, containerd and runc", []string{"Docker", "Docker CE", "trixie", "trixie", "stable", "download.docker.com"}, true},
		{"Tailscale", []string{"Tailscale", "Tailscale", "stable", "trixie", "main", "pkgs.tailscale.com"}, true},
		{"somebody else", []string{"Elsewhere", "Elsewhere", "stable", "trixie", "main", "packages.example.com"}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			out, err := exec.Command("/usr/bin/python3", append([]string{"-c", allowed, settings}, c.origin...)...).Output()
			require.NoError(t, err)
			assert.Equal(t, c.taken, strings.TrimSpace(string(out)) == "True", "%s", out)
		})
	}
}
