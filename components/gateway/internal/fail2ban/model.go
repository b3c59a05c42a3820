// Package fail2ban renders the jails of the host: which logs count, how often is too often, and
// where an address is banned. A visitor behind Cloudflare is banned at Cloudflare, because the host
// never sees his address; who reaches the host itself is banned there, before Docker redirects him.
// It is pure: a model in, bytes out.
package fail2ban

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"homelab/components/gateway/internal/site"
	"homelab/components/internal/validate"
)

// Where the host reads each file.
const (
	JailPath             = "/etc/fail2ban/jail.local"
	SettingsPath         = "/etc/fail2ban/fail2ban.local"
	AutheliaFilterPath   = "/etc/fail2ban/filter.d/homelab-authelia.conf"
	CaddyFilterPath      = "/etc/fail2ban/filter.d/homelab-caddy.conf"
	CloudflareActionPath = "/etc/fail2ban/action.d/homelab_cloudflare.py"
)

// Jails returns the names of the jails, sorted.
func Jails() []string { return []string{"homelab-authelia", "homelab-caddy", "recidive", "sshd"} }

// Model is everything the jails depend on.
type Model struct {
	// CloudflareRanges are Cloudflare's address ranges, which are never banned. Required.
	CloudflareRanges []string
	// TailnetRanges are the address ranges of the tailnet, which are never banned. Required.
	TailnetRanges []string
	// ContainerRanges are the ranges of the containers' networks, which are never banned. Required.
	ContainerRanges []string
	// SSHPort is the port of the host's sshd; required.
	SSHPort int
	// ZoneID is the zone at Cloudflare in which visitors are banned; required, 32 hexadecimal
	// digits.
	ZoneID string
	// Paths are the files the jails read; see DefaultPaths.
	Paths Paths
	// CloudflareAPI is the URL of Cloudflare's API; empty means the real one.
	CloudflareAPI string
}

// Paths are the files the jails read, as the host sees them.
type Paths struct {
	// AccessLog is the proxy's access log.
	AccessLog string
	// PortalLog is the portal's log.
	PortalLog string
	// OwnLog is where Fail2ban logs, and where it finds who was banned again and again.
	OwnLog string
	// Token holds the Cloudflare token that may write access rules, and nothing else; mode 0600.
	Token string
}

// DefaultPaths are the paths in production.
func DefaultPaths() Paths {
	return Paths{
		AccessLog: "/opt/homelab/caddy/logs/access.log",
		PortalLog: "/opt/homelab/authelia/logs/authelia.log",
		OwnLog:    "/var/log/fail2ban.log",
		Token:     "/opt/homelab/fail2ban/secrets/cloudflare-ban-token",
	}
}

var (
	zonePattern  = regexp.MustCompile(`^[0-9a-f]{32}$`)
	plainPattern = regexp.MustCompile(`^[A-Za-z0-9:/._-]+$`)
)

// Validate returns everything wrong with the model, or nil.
func (m Model) Validate() error {
	p := validate.Of("fail2ban")
	p.Merge(site.Ranges("cloudflare ranges", m.CloudflareRanges))
	p.Merge(site.Ranges("tailnet ranges", m.TailnetRanges))
	p.Merge(site.Ranges("container ranges", m.ContainerRanges))
	p.Require(m.SSHPort >= 1 && m.SSHPort <= 65535, "ssh port: %d is not a port", m.SSHPort)
	p.Require(zonePattern.MatchString(m.ZoneID), "zone ID: %q is not 32 hexadecimal digits", m.ZoneID)
	for _, f := range []struct{ name, value string }{
		{"access log", m.Paths.AccessLog}, {"portal log", m.Paths.PortalLog}, {"own log", m.Paths.OwnLog}, {"token", m.Paths.Token},
	} {
		p.Require(path.IsAbs(f.value) && path.Clean(f.value) == f.value && plainPattern.MatchString(f.value), "paths: %s: %q is not a plain absolute path", f.name, f.value)
	}
	p.Require(m.CloudflareAPI == "" || plainPattern.MatchString(m.CloudflareAPI), "cloudflare API: %q is not a URL", m.CloudflareAPI)
	return p.Err()
}

func (m Model) ignored() string {
	ranges := slices.Concat(m.CloudflareRanges, m.TailnetRanges, m.ContainerRanges)
	slices.Sort(ranges)
	return strings.Join(append([]string{"127.0.0.0/8", "::1"}, slices.Compact(ranges)...), " ")
}

func (m Model) api() string {
	if m.CloudflareAPI == "" {
		return "https://api.cloudflare.com/client/v4"
	}
	return strings.TrimSuffix(m.CloudflareAPI, "/")
}
