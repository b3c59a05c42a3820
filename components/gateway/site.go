package gateway

import (
	"errors"
	"slices"

	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
	"homelab/components/internal/validate"
	"homelab/components/workload"
)

// Site is a service that wants a hostname. One declaration feeds the proxy's route, the portal's
// rule and the DNS record.
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
	// Uploads are the paths that take files larger than MaxBodyMB, each with its reason.
	Uploads []access.Upload
	// Upstream is the running service.
	Upstream workload.Endpoint
	// MaxBodyMB is the largest body elsewhere, in megabytes; 0 means 10.
	MaxBodyMB int
	// OpenID lets the service log its users in at the portal, by OpenID Connect; nil if it does
	// not.
	OpenID *OpenID
}

// Sites are all services that want a hostname, checked one by one and together. Detection takes
// them, and the portal and the proxy get them from it, so that none of the three can know others.
// Only NewSites makes a usable one.
type Sites struct{ list []Site }

// NewSites checks the sites.
func NewSites(sites []Site) (*Sites, error) {
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
	out := &Sites{list: slices.Clone(sites)}
	if ready {
		p.Merge(site.ValidateAll(out.declared()))
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if out.list == nil {
		out.list = []Site{}
	}
	return out, nil
}

// Ready reports Sites that NewSites did not make.
func (s *Sites) Ready() error {
	if s == nil || s.list == nil {
		return errors.New("no sites: pass the value that gateway.NewSites returned")
	}
	return nil
}

// declared are the sites as the renderers read them.
func (s *Sites) declared() []site.Site {
	out := make([]site.Site, 0, len(s.list))
	for _, of := range s.list {
		declared := site.Site{
			Name: of.Name, Hostname: of.Hostname, Visibility: of.Visibility, Access: of.Access, Bypass: of.Bypass, Uploads: of.Uploads,
			Upstream: of.Upstream.Address(), MaxBodyMB: of.MaxBodyMB,
		}
		if of.OpenID != nil {
			declared.OpenID = of.OpenID.declared
		}
		out = append(out, declared)
	}
	return site.Sorted(out)
}

// portalVisibility puts the portal where its visitors are: on the public side as soon as one public
// service asks for a login, before or after it was reached.
func (s *Sites) portalVisibility() access.Visibility { return PortalVisibility(s.list) }

// PortalVisibility is from where the portal of these sites can be reached.
func PortalVisibility(sites []Site) access.Visibility {
	for _, of := range sites {
		if of.Visibility == access.Public && (of.Access.Policy != access.Native || of.OpenID != nil) {
			return access.Public
		}
	}
	return access.Tailnet
}

// registeredAt reports the sites whose services log their users in at another portal.
func (s *Sites) registeredAt(portal string) error {
	p := validate.Of("sites")
	for _, of := range s.list {
		p.Require(of.OpenID == nil || of.OpenID.portal == portal, "%s is registered at another portal than %s", of.Name, portal)
	}
	return p.Err()
}
