// Package offer describes a service as the catalogue offers it: its name and what holds for it
// unless the stack's configuration says otherwise. It is what the settings need to know of a
// service, without a component that runs one.
package offer

import (
	"regexp"

	"homelab/components/internal/access"
	"homelab/components/internal/validate"
)

// Offer is one service of the catalogue with its defaults.
type Offer struct {
	// Name is the service's name and its key in homelab:services: see Name's pattern; unique.
	Name string
	// Hostname is the host name below the domain.
	Hostname string
	// Visibility is from where the hostname can be reached.
	Visibility access.Visibility
	// Access is who may use the service.
	Access access.Access
	// MemoryMiB is the container's memory limit, in MiB.
	MemoryMiB int
	// Off keeps the service from running unless the configuration enables it.
	Off bool
	// Uses are the names of the services that it cannot work without.
	Uses []string
	// BehindTunnel means that it runs only where there is a VPN.
	BehindTunnel bool
	// Wired means that the deployment writes some of its settings.
	Wired bool
	// Internal means that it has no hostname: the configuration says nothing of it.
	Internal bool
	// Monitored means that it runs only where there is monitoring.
	Monitored bool
	// TwoFactorOnly means that the portal must ask for two factors, whoever visits it.
	TwoFactorOnly bool
}

// Pattern is what the name of a service may be: a DNS label that begins with a letter and is short
// enough for the names that are derived from it.
var Pattern = regexp.MustCompile(`^[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?$`)

// Validate returns everything wrong with the offer, or nil.
func (o Offer) Validate() error {
	p := validate.Of("offer " + o.Name)
	p.Require(Pattern.MatchString(o.Name), "name must be 1 to 32 lower-case letters, digits and inner hyphens, and begin with a letter")
	p.Require(o.MemoryMiB > 0, "no memory limit")
	if o.Internal {
		return p.Err()
	}
	p.Require(o.Hostname != "", "no hostname")
	p.Require(o.Visibility.Valid(), "visibility %q is neither public nor tailnet", o.Visibility)
	for _, problem := range o.Access.Problems(o.Visibility) {
		p.Add("access: %s", problem)
	}
	return p.Err()
}
