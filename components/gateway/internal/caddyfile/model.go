// Package caddyfile renders the proxy's configuration. It is pure: a model in, the bytes of a
// Caddyfile out.
package caddyfile

import (
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
	"homelab/components/internal/validate"
)

// Names of the servers in Caddy's running configuration, in its metrics and in its logs.
const (
	// PublicServer is the listener that only Cloudflare reaches.
	PublicServer = "public"
	// TailnetServer is the listener that only devices of the tailnet reach.
	TailnetServer = "tailnet"
	// InnerServer is the listener that containers of the machine reach, if they have an edge to it.
	// It is there only with a site that logs its users in at the portal; see Model.Inner.
	InnerServer = "inner"
)

// Model is everything the proxy's configuration depends on.
type Model struct {
	// Sites are the services; at least one.
	Sites []site.Site
	// Portal is the login portal's own site.
	Portal Portal
	// TrustedProxies are Cloudflare's address ranges: only their CF-Connecting-IP is believed.
	// Required.
	TrustedProxies []string
	// ACME says where certificates come from.
	ACME ACME
	// CrowdSec is the engine that is asked about every request.
	CrowdSec CrowdSec
	// SessionCookie is the name of the portal's session cookie, which is withheld from the
	// services. Required.
	SessionCookie string
	// Listen are the proxy's listeners; see DefaultListen.
	Listen Listen
	// Paths are the proxy's files; see DefaultPaths.
	Paths Paths
}

// Portal is the login portal.
type Portal struct {
	// Hostname is the portal's fully qualified hostname; required, no site's.
	Hostname string
	// Upstream is the portal's host:port, asked for each guarded request as well; required.
	Upstream string
	// Visibilities are the listeners that serve the portal; at least one.
	Visibilities []access.Visibility
}

// ACME is the certificate authority's account.
type ACME struct {
	// Email is the account's contact; required.
	Email string
	// Directory is the authority's directory URL; empty means Caddy's default authorities.
	Directory string
	// LocalAuthority issues certificates from an authority inside Caddy instead, which no browser
	// trusts: for runs without internet.
	LocalAuthority bool
}

// CrowdSec is how the proxy reaches CrowdSec.
type CrowdSec struct {
	// LAPI is the local API's URL, for example http://crowdsec:8080; required.
	LAPI string
	// AppSec is the inspection endpoint's URL, for example http://crowdsec:7422; required.
	AppSec string
	// Interval is how often new decisions are fetched; 0 means 10 s; at least 1 s.
	Interval time.Duration
}

// Listen are the ports inside the proxy's container.
type Listen struct {
	// Address is the address the listeners for visitors bind; empty means all addresses of the
	// container.
	Address string
	// Public is the port that only Cloudflare reaches.
	Public int
	// Tailnet is the port that only devices of the tailnet reach.
	Tailnet int
	// Health is the port of the health check, bound to the loopback address.
	Health int
	// Metrics is the port Prometheus scrapes.
	Metrics int
	// Inner is the port on which services ask the portal who a user is, without leaving the machine.
	// In production it must be 443: they use the portal's public address, in which no port is named,
	// and the portal compares it with its own. Docker lets a user without rights bind it (the
	// namespace's net.ipv4.ip_unprivileged_port_start is 0; moby, daemon/oci_linux.go,
	// WithCommonOptions), but for a container in another's network.
	Inner int
	// Probe is the port, bound to the loopback address, on which a deployment tries whether attacks
	// are refused.
	Probe int
}

// DefaultListen are the ports in production.
func DefaultListen() Listen {
	return Listen{Public: 8443, Tailnet: 9443, Health: 8081, Metrics: 9180, Probe: 8082, Inner: 443}
}

// Paths are the proxy's files, as the proxy sees them.
type Paths struct {
	// AdminSocket is the socket of the admin API.
	AdminSocket string
	// OriginPullCA is the authority that signed the certificate Cloudflare shows us.
	OriginPullCA string
	// ACMEToken holds the Cloudflare token that answers DNS challenges.
	ACMEToken string
	// BouncerKey holds the key for CrowdSec.
	BouncerKey string
	// Data is where certificates are kept.
	Data string
	// AccessLog is the access log, which the detectors read.
	AccessLog string
	// KnownLog is the access log of those whom the portal has let in. Its folder is not AccessLog's.
	KnownLog string
}

// DefaultPaths are the paths in production.
func DefaultPaths() Paths {
	return Paths{
		AdminSocket:  "/run/caddy/admin.sock",
		OriginPullCA: "/etc/caddy/origin-pull-ca.pem",
		ACMEToken:    "/run/secrets/cloudflare-acme-token",
		BouncerKey:   "/run/secrets/crowdsec-bouncer-key",
		Data:         "/data/caddy",
		AccessLog:    "/var/log/caddy/access.log",
		KnownLog:     "/var/log/caddy/known/access.log",
	}
}

// Validate returns everything wrong with the model, or nil.
func (m Model) Validate() error {
	p := validate.Of("caddyfile")
	p.Require(len(m.Sites) > 0, "sites: is empty")
	p.Merge(site.ValidateAll(m.Sites))
	p.Merge(m.Portal.validate())
	for _, s := range m.Sites {
		p.Require(s.Hostname != m.Portal.Hostname, "site %q has the portal's hostname %s", s.Name, s.Hostname)
	}
	p.Merge(site.Ranges("trusted proxies", m.TrustedProxies))
	p.Merge(m.ACME.validate())
	p.Merge(m.CrowdSec.validate())
	p.Require(cookiePattern.MatchString(m.SessionCookie), "session cookie: %q is not a cookie name of letters, digits, _ and -", m.SessionCookie)
	p.Merge(m.Listen.validate())
	p.Merge(m.Paths.validate())
	return p.Err()
}

func (p Portal) validate() error {
	v := validate.Of("portal")
	v.Merge(site.Hostname(p.Hostname))
	v.Merge(site.HostPort(p.Upstream))
	v.Require(len(p.Visibilities) > 0, "visibilities: is empty")
	for i, vis := range p.Visibilities {
		v.Require(vis.Valid(), "visibility %q is neither public nor tailnet", vis)
		v.Require(slices.Index(p.Visibilities, vis) == i, "visibility %q is listed twice", vis)
	}
	return v.Err()
}

func (a ACME) validate() error {
	p := validate.Of("acme")
	addr, err := mail.ParseAddress(a.Email)
	p.Require(err == nil && addr.Address == a.Email && plainPattern.MatchString(a.Email), "email: %q is not an address", a.Email)
	if a.Directory != "" {
		u, err := url.Parse(a.Directory)
		p.Require(err == nil && u.Scheme == "https" && u.Host != "" && plainPattern.MatchString(a.Directory), "directory: %q is not an https URL", a.Directory)
		p.Require(!a.LocalAuthority, "directory: cannot be used with a local authority")
	}
	return p.Err()
}

func (c CrowdSec) validate() error {
	p := validate.Of("crowdsec")
	for _, f := range []struct{ name, value string }{{"lapi", c.LAPI}, {"appsec", c.AppSec}} {
		hostPort, ok := strings.CutPrefix(f.value, "http://")
		p.Require(ok, "%s: %q is not of the form http://host:port", f.name, f.value)
		if err := site.HostPort(hostPort); ok && err != nil {
			p.Add("%s: %w", f.name, err)
		}
	}
	p.Require(c.Interval == 0 || c.Interval >= time.Second, "interval: %s is shorter than a second", c.Interval)
	return p.Err()
}

func (l Listen) validate() error {
	p := validate.Of("listen")
	if l.Address != "" {
		_, err := netip.ParseAddr(l.Address)
		p.Require(err == nil, "address: %q is not an address", l.Address)
	}
	ports := []struct {
		name  string
		port  int
		least int
	}{{"public", l.Public, 1024}, {"tailnet", l.Tailnet, 1024}, {"health", l.Health, 1024}, {"metrics", l.Metrics, 1024}, {"probe", l.Probe, 1024}, {"inner", l.Inner, 1}}
	for i, a := range ports {
		p.Require(a.port >= a.least && a.port <= 65535, "%s: port %d is not between %d and 65535", a.name, a.port, a.least)
		for _, b := range ports[:i] {
			p.Require(a.port != b.port, "%s and %s both listen on port %d", b.name, a.name, a.port)
		}
	}
	return p.Err()
}

func (f Paths) validate() error {
	p := validate.Of("paths")
	for _, f := range []struct{ name, value string }{
		{"admin socket", f.AdminSocket}, {"origin pull CA", f.OriginPullCA}, {"ACME token", f.ACMEToken},
		{"bouncer key", f.BouncerKey}, {"data", f.Data}, {"access log", f.AccessLog}, {"known log", f.KnownLog},
	} {
		p.Require(path.IsAbs(f.value) && path.Clean(f.value) == f.value && plainPattern.MatchString(f.value), "%s: %q is not a plain absolute path", f.name, f.value)
	}
	return p.Err()
}

var (
	// plainPattern admits only characters that mean themselves in a Caddyfile.
	plainPattern  = regexp.MustCompile(`^[A-Za-z0-9@:/._+-]+$`)
	cookiePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// Inner reports whether there is a listener for containers: whether some site logs its users in at
// the portal, and so asks the portal by itself.
func (m Model) Inner() bool {
	return slices.ContainsFunc(m.Sites, func(s site.Site) bool { return s.OpenID != nil })
}

// Hostnames returns every hostname the public or the tailnet listener serves, sorted.
func (m Model) Hostnames(v access.Visibility) []string {
	var out []string
	for _, s := range m.Sites {
		if s.Visibility == v {
			out = append(out, s.Hostname)
		}
	}
	if slices.Contains(m.Portal.Visibilities, v) {
		out = append(out, m.Portal.Hostname)
	}
	slices.Sort(out)
	return out
}

func joinRanges(ranges []string) string {
	sorted := slices.Clone(ranges)
	slices.Sort(sorted)
	return strings.Join(slices.Compact(sorted), " ")
}

func address(host string, port int) string { return fmt.Sprintf("https://%s:%d", host, port) }
