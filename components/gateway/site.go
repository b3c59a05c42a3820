package gateway

import (
	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
	"homelab/components/internal/validate"
	"homelab/components/workload"
)

// Site is a service that wants a hostname. One declaration feeds the proxy's route, the portal's rule and the DNS record.
type Site struct {
	// Name is the service's name: lower-case letters, digits and hyphens, unique.
	Name string
	// Hostname is the full name, unique.
	Hostname string
	// Visibility is from where it can be reached.
	Visibility access.Visibility
	// Access is who may use it.
	Access access.Access
	// Bypass are the paths that skip the portal, each with its reason.
	Bypass []access.Bypass
	// Upstream is the running service.
	Upstream workload.Endpoint
	// MaxBodyMB is the largest upload, in megabytes; 0 means 10.
	MaxBodyMB int
	// OpenID lets the service log its users in at the portal, by OpenID Connect; nil if it does not.
	OpenID *OpenID
}

func plain(sites []Site) []site.Site {
	out := make([]site.Site, 0, len(sites))
	for _, s := range sites {
		declared := site.Site{
			Name: s.Name, Hostname: s.Hostname, Visibility: s.Visibility, Access: s.Access, Bypass: s.Bypass,
			Upstream: s.Upstream.Address(), MaxBodyMB: s.MaxBodyMB,
		}
		if s.OpenID != nil {
			declared.OpenID = s.OpenID.declared
		}
		out = append(out, declared)
	}
	return site.Sorted(out)
}

func validateSites(sites []Site) error {
	p := validate.Of("sites")
	ready := true
	for _, s := range sites {
		if err := s.Upstream.Ready(); err != nil {
			p.Add("%s: %w", s.Name, err)
			ready = false
		}
		if s.OpenID == nil {
			continue
		}
		if err := s.OpenID.fits(s); err != nil {
			p.Add("%s: %w", s.Name, err)
		}
	}
	if ready {
		p.Merge(site.ValidateAll(plain(sites)))
	}
	return p.Err()
}

// portalVisibility puts the portal where its visitors are: on the public side as soon as one public service asks for a login, before or after it
// was reached.
func portalVisibility(sites []Site) access.Visibility {
	for _, s := range sites {
		if s.Visibility == access.Public && (s.Access.Policy != access.Native || s.OpenID != nil) {
			return access.Public
		}
	}
	return access.Tailnet
}
