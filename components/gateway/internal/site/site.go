// Package site describes what the gateway serves: one value per hostname, read by the proxy's, the
// portal's and the detectors' renderers alike, so that no fact about a hostname is written twice.
package site

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"homelab/components/internal/access"
	"homelab/components/internal/validate"
)

// DefaultMaxBodyMB is the request body limit, in megabytes, of a site that names none.
const DefaultMaxBodyMB = 10

// MaxBodyLimitMB is the largest request body limit that can be asked for, in megabytes: what
// passes, but for uploads, is inspected whole, and held in memory meanwhile.
const MaxBodyLimitMB = access.InspectedMB

// Site is one hostname and the service behind it.
type Site struct {
	// Name is the service's name, lowercase letters, digits and hyphens; required, unique.
	Name string
	// Hostname is the fully qualified hostname that visitors ask for; required, unique.
	Hostname string
	// Visibility is the listener that serves the hostname: the other one refuses it. Required.
	Visibility access.Visibility
	// Access is what a visitor must prove; required.
	Access access.Access
	// Bypass are the paths for which the portal answers yes without a login; not with policy
	// native.
	Bypass []access.Bypass
	// Uploads are the paths that take larger files than MaxBodyMB.
	Uploads []access.Upload
	// Upstream is the service's host:port on the proxy's network; required.
	Upstream string
	// MaxBodyMB is the largest request body, in megabytes (1 to 10); 0 means DefaultMaxBodyMB.
	MaxBodyMB int
	// OpenID is how the service logs its users in at the portal; nil if it does not.
	OpenID *OpenID
}

// Guarded reports whether the portal is asked before a request reaches the service.
func (s Site) Guarded() bool { return s.Access.Policy != access.Native }

// BodyLimitMB is MaxBodyMB, or the default where none is set.
func (s Site) BodyLimitMB() int {
	if s.MaxBodyMB == 0 {
		return DefaultMaxBodyMB
	}
	return s.MaxBodyMB
}

// Validate returns everything wrong with the site, or nil.
func (s Site) Validate() error {
	p := validate.Of(fmt.Sprintf("site %q", s.Name))
	p.Require(namePattern.MatchString(s.Name), "name must be lowercase letters, digits and hyphens")
	p.Merge(Hostname(s.Hostname))
	p.Require(s.Visibility.Valid(), "visibility %q is neither public nor tailnet", s.Visibility)
	for _, problem := range s.Access.Problems(s.Visibility) {
		p.Add("access: %s", problem)
	}
	for i, b := range s.Bypass {
		for _, problem := range b.Problems() {
			p.Add("bypass[%d]: %s", i, problem)
		}
	}
	for i, u := range s.Uploads {
		for _, problem := range u.Problems() {
			p.Add("uploads[%d]: %s", i, problem)
		}
		p.Require(!slices.ContainsFunc(s.Uploads[:i], u.Covers), "uploads[%d]: %s is covered twice", i, u.Path)
	}
	p.Require(s.Guarded() || len(s.Bypass) == 0, "bypass with policy native has no portal to pass by")
	p.Merge(HostPort(s.Upstream))
	if s.OpenID != nil {
		p.Merge(s.OpenID.Validate(s.Access.Policy))
	}
	p.Require(s.MaxBodyMB >= 0 && s.MaxBodyMB <= MaxBodyLimitMB, "maxBodyMB %d is not between 1 and %d", s.MaxBodyMB, MaxBodyLimitMB)
	return p.Err()
}

// ValidateAll returns everything wrong with the sites, each by itself and together.
func ValidateAll(sites []Site) error {
	p := validate.Of("sites")
	names, hosts := map[string]bool{}, map[string]bool{}
	for _, s := range sites {
		p.Merge(s.Validate())
		p.Require(!names[s.Name], "two sites are named %q", s.Name)
		p.Require(!hosts[s.Hostname], "two sites have the hostname %q", s.Hostname)
		names[s.Name], hosts[s.Hostname] = true, true
	}
	return p.Err()
}

// Sorted returns the sites in the order in which every file lists them: by name.
func Sorted(sites []Site) []Site {
	out := slices.Clone(sites)
	slices.SortFunc(out, func(a, b Site) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

var (
	namePattern     = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)
	hostnamePattern = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$`)
	upstreamPattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$`)
)

// Hostname returns an error unless h is a fully qualified lowercase hostname.
func Hostname(h string) error {
	if len(h) > 253 || !hostnamePattern.MatchString(h) {
		return fmt.Errorf("%q is not a fully qualified lowercase hostname", h)
	}
	return nil
}

// HostPort returns an error unless hp is a host name or address with a port.
func HostPort(hp string) error {
	host, port, err := net.SplitHostPort(hp)
	if err != nil {
		return fmt.Errorf("%q is not host:port: %w", hp, err)
	}
	if _, err := netip.ParseAddr(host); err != nil && !upstreamPattern.MatchString(host) {
		return fmt.Errorf("%q is not host:port: %q is neither a host name nor an address", hp, host)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q is not host:port: %q is not a port", hp, port)
	}
	return nil
}

// Ranges returns an error for each of the ranges that is not an address range in its shortest form;
// what names them in the error. An empty list is an error too.
func Ranges(what string, ranges []string) error {
	p := validate.Of(what)
	p.Require(len(ranges) > 0, "is empty")
	for _, r := range ranges {
		prefix, err := netip.ParsePrefix(r)
		switch {
		case err != nil:
			p.Add("%q is not an address range", r)
		case prefix.Masked() != prefix:
			p.Add("%q has host bits set: write %s", r, prefix.Masked())
		case prefix.Bits() == 0:
			p.Add("%q is the whole internet", r)
		}
	}
	return p.Err()
}
