// Package crowdsec renders the configuration of the detection engine: which logs it reads, what it
// inspects in line, whom it bans for how long, and whom never. It is pure: a model in, bytes out.
package crowdsec

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"homelab/components/gateway/internal/site"
	"homelab/components/internal/validate"
)

// BouncerName is the proxy's name at the local API.
const BouncerName = "caddy"

// Where the container reads each file. The directories around them belong to the image, which fills
// them at its first start, so the files are mounted one by one.
const (
	CaddyAcquisitionPath    = "/etc/crowdsec/acquis.d/caddy.yaml"
	AutheliaAcquisitionPath = "/etc/crowdsec/acquis.d/authelia.yaml"
	AppSecAcquisitionPath   = "/etc/crowdsec/acquis.d/appsec.yaml"
	ProfilesPath            = "/etc/crowdsec/profiles.yaml"
	ConfigLocalPath         = "/etc/crowdsec/config.yaml.local"
	RangesWhitelistPath     = "/etc/crowdsec/parsers/s02-enrich/homelab-ranges.yaml"
	SessionsWhitelistPath   = "/etc/crowdsec/parsers/s02-enrich/homelab-sessions.yaml"
	VisitorsParserPath      = "/etc/crowdsec/parsers/s02-enrich/homelab-visitors.yaml"
	SecondFactorPath        = "/etc/crowdsec/scenarios/homelab-second-factor.yaml"
	SecretsDir              = "/run/secrets"
)

// Model is everything the engine's configuration depends on.
type Model struct {
	// Sites are the services; the guarded ones answer 401 to a page whose session has ended, which
	// is no attack.
	Sites []site.Site
	// CloudflareRanges are Cloudflare's address ranges, which must never be banned: a ban would hit
	// every visitor. The one from which Workers make requests must not be among them. Required.
	CloudflareRanges []string
	// TailnetRanges are the address ranges of the tailnet; required.
	TailnetRanges []string
	// ContainerRanges are the ranges of the containers' networks; required.
	ContainerRanges []string
	// CommunityBlocklist shares signals with CrowdSec's central API and receives its list of
	// attackers.
	CommunityBlocklist bool
	// BanHours is for how many hours an address is banned the first time, and by how much longer
	// each further time; 0 means 4.
	BanHours int
	// Listen are the engine's listeners; see DefaultListen.
	Listen Listen
	// Logs are the files the engine reads; see DefaultLogs.
	Logs Logs
}

// Listen are the addresses the engine binds, as address:port.
type Listen struct {
	// LAPI serves decisions to the proxy.
	LAPI string
	// AppSec inspects requests for the proxy.
	AppSec string
	// Metrics serves Prometheus.
	Metrics string
}

// DefaultListen are the addresses in production.
func DefaultListen() Listen {
	return Listen{
		LAPI: fmt.Sprintf("0.0.0.0:%d", LAPIPort), AppSec: fmt.Sprintf("0.0.0.0:%d", AppSecPort), Metrics: fmt.Sprintf("0.0.0.0:%d", MetricsPort),
	}
}

// Logs are log files, as the engine sees them.
type Logs struct {
	// Caddy is the proxy's access log.
	Caddy string
	// Authelia is the portal's log.
	Authelia string
}

// DefaultLogs are the paths in production.
func DefaultLogs() Logs {
	return Logs{Caddy: "/logs/caddy/access.log", Authelia: "/logs/authelia/authelia.log"}
}

// Validate returns everything wrong with the model, or nil.
func (m Model) Validate() error {
	p := validate.Of("crowdsec")
	p.Merge(site.ValidateAll(m.Sites))
	p.Merge(site.Ranges("cloudflare ranges", m.CloudflareRanges))
	p.Merge(site.Ranges("tailnet ranges", m.TailnetRanges))
	p.Merge(site.Ranges("container ranges", m.ContainerRanges))
	p.Require(m.BanHours >= 0 && m.BanHours <= 24*30, "ban hours: %d is not between 1 and %d", m.BanHours, 24*30)
	ports := map[uint16]string{}
	for _, l := range []struct{ name, value string }{{"LAPI", m.Listen.LAPI}, {"AppSec", m.Listen.AppSec}, {"metrics", m.Listen.Metrics}} {
		addr, err := netip.ParseAddrPort(l.value)
		if err != nil {
			p.Add("listen: %s: %q is not address:port", l.name, l.value)
			continue
		}
		other, taken := ports[addr.Port()]
		p.Require(!taken, "listen: %s and %s both use port %d", other, l.name, addr.Port())
		ports[addr.Port()] = l.name
	}
	for _, l := range []struct{ name, value string }{{"caddy", m.Logs.Caddy}, {"authelia", m.Logs.Authelia}} {
		p.Require(path.IsAbs(l.value) && path.Clean(l.value) == l.value, "logs: %s: %q is not a clean absolute path", l.name, l.value)
	}
	return p.Err()
}

// Collections returns the hub collections the engine installs, sorted, beside those of the image.
// The image's own one for sshd finds no log to read: Fail2ban owns those bans.
func Collections() []string {
	return []string{
		"LePresidente/authelia",
		"crowdsecurity/appsec-generic-rules",
		"crowdsecurity/appsec-virtual-patching",
		"crowdsecurity/base-http-scenarios",
		"crowdsecurity/caddy",
		"crowdsecurity/http-cve",
	}
}

// Environment returns the container's environment. It holds no secret.
func (m Model) Environment() map[string]string {
	return map[string]string{
		"COLLECTIONS":        strings.Join(Collections(), " "),
		"DISABLE_ONLINE_API": strconv.FormatBool(!m.CommunityBlocklist),
	}
}

// BouncerSecretFile returns the name of the file under SecretsDir from which the container
// registers the proxy. An existing registration is never updated: a new key needs a new generation,
// which registers under a new name, or the deletion of the old registration. The generation is
// letters and digits; empty is the first one.
func BouncerSecretFile(generation string) string {
	if generation == "" {
		return "bouncer_key_" + BouncerName
	}
	return "bouncer_key_" + BouncerName + "_" + generation
}

func (m Model) ownRanges() []string {
	out := slices.Concat(m.CloudflareRanges, m.TailnetRanges, m.ContainerRanges, []string{"127.0.0.0/8", "::1/128"})
	slices.Sort(out)
	return slices.Compact(out)
}

func (m Model) guardedHosts() []string {
	var out []string
	for _, s := range m.Sites {
		if s.Guarded() {
			out = append(out, s.Hostname)
		}
	}
	slices.Sort(out)
	return out
}

func (m Model) banHours() int {
	if m.BanHours == 0 {
		return 4
	}
	return m.BanHours
}

// The engine's TCP ports in its container.
const (
	// LAPIPort is the local API.
	LAPIPort = 8080
	// AppSecPort inspects requests.
	AppSecPort = 7422
	// MetricsPort answers Prometheus, and shows Go's debugging pages.
	MetricsPort = 6060
)
