package edge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/plan"
)

// Phases are Cloudflare's names for where in a request's life a ruleset runs.
const (
	phaseCustom    = "http_request_firewall_custom"
	phaseRateLimit = "http_ratelimit"
	phaseManaged   = "http_request_firewall_managed"
	phaseCache     = "http_request_cache_settings"
)

// scannerPaths are requests that no service behind this gateway answers and that only scanners
// make.
var scannerPaths = []string{"/.env", "/.git/", "/.svn/", "/cgi-bin/", "/phpmyadmin", "/wp-admin", "/wp-login.php", "/xmlrpc.php"}

// identityHeaders are what the portal tells a service about a visitor. A request from outside that
// already has one is an attempt to be somebody else; the proxy strips them too.
var identityHeaders = []string{"remote-email", "remote-groups", "remote-name", "remote-user"}

// loginPaths are the portal's calls that take a password or a code.
var loginPaths = []string{"/api/firstfactor", "/api/reset-password", "/api/secondfactor"}

// customRules are the three built-in rules (plan.BaselineCustomRules), then the user's own.
func customRules(args *Args) cloudflare.RulesetRuleArray {
	unwanted := []string{`http.request.method in {"CONNECT" "TRACE" "TRACK"}`}
	for _, path := range scannerPaths {
		unwanted = append(unwanted, fmt.Sprintf("starts_with(lower(http.request.uri.path), %s)", quote(path)))
	}
	if len(args.BlockedCountries) > 0 {
		countries := slices.Sorted(slices.Values(args.BlockedCountries))
		unwanted = append(unwanted, "ip.src.country in "+set(countries))
	}
	rules := cloudflare.RulesetRuleArray{
		rule("homelab-unwanted", "requests that only scanners make", "block", anyOf(unwanted)),
		rule("homelab-identity-headers", "a visitor who claims an identity the portal did not give", "block",
			fmt.Sprintf("any(lower(http.request.headers.names[*])[*] in %s)", set(identityHeaders))),
	}
	// A Worker of any other zone can ask for our hostnames from inside Cloudflare, past what looks
	// at addresses and countries. For a request that no Worker made the field is empty.
	rules = append(rules, rule("homelab-foreign-workers", "a Worker of another zone", "block",
		"not cf.worker.upstream_zone in "+set([]string{"", args.Domain})))
	for _, r := range args.Rules {
		rules = append(rules, rule("user-"+r.Name, r.Name, r.Action, r.Expression))
	}
	return rules
}

// rateLimitRules is one rule on every plan: the free plan has no more.
func rateLimitRules(args *Args) cloudflare.RulesetRuleArray {
	logins := make([]string, 0, len(loginPaths))
	for _, path := range loginPaths {
		logins = append(logins, fmt.Sprintf("starts_with(http.request.uri.path, %s)", quote(path)))
	}
	limited := rule("homelab-login-rate", "password and code guessing at the portal", "block", anyOf(logins))
	limited.Ratelimit = &cloudflare.RulesetRuleRatelimitArgs{
		// The data centre is a mandatory characteristic: counters are not shared between data
		// centres.
		Characteristics:   pulumi.ToStringArray([]string{"cf.colo.id", "ip.src"}),
		Period:            pulumi.Int(args.RateLimit.PeriodSeconds),
		RequestsPerPeriod: pulumi.Int(args.RateLimit.Requests),
		MitigationTimeout: pulumi.Int(args.RateLimit.BlockSeconds),
	}
	return cloudflare.RulesetRuleArray{limited}
}

// cacheRules is one rule, on every plan: Cloudflare keeps nothing of the hostnames behind the
// chain. By itself it caches whatever is named like a picture or a style sheet, for everybody, and
// a service decides what lies under such a name.
func cacheRules(args *Args) cloudflare.RulesetRuleArray {
	bypass := rule("homelab-no-cache", "nothing behind the security chain is cached", "set_cache_settings",
		uncached(args.Hostnames))
	bypass.ActionParameters = &cloudflare.RulesetRuleActionParametersArgs{Cache: pulumi.Bool(false)}
	return cloudflare.RulesetRuleArray{bypass}
}

// uncached is the expression for requests that must not be answered from the cache.
func uncached(hostnames []string) string {
	return "http.host in " + set(slices.Sorted(slices.Values(hostnames)))
}

// managedRules executes the rulesets that Cloudflare keeps, as far as the plan has them.
func managedRules(p plan.Plan) cloudflare.RulesetRuleArray {
	type managed struct{ ref, id, about string }
	rulesets := []managed{{"homelab-free-managed", plan.FreeManagedRuleset, "Cloudflare Free Managed Ruleset"}}
	if p.Limits().ManagedRulesets {
		rulesets = []managed{
			{"homelab-cloudflare-managed", plan.CloudflareManagedRuleset, "Cloudflare Managed Ruleset"},
			{"homelab-owasp", plan.OWASPCoreRuleset, "Cloudflare OWASP Core Ruleset"},
		}
	}
	rules := cloudflare.RulesetRuleArray{}
	for _, m := range rulesets {
		r := rule(m.ref, m.about, "execute", "true")
		r.ActionParameters = &cloudflare.RulesetRuleActionParametersArgs{Id: pulumi.String(m.id)}
		rules = append(rules, r)
	}
	return rules
}

// rule has a stable ref: without one Cloudflare makes a new rule, with new counters and logs, at
// every change of its text.
func rule(ref, description, action, expression string) *cloudflare.RulesetRuleArgs {
	return &cloudflare.RulesetRuleArgs{
		Ref:         pulumi.String(ref),
		Description: pulumi.String(description),
		Action:      pulumi.String(action),
		Expression:  pulumi.String(expression),
		Enabled:     pulumi.Bool(true),
	}
}

// quote writes a string literal of Cloudflare's rules language, whose escapes are a backslash
// before a backslash or a quote.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func set(values []string) string {
	quoted := make([]string, 0, len(values))
	for _, v := range values {
		quoted = append(quoted, quote(v))
	}
	return "{" + strings.Join(quoted, " ") + "}"
}

func anyOf(expressions []string) string { return "(" + strings.Join(expressions, ") or (") + ")" }
