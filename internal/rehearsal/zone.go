package rehearsal

import "net/netip"

// Zone is what a zone of Cloudflare's was told: its records, its settings, its rules, and the
// certificate by which an origin knows it.
type Zone struct {
	// ID and Name are the zone's; Name is its apex.
	ID   string `json:"id"`
	Name string `json:"name"` // see ID
	// Plan is free, pro, business or enterprise.
	Plan string `json:"plan"`
	// Records are the DNS records.
	Records []Record `json:"records"`
	// Settings are the zone's settings by their names at the API, such as ssl.
	Settings map[string]any `json:"settings"`
	// Normalization is the setting of URL normalization; nil is Cloudflare's default.
	Normalization *Normalization `json:"normalization,omitempty"`
	// Rulesets are the entry points of phases.
	Rulesets []Ruleset `json:"rulesets"`
	// OriginPulls: origins are shown a client certificate.
	OriginPulls bool `json:"originPulls"`
	// Certificates are the zone's own client certificates, oldest first. The newest one is shown.
	Certificates []ClientCertificate `json:"certificates"`
}

// Record is a DNS record.
type Record struct {
	// Name is the whole name, in lower case and without a dot at the end.
	Name string `json:"name"`
	// Type is A, AAAA, CNAME, TXT or another one.
	Type string `json:"type"`
	// Content is as in a zone's file; empty for a record whose content has a structure of its own.
	Content string `json:"content"`
	// Proxied: visitors are answered by Cloudflare.
	Proxied bool `json:"proxied"`
}

// Normalization says what becomes of a request's path.
type Normalization struct {
	// Type is cloudflare or rfc3986.
	Type string `json:"type"`
	// Scope is incoming, both or none.
	Scope string `json:"scope"`
}

// Ruleset is the entry point of a phase.
type Ruleset struct {
	// Phase is its name at the API, such as http_ratelimit.
	Phase string `json:"phase"`
	// Rules are in the order in which they are evaluated.
	Rules []ZoneRule `json:"rules"`
}

// ZoneRule is a rule of a Ruleset.
type ZoneRule struct {
	// Ref and Description name it.
	Ref         string `json:"ref"`
	Description string `json:"description"` // see Ref
	// Expression is in Cloudflare's rules language.
	Expression string `json:"expression"`
	// Action is what becomes of a request that it is true of.
	Action string `json:"action"`
	// Enabled rules are evaluated.
	Enabled bool `json:"enabled"`
	// Parameters are those of the action; nil is none.
	Parameters map[string]any `json:"parameters,omitempty"`
	// RateLimit is for rules of the phase http_ratelimit; nil in all others.
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
}

// RateLimit says how often a rule may be true of somebody's requests.
type RateLimit struct {
	// Characteristics are what requests are counted by, such as ip.src.
	Characteristics []string `json:"characteristics"`
	// Requests are how many are allowed in a period.
	Requests int `json:"requests"`
	// PeriodSeconds and BlockSeconds are how long the period is, and the time for which nothing more
	// is allowed.
	PeriodSeconds int `json:"periodSeconds"`
	BlockSeconds  int `json:"blockSeconds"` // see PeriodSeconds
	// Counting is an expression for the requests that are counted, if that is not the rule's own.
	Counting string `json:"counting,omitempty"`
}

// ClientCertificate is what a zone shows to origins.
type ClientCertificate struct {
	// ID is Cloudflare's.
	ID string `json:"id"`
	// Certificate and PrivateKey are PEM.
	Certificate string `json:"certificate"`
	PrivateKey  string `json:"privateKey"` // see Certificate
}

// Where Cloudflare is in a rehearsal's internet: the addresses that visitors find, and those from
// which origins are asked. They are in Cloudflare's published ranges.
var (
	EdgeIPv4       = netip.MustParseAddr("104.16.0.1")
	EdgeIPv6       = netip.MustParseAddr("2606:4700::6810:1")
	EdgeOriginIPv4 = netip.MustParseAddr("162.158.0.1")
	EdgeOriginIPv6 = netip.MustParseAddr("2400:cb00:16::1")
)

// Visitor and Visitor6 are who asks when nobody says who does.
var (
	Visitor  = netip.MustParseAddr("203.0.113.201")
	Visitor6 = netip.MustParseAddr("2001:db8:ffff::201")
)

// countries is RFC 2544's range for measurements, which is nobody's.
var countries = netip.MustParsePrefix("198.18.0.0/16")

// VisitorFrom returns the address of a visitor of a country, by its code of two letters or digits:
// they are the last two bytes of the address, 198.18.68.69 for DE. False: it is no code.
func VisitorFrom(country string) (netip.Addr, bool) {
	if len(country) != 2 || !letter(country[0]) || !letter(country[1]) && !digit(country[1]) {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte{198, 18, country[0], country[1]}), true
}

// CountryOf returns the country of a visitor's address: XX, which is Cloudflare's word for an unknown
// one, for all but those of VisitorFrom.
func CountryOf(visitor netip.Addr) string {
	if visitor = visitor.Unmap(); countries.Contains(visitor) {
		b := visitor.As4()
		if code := string(b[2:]); letter(b[2]) && (letter(b[3]) || digit(b[3])) {
			return code
		}
	}
	return "XX"
}

func letter(b byte) bool { return b >= 'A' && b <= 'Z' }

func digit(b byte) bool { return b >= '0' && b <= '9' }

// Edge is Cloudflare as it is in the rehearsal now.
type Edge struct {
	// Zone is the apex of the zone; empty while there is none.
	Zone string `json:"zone"`
	// Addresses are where it answers visitors, at port 443 and at Cloudflare's others.
	Addresses []netip.Addr `json:"addresses"`
	// Authority is the certificate, in PEM, of the authority that all certificates of the rehearsal
	// are from.
	Authority string `json:"authority"`
	// Hosts are the names of the zone that have addresses, sorted.
	Hosts []EdgeHost `json:"hosts"`
	// NotEnforced says what of the zone is declared and has no effect here.
	NotEnforced []string `json:"notEnforced"`
	// Banned are the addresses and ranges that are blocked by IP access rules, sorted.
	Banned []string `json:"banned"`
}

// EdgeHost is a name of the zone.
type EdgeHost struct {
	// Name is the whole name.
	Name string `json:"name"`
	// Addresses are those that visitors find: the edge's, or the origin's own where it is not
	// proxied.
	Addresses []netip.Addr `json:"addresses"`
	// Proxied: the edge answers.
	Proxied bool `json:"proxied"`
}
