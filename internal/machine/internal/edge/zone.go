package edge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"homelab/internal/rehearsal"
)

// zone is what is in force of a declared one.
type zone struct {
	declared rehearsal.Zone
	origins  map[string][]netip.Addr // by proxied hostname
	custom   []rule
	limits   []*limit
	bypasses []rule // requests that are answered past the cache, or not
	notes    []string

	verify      bool
	certificate *tls.Certificate // shown to origins; nil: none
	secureOnly  bool
	minTLS      uint16
	maxTLS      uint16
	answers     http.Header // what every answer over HTTPS has
	normalize   func(path string) string
	asNormal    bool // origins get the normalized path as well
	maxUpload   int64
}

// rule is one that the edge evaluates.
type rule struct {
	rehearsal.ZoneRule

	holds condition
	// bypass is for the phase of the cache: the cache is not asked.
	bypass bool
}

// Phases that the edge evaluates.
const (
	phaseCustom    = "http_request_firewall_custom"
	phaseRateLimit = "http_ratelimit"
	phaseCache     = "http_request_cache_settings"
	phaseManaged   = "http_request_firewall_managed"
)

// maxUploads is how much a request's body may have, by the zone's plan.
// https://developers.cloudflare.com/workers/platform/limits#request-and-response-limits
var maxUploads = map[string]int64{"free": 100e6, "pro": 100e6, "business": 200e6, "enterprise": 500e6}

// newZone reads a declared zone. It refuses what would be believed to work if it only was taken.
func newZone(declared rehearsal.Zone) (*zone, error) {
	z := &zone{declared: declared, origins: map[string][]netip.Addr{}, minTLS: tls.VersionTLS10, maxTLS: tls.VersionTLS13, answers: http.Header{}}
	z.maxUpload = maxUploads[declared.Plan]
	if z.maxUpload == 0 {
		return nil, fmt.Errorf("zone %s: a rehearsal knows no plan %q", declared.Name, declared.Plan)
	}
	for _, read := range []func() error{z.readRecords, z.readSettings, z.readNormalization, z.readRules, z.readCertificate} {
		if err := read(); err != nil {
			return nil, fmt.Errorf("zone %s: %w", declared.Name, err)
		}
	}
	slices.Sort(z.notes)
	return z, nil
}

func (z *zone) note(format string, args ...any) {
	z.notes = append(z.notes, fmt.Sprintf(format, args...))
}

func (z *zone) readRecords() error {
	for _, r := range z.declared.Records {
		switch {
		case strings.HasPrefix(r.Name, "*."):
			z.note("record %s: names that match a wildcard are not found", r.Name)
		case !r.Proxied && r.Type != "A" && r.Type != "AAAA":
			z.note("record %s: nobody is told one of type %s", r.Name, r.Type)
		case !r.Proxied:
		case r.Type == "A" || r.Type == "AAAA":
			a, err := netip.ParseAddr(r.Content)
			if err != nil {
				return fmt.Errorf("record %s: %w", r.Name, err)
			}
			z.origins[r.Name] = append(z.origins[r.Name], a)
		default:
			z.note("record %s: one of type %s is not proxied", r.Name, r.Type)
		}
	}
	return nil
}

// harmless are settings whose value is how the edge is anyway.
var harmless = map[string]any{
	"0rtt": "off", "opportunistic_encryption": "off", "websockets": "on", "http2": "on", "http3": "off", "development_mode": "off", "ip_geolocation": "on",
	"ipv6": "on", "always_online": "off",
}

// tlsVersions are those of TLS, as the setting min_tls_version names them.
var tlsVersions = map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func (z *zone) readSettings() error {
	for _, name := range slices.Sorted(maps.Keys(z.declared.Settings)) {
		value := z.declared.Settings[name]
		switch name {
		case "ssl":
			if value != "strict" && value != "full" {
				return fmt.Errorf("the setting ssl = %v is not part of a rehearsal: strict and full are", value)
			}
			z.verify = value == "strict"
		case "always_use_https":
			z.secureOnly = value == "on"
		case "min_tls_version":
			text, _ := value.(string)
			if z.minTLS = tlsVersions[text]; z.minTLS == 0 {
				return fmt.Errorf("the setting min_tls_version = %v is not part of a rehearsal", value)
			}
		case "tls_1_3":
			if value == "off" {
				z.maxTLS = tls.VersionTLS12
			}
		case "security_header":
			if err := z.readSecurityHeader(value); err != nil {
				return err
			}
		default:
			if harmless[name] != value {
				z.note("setting %s = %v", name, value)
			}
		}
	}
	return nil
}

// readSecurityHeader reads what browsers are told to remember.
func (z *zone) readSecurityHeader(value any) error {
	outer, _ := value.(map[string]any)
	hsts, ok := outer["strict_transport_security"].(map[string]any)
	if !ok {
		return fmt.Errorf("the setting security_header = %v has no strict_transport_security", value)
	}
	if hsts["enabled"] != true {
		return nil
	}
	age, ok := hsts["max_age"].(float64)
	if !ok {
		return errors.New("the setting security_header has no max_age")
	}
	header := fmt.Sprintf("max-age=%.0f", age)
	if hsts["include_subdomains"] == true {
		header += "; includeSubDomains"
	}
	if hsts["preload"] == true {
		header += "; preload"
	}
	z.answers.Set("Strict-Transport-Security", header)
	if hsts["nosniff"] == true {
		z.answers.Set("X-Content-Type-Options", "nosniff")
	}
	return nil
}

func (z *zone) readNormalization() error {
	z.normalize = func(path string) string { return path }
	n := z.declared.Normalization
	if n == nil || n.Scope == "none" {
		return nil
	}
	z.asNormal = n.Scope == "both"
	switch n.Type {
	case "cloudflare":
		z.normalize = func(path string) string { return normalized(path, true) }
	case "rfc3986":
		z.normalize = func(path string) string { return normalized(path, false) }
	default:
		return fmt.Errorf("URL normalization %q is not part of a rehearsal", n.Type)
	}
	return nil
}

func (z *zone) readRules() error {
	for _, set := range z.declared.Rulesets {
		for _, declared := range set.Rules {
			if !declared.Enabled {
				continue
			}
			name := declared.Ref
			if name == "" {
				name = declared.Description
			}
			var err error
			switch set.Phase {
			case phaseCustom, phaseRateLimit, phaseCache:
				err = z.readRule(set.Phase, declared)
			case phaseManaged:
				z.note("managed rules %s: Cloudflare alone knows them", name)
			default:
				z.note("rule %s of the phase %s", name, set.Phase)
			}
			if err != nil {
				return fmt.Errorf("rule %s: %w; leave the rule out to rehearse without it", name, err)
			}
		}
	}
	return nil
}

func (z *zone) readRule(phase string, declared rehearsal.ZoneRule) error {
	holds, err := compile(declared.Expression)
	if err != nil {
		return err
	}
	r := rule{ZoneRule: declared, holds: holds}
	switch phase {
	case phaseRateLimit:
		l, err := newLimit(r)
		z.limits = append(z.limits, l)
		return err
	case phaseCache:
		cached, decides := declared.Parameters["cache"].(bool)
		if declared.Action != "set_cache_settings" || !decides || len(declared.Parameters) > 1 {
			return errors.New("only set_cache_settings with cache = true or false is part of a rehearsal")
		}
		r.bypass = !cached
		z.bypasses = append(z.bypasses, r)
		return nil
	}
	switch declared.Action {
	case "block", "challenge", "js_challenge", "managed_challenge", "log":
		z.custom = append(z.custom, r)
		return nil
	}
	return fmt.Errorf("the action %s is not part of a rehearsal", declared.Action)
}

// newLimit reads a rule that limits a rate.
func newLimit(r rule) (*limit, error) {
	declared := r.RateLimit
	switch {
	case declared == nil || declared.Requests < 1 || declared.PeriodSeconds < 1:
		return nil, errors.New("it has no limit")
	case declared.Counting != "":
		return nil, errors.New("an expression for what is counted is not part of a rehearsal")
	case r.Action != "block":
		return nil, fmt.Errorf("the action %s is not part of a rehearsal where a rate is limited", r.Action)
	}
	for _, c := range declared.Characteristics {
		if c != "cf.colo.id" && c != "ip.src" { // there is one data centre
			return nil, fmt.Errorf("counting by %s is not part of a rehearsal", c)
		}
	}
	return &limit{
		rule: r, requests: declared.Requests, period: time.Duration(declared.PeriodSeconds) * time.Second, block: time.Duration(declared.BlockSeconds) * time.Second,
		byVisitor: slices.Contains(declared.Characteristics, "ip.src"), counts: map[netip.Addr]*count{},
	}, nil
}

// readCertificate takes the newest client certificate.
func (z *zone) readCertificate() error {
	if !z.declared.OriginPulls {
		return nil
	}
	if len(z.declared.Certificates) == 0 {
		z.note("authenticated origin pulls: nobody here has the certificate that Cloudflare shows for zones without one of their own")
		return nil
	}
	newest := z.declared.Certificates[len(z.declared.Certificates)-1]
	pair, err := tls.X509KeyPair([]byte(newest.Certificate), []byte(newest.PrivateKey))
	if err != nil {
		return fmt.Errorf("the client certificate %s: %w", newest.ID, err)
	}
	z.certificate = &pair
	return nil
}

// has reports whether a name is the zone's, or below it.
func (z *zone) has(name string) bool {
	return z != nil && (name == z.declared.Name || strings.HasSuffix(name, "."+z.declared.Name))
}
