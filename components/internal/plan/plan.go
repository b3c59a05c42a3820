// Package plan is the closed set of Cloudflare zone plans and what each allows.
//
// The facts were read in Cloudflare's public documentation (repository cloudflare/cloudflare-docs,
// as stored in 2026) and are named beside each field of Limits. A contract may allow more than its
// plan's public table; the numbers here are what every zone of that plan can count on.
package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Plan is a Cloudflare zone plan. The zero value is not a plan.
type Plan string

// The zone plans Cloudflare sells, from the smallest to the largest.
const (
	Free       Plan = "free"
	Pro        Plan = "pro"
	Business   Plan = "business"
	Enterprise Plan = "enterprise"
)

// BaselineCustomRules is how many custom WAF rules the edge component itself always adds. They
// count against Limits.CustomRules together with the operator's own.
const BaselineCustomRules = 3

// The managed rulesets an operator's zone can deploy. Cloudflare gives each the same ID in every
// account. Source: waf/managed-rules/reference.
const (
	// FreeManagedRuleset is Cloudflare's small ruleset against widespread attacks, on every plan.
	FreeManagedRuleset = "77454fe2d30c4220b5701f6fdfb893ba"
	// CloudflareManagedRuleset is the full managed ruleset, on paid plans.
	CloudflareManagedRuleset = "efb7b8c949ac4650a09736fc376e9aee"
	// OWASPCoreRuleset is Cloudflare's implementation of the OWASP core ruleset, on paid plans.
	OWASPCoreRuleset = "4814384a9e5d4991b9815dcfc25d2f1f"
)

// Limits is what a plan allows.
type Limits struct {
	// CustomRules is the most custom WAF rules a zone may have. Source: waf/custom-rules, "Number
	// of rules".
	CustomRules int
	// CacheRules is the most cache rules a zone may have. Source: cache/how-to/cache-rules,
	// "Availability".
	CacheRules int
	// RateLimitRules is the most rate limiting rules a zone may have. On Enterprise it needs
	// application security in the contract. Source: waf/rate-limiting-rules, "Number of rules".
	RateLimitRules int
	// RateLimitPeriods are the counting periods allowed, in seconds, ascending. Source:
	// waf/rate-limiting-rules, "Counting periods".
	RateLimitPeriods []int
	// RateLimitTimeouts are the mitigation timeouts allowed, in seconds, ascending. Source:
	// waf/rate-limiting-rules, "Mitigation timeout periods".
	RateLimitTimeouts []int
	// LogAction reports whether custom rules may use the log action. Source: waf/custom-rules,
	// "Supported actions".
	LogAction bool
	// Regex reports whether expressions may use the matches operator. Source: waf/custom-rules,
	// "Regex support".
	Regex bool
	// ManagedRulesets reports whether the paid managed rulesets may be deployed; without it only
	// FreeManagedRuleset is there.
	ManagedRulesets bool
	// MaxUploadMB is the largest request body on a proxied hostname, in megabytes. Source: support,
	// error 413 ("payload too large"); the Business and Enterprise values could not be read again.
	MaxUploadMB int
}

// The values the Rulesets API takes, in seconds; a plan allows those up to its own maximum. Source:
// waf/rate-limiting-rules/parameters, "period" and "mitigation_timeout". The availability table's
// footnote lists more values "not available on all plans": a value outside these lists may be
// refused, so they are left out.
var (
	apiPeriods  = []int{10, 60, 120, 300, 600, 3600}
	apiTimeouts = []int{10, 60, 120, 300, 600, 3600, 86400}
)

// upTo returns the values up to limit seconds, in a slice of the caller's own.
func upTo(values []int, limit int) []int {
	n := 0
	for n < len(values) && values[n] <= limit {
		n++
	}
	return slices.Clone(values[:n])
}

// All returns every plan, from the smallest to the largest.
func All() []Plan { return []Plan{Free, Pro, Business, Enterprise} }

// Parse returns the plan named s, exactly as written in the constants; anything else is an error
// that lists the plans there are.
func Parse(s string) (Plan, error) {
	if p := Plan(s); p.Valid() {
		return p, nil
	}
	names := make([]string, 0, len(All()))
	for _, p := range All() {
		names = append(names, string(p))
	}
	return "", fmt.Errorf("parsing plan %q: must be one of %s", s, strings.Join(names, ", "))
}

// Valid reports whether p is one of the plans of this package.
func (p Plan) Valid() bool { return slices.Contains(All(), p) }

// Limits returns what the plan allows. An invalid plan allows nothing.
func (p Plan) Limits() Limits {
	switch p {
	case Free:
		return Limits{
			CustomRules: 5, CacheRules: 10, RateLimitRules: 1,
			RateLimitPeriods: upTo(apiPeriods, 10), RateLimitTimeouts: upTo(apiTimeouts, 10),
			MaxUploadMB: 100,
		}
	case Pro:
		return Limits{
			CustomRules: 20, CacheRules: 25, RateLimitRules: 2,
			RateLimitPeriods: upTo(apiPeriods, 60), RateLimitTimeouts: upTo(apiTimeouts, 3600),
			ManagedRulesets: true, MaxUploadMB: 100,
		}
	case Business:
		return Limits{
			CustomRules: 100, CacheRules: 50, RateLimitRules: 5,
			RateLimitPeriods: upTo(apiPeriods, 600), RateLimitTimeouts: upTo(apiTimeouts, 86400),
			Regex: true, ManagedRulesets: true, MaxUploadMB: 200,
		}
	case Enterprise:
		return Limits{
			CustomRules: 1000, CacheRules: 300, RateLimitRules: 100,
			RateLimitPeriods: upTo(apiPeriods, 65535), RateLimitTimeouts: upTo(apiTimeouts, 86400),
			LogAction: true, Regex: true, ManagedRulesets: true, MaxUploadMB: 500,
		}
	default:
		return Limits{}
	}
}
