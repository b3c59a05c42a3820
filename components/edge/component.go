// Package edge owns what Cloudflare does for the zone before a request leaves its network: TLS
// settings, WAF, rate limit, and the certificate by which the origin knows that a connection comes
// from this zone and no other.
package edge

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/plan"
	"homelab/components/internal/validate"
	"homelab/internal/unusable"
)

// maxExpression is the longest expression that Cloudflare takes for a rule, in characters.
const maxExpression = 4096

// Type is the component's type token.
const Type = "homelab:edge:Shield"

// Args describes the zone's protection.
type Args struct {
	// Domain is the zone's apex; the zone behind ZoneID must have this name.
	Domain string
	// ZoneID is the zone's ID in Cloudflare.
	ZoneID string
	// Plan is the zone's plan; it limits the rules, and the deployment fails if the zone has
	// another one.
	Plan plan.Plan
	// Hostnames are all that will be served behind the chain, the portal's own too: the edge caches
	// nothing of them.
	Hostnames []string
	// BlockedCountries are ISO 3166-1 alpha-2 codes whose visitors are blocked.
	BlockedCountries []string
	// RateLimit is the limit at the portal's login.
	RateLimit RateLimit
	// HSTS is what browsers are told to remember of the zone's HTTPS.
	HSTS HSTS
	// Rules are the user's own custom rules, evaluated after the built-in ones.
	Rules []Rule
}

// HSTS is what browsers remember, for a year, of a hostname that they visited.
type HSTS struct {
	// IncludeSubdomains holds for every name below it too.
	IncludeSubdomains bool
	// Preload allows browsers to come with it; needs IncludeSubdomains.
	Preload bool
}

// RateLimit blocks an address that makes too many login requests.
type RateLimit struct {
	// Requests is how many are allowed in one period.
	Requests int
	// PeriodSeconds is the counting period.
	PeriodSeconds int
	// BlockSeconds is how long the address stays blocked.
	BlockSeconds int
}

// Rule is one custom WAF rule.
type Rule struct {
	// Name identifies the rule; it must not change when the expression does.
	Name string
	// Expression is in Cloudflare's rules language.
	Expression string
	// Action is what happens to a matching request.
	Action string
}

// Validate reports every problem of the arguments, naming the plan's limit that is exceeded.
func (a *Args) Validate() error {
	p, limits := validate.Of("edge"), a.Plan.Limits()
	p.Require(a.Domain != "", "no domain")
	p.Require(a.ZoneID != "", "no zone: without a zone id Cloudflare's provider would ask the whole account")
	p.Require(a.Plan.Valid(), "unknown plan %q", a.Plan)
	if count := plan.BaselineCustomRules + len(a.Rules); a.Plan.Valid() && count > limits.CustomRules {
		p.Add("the %s plan allows %d custom rules, %d configured (%d built in)", a.Plan, limits.CustomRules, count, plan.BaselineCustomRules)
	}
	p.Require(len(a.Hostnames) > 0, "no hostnames: what is behind them would be cached")
	p.Require(len(uncached(a.Hostnames)) <= maxExpression,
		"%d hostnames are more than fit into one cache rule", len(a.Hostnames))
	p.Require(a.RateLimit.Requests > 0, "the rate limit must allow at least one request")
	p.Require(slices.Contains(limits.RateLimitPeriods, a.RateLimit.PeriodSeconds),
		"the %s plan counts in periods of %v seconds, not %d", a.Plan, limits.RateLimitPeriods, a.RateLimit.PeriodSeconds)
	p.Require(slices.Contains(limits.RateLimitTimeouts, a.RateLimit.BlockSeconds),
		"the %s plan blocks for %v seconds, not %d", a.Plan, limits.RateLimitTimeouts, a.RateLimit.BlockSeconds)
	p.Require(a.HSTS.IncludeSubdomains || !a.HSTS.Preload, "HSTS is preloaded for a domain with its subdomains, or not at all")
	for _, r := range a.Rules {
		p.Require(r.Name != "" && r.Expression != "" && r.Action != "", "rule %q needs a name, an expression and an action", r.Name)
		p.Require(r.Action != "log" || limits.LogAction, "rule %q: the %s plan has no log action", r.Name, a.Plan)
	}
	return p.Err()
}

// Shield is the zone with every protection in force. Only New makes a usable one.
type Shield struct {
	pulumi.ResourceState

	zoneID            pulumi.StringOutput
	rangesV4          pulumi.StringArrayOutput
	rangesV6          pulumi.StringArrayOutput
	originPullCA      pulumi.StringOutput
	originPullExpires pulumi.StringOutput
	hostnames         []string
	guards            []pulumi.Resource
}

// New puts the zone's protection in force.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Shield, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	s := &Shield{hostnames: slices.Clone(args.Hostnames)}
	inputs := pulumi.Map{"domain": pulumi.String(args.Domain), "plan": pulumi.String(args.Plan), "zoneId": pulumi.String(args.ZoneID)}
	if err := ctx.RegisterComponentResourceV2(Type, name, inputs, s, opts...); err != nil {
		return nil, fmt.Errorf("registering edge %s: %w", name, err)
	}
	s.zoneID = verifiedZone(ctx, s, args)
	ranges := cloudflare.GetIpRangesOutput(ctx, cloudflare.GetIpRangesOutputArgs{}, pulumi.Parent(s))
	s.rangesV4, s.rangesV6 = sortedRanges(ranges.Ipv4Cidrs()), sortedRanges(ranges.Ipv6Cidrs())
	for _, step := range []func() error{
		func() error { return s.zoneSettings(ctx, name, args.HSTS) },
		func() error { return s.rulesets(ctx, name, args) },
		func() error { return s.originPulls(ctx, name, args.Domain) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{"zoneId": s.zoneID, "originPullCa": s.originPullCA})
}

// verifiedZone looks the zone up and passes its ID on only when name and plan are what the settings
// say: a wrong ID would put this stack's rules on somebody's other zone, and a wrong plan would
// fail half way.
func verifiedZone(ctx *pulumi.Context, s *Shield, args *Args) pulumi.StringOutput {
	zone := cloudflare.LookupZoneOutput(ctx, cloudflare.LookupZoneOutputArgs{ZoneId: pulumi.String(args.ZoneID)}, pulumi.Parent(s))
	return zone.ApplyT(func(z cloudflare.LookupZoneResult) (string, error) {
		p := validate.Of("edge")
		p.Require(z.Name == args.Domain, "zone %s is %q, not %q: set homelab:cloudflare.zoneId to the zone of homelab:domain", args.ZoneID, z.Name, args.Domain)
		//lint:ignore SA1019 The deprecation is of changing the plan by this field; Cloudflare still tells it here, and asking for the
		// subscription instead would need a permission that nothing else does.
		current := z.Plan.LegacyId
		p.Require(current == string(args.Plan), "zone %s is on the %q plan: set homelab:cloudflare.plan to it", z.Name, current)
		return args.ZoneID, unusable.Mark(p.Err())
	}).(pulumi.StringOutput)
}

// Cloudflare promises no order of its ranges; sorted, an unchanged list never shows as a change.
func sortedRanges(ranges pulumi.StringArrayOutput) pulumi.StringArrayOutput {
	return ranges.ApplyT(func(cidrs []string) ([]string, error) {
		if len(cidrs) == 0 {
			return nil, errors.New("cloudflare returned no address ranges: the origin's firewall cannot be written without them")
		}
		// Hetzner takes no more in one rule, and its provider would only find out while it changes
		// the firewall.
		if len(cidrs) > maxRanges {
			return nil, fmt.Errorf("cloudflare returned %d address ranges: a firewall rule takes at most %d", len(cidrs), maxRanges)
		}
		for _, text := range cidrs {
			if p, err := netip.ParsePrefix(text); err != nil || p.Masked() != p || p.Bits() == 0 {
				return nil, fmt.Errorf("cloudflare returned %q as an address range: the origin's firewall cannot be written with it", text)
			}
		}
		return slices.Sorted(slices.Values(cidrs)), nil
	}).(pulumi.StringArrayOutput)
}

// maxRanges is how many ranges a rule of Hetzner's firewall takes
// (https://docs.hetzner.cloud/reference/cloud#firewalls).
const maxRanges = 100

// zoneSettings are kept in order of their names. Deleting one does nothing at Cloudflare: the value
// stays live, which is the safe side.
func (s *Shield) zoneSettings(ctx *pulumi.Context, name string, remember HSTS) error {
	hsts := pulumi.Map{"strict_transport_security": pulumi.Map{
		"enabled": pulumi.Bool(true), "include_subdomains": pulumi.Bool(remember.IncludeSubdomains), "max_age": pulumi.Int(31536000),
		"nosniff": pulumi.Bool(true), "preload": pulumi.Bool(remember.Preload),
	}}
	settings := []struct {
		id    string
		value pulumi.Input
	}{
		{"0rtt", pulumi.String("off")}, // early data can be replayed
		{"always_use_https", pulumi.String("on")},
		{"automatic_https_rewrites", pulumi.String("on")},
		{"browser_check", pulumi.String("on")},
		{"min_tls_version", pulumi.String("1.2")},
		{"opportunistic_encryption", pulumi.String("off")},
		{"security_header", hsts},
		{"ssl", pulumi.String("strict")}, // the origin's certificate is verified
		{"tls_1_3", pulumi.String("on")},
		{"websockets", pulumi.String("on")},
	}
	for _, setting := range settings {
		r, err := cloudflare.NewZoneSetting(ctx, name+"-"+setting.id, &cloudflare.ZoneSettingArgs{
			ZoneId:    s.zoneID,
			SettingId: pulumi.String(setting.id),
			Value:     setting.value,
		}, pulumi.Parent(s))
		if err != nil {
			return fmt.Errorf("setting %s of the zone: %w", setting.id, err)
		}
		s.guards = append(s.guards, r)
	}
	// Rules must see the path the origin will see, or an encoded one slips past them.
	normalized, err := cloudflare.NewUrlNormalizationSettings(ctx, name+"-url-normalization", &cloudflare.UrlNormalizationSettingsArgs{
		ZoneId: s.zoneID,
		Type:   pulumi.String("cloudflare"),
		Scope:  pulumi.String("both"),
	}, pulumi.Parent(s))
	if err != nil {
		return fmt.Errorf("setting the zone's URL normalization: %w", err)
	}
	s.guards = append(s.guards, normalized)
	return nil
}

// Phases returns the phases whose rulesets are the program's, and the name of each without that of
// the component.
func Phases() map[string]string {
	return map[string]string{phaseCustom: "custom-rules", phaseManaged: "managed-rules", phaseRateLimit: "rate-limit", phaseCache: "cache"}
}

// rulesets makes the zone's entry point of each phase. A zone has one per phase, so one that must
// be replaced goes first.
func (s *Shield) rulesets(ctx *pulumi.Context, name string, args *Args) error {
	for _, ruleset := range []struct {
		phase string
		rules cloudflare.RulesetRuleArray
	}{
		{phaseCustom, customRules(args)},
		{phaseManaged, managedRules(args.Plan)},
		{phaseRateLimit, rateLimitRules(args)},
		{phaseCache, cacheRules(args)},
	} {
		own := Phases()[ruleset.phase]
		r, err := cloudflare.NewRuleset(ctx, name+"-"+own, &cloudflare.RulesetArgs{
			ZoneId: s.zoneID,
			Name:   pulumi.String("homelab " + own),
			Kind:   pulumi.String("zone"),
			Phase:  pulumi.String(ruleset.phase),
			Rules:  ruleset.rules,
		}, pulumi.Parent(s), pulumi.DeleteBeforeReplace(true))
		if err != nil {
			return fmt.Errorf("making the zone's %s: %w", own, err)
		}
		s.guards = append(s.guards, r)
	}
	return nil
}

// Ready reports a Shield that New did not make.
func (s *Shield) Ready() error {
	if s == nil || len(s.guards) == 0 {
		return errors.New("no shield: pass the value that edge.New returned, with the zone's WAF, TLS settings and origin pulls in force")
	}
	return nil
}

// ZoneID is the verified zone's ID.
func (s *Shield) ZoneID() pulumi.StringOutput { return s.zoneID }

// OriginPullCA is the PEM certificate of the CA whose client certificate only this zone presents.
func (s *Shield) OriginPullCA() pulumi.StringOutput { return s.originPullCA }

// OriginPullExpires is when the client certificate ends, in RFC 3339. The origin refuses every
// request over the internet from then on.
func (s *Shield) OriginPullExpires() pulumi.StringOutput { return s.originPullExpires }

// RangesV4 are Cloudflare's IPv4 ranges, sorted.
func (s *Shield) RangesV4() pulumi.StringArrayOutput { return s.rangesV4 }

// Ranges are all of Cloudflare's ranges, from which the origin is asked: IPv4 first, each family
// sorted.
func (s *Shield) Ranges() pulumi.StringArrayOutput {
	return pulumi.All(s.rangesV4, s.rangesV6).ApplyT(func(both []any) ([]string, error) {
		return slices.Concat(both[0].([]string), both[1].([]string)), nil
	}).(pulumi.StringArrayOutput)
}

// Uncached reports a hostname that the zone's cache rule does not name.
func (s *Shield) Uncached(hostname string) error {
	if !slices.Contains(s.hostnames, hostname) {
		return fmt.Errorf("the edge could cache pages of %s: name it in the shield's Hostnames", hostname)
	}
	return nil
}

// NeverBanned are the ranges from which no visitor comes, so that a ban of one of their addresses
// would hit everybody: all of Cloudflare's but the one from which Workers make their requests,
// those of other zones too.
func (s *Shield) NeverBanned() pulumi.StringArrayOutput {
	return s.Ranges().ApplyT(withoutWorkers).(pulumi.StringArrayOutput)
}

// Guards are the resources that must all exist before a hostname of the zone may.
func (s *Shield) Guards() []pulumi.Resource { return slices.Clone(s.guards) }
