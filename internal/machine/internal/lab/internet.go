package lab

import (
	"net"
	"strings"

	"homelab/internal/machine/internal/link"
)

// reachable are the names of the real internet that a machine may reach, each with all below it: where
// images come from, and what their builds and their first start fetch. Nothing else leaves, because
// the deployment's settings are those of a rehearsal: no message, no registration and no certificate
// is asked of anybody real.
var reachable = []string{
	// Docker's registry, its login, and where it sends for layers.
	// https://docs.docker.com/desktop/setup/allow-list
	"docker.io", "production.cloudflare.docker.com", "r2.cloudflarestorage.com",
	// GitHub's registry, and where it sends for layers.
	"ghcr.io", "pkg-containers.githubusercontent.com",
	// The modules of the images that the machine builds.
	"proxy.golang.org", "sum.golang.org",
	// CrowdSec's hub, from which its container takes parsers and rules at its start; csconfig has the
	// address. Its community's API, api.crowdsec.net, is not among them.
	"cdn-hub.crowdsec.net", "hub-data.crowdsec.net", "version.crowdsec.net",
}

// reaches reports whether a machine may reach a name of the real internet.
func reaches(host string) bool {
	for _, name := range reachable {
		if host == name || strings.HasSuffix(host, "."+name) {
			return true
		}
	}
	return false
}

// internet is the way to what is real; an offline rehearsal has none.
func internet(offline bool) *link.Outbound {
	if offline {
		return nil
	}
	return &link.Outbound{Allowed: reaches, Lookup: net.DefaultResolver.LookupNetIP, Dial: new(net.Dialer).DialContext}
}
