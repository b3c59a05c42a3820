package simcloud

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

var _ = register(typeRuleset, &kind{
	replaces: []string{"kind", "name", "phase", "zoneId", "accountId"}, framework: true, gone: gone404,
	defaults: map[string]any{"description": "", "rules.enabled": true, "rules.actionParameters": map[string]any{}}, kept: []string{"rules.ref"}, volatile: []string{"version", "lastUpdated"},
	check: checkRuleset, ask: askRuleset,
	// An import names it as zones/ZONE/RULESET.
	importID: func(id string) string { return id[strings.LastIndexByte(id, '/')+1:] },
	create: func(t *task) (string, error) {
		if err := t.ruleset(); err != nil {
			return "", err
		}
		for _, o := range t.w.all(typeRuleset) {
			if text(o.live(), "phase") == text(t.in, "phase") && text(t.in, "kind") == "zone" && text(o.live(), "kind") == "zone" {
				return "", fail("exceeded maximum number of zone rulesets for phase %s; a similar configuration with rules already exists and overwriting will have unintended consequences (20217)", text(t.in, "phase"))
			}
		}
		t.out["version"], t.out["lastUpdated"] = "1", stamp()
		return hexID(32), nil
	},
	update: func(t *task, o *object) error {
		if err := t.ruleset(); err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscan(text(o.Outputs, "version"), &n); err != nil {
			return fail("reading the version of ruleset %s: %v", o.ID, err)
		}
		t.out["version"], t.out["lastUpdated"] = fmt.Sprint(n+1), stamp()
		return nil
	},
	also: sendsZone,
})

const (
	phaseCustom    = "http_request_firewall_custom"
	phaseRateLimit = "http_ratelimit"
	phaseManaged   = "http_request_firewall_managed"
	phaseCache     = "http_request_cache_settings"
	// freeManagedRuleset is the only managed ruleset of free zones.
	freeManagedRuleset = "77454fe2d30c4220b5701f6fdfb893ba"
)

var phases = []string{
	"ddos_l4", "ddos_l7", "http_config_settings", "http_custom_errors", "http_log_custom_fields", phaseRateLimit, phaseCache,
	"http_request_dynamic_redirect", phaseCustom, phaseManaged, "http_request_late_transform", "http_request_origin", "http_request_redirect",
	"http_request_sanitize", "http_request_sbfm", "http_request_transform", "http_response_compression", "http_response_firewall_managed",
	"http_response_headers_transform", "magic_transit", "magic_transit_ids_managed", "magic_transit_managed", "magic_transit_ratelimit",
}

var ruleActions = []string{
	"block", "challenge", "compress_response", "ddos_dynamic", "execute", "force_connection_close", "js_challenge", "log", "log_custom_field",
	"managed_challenge", "redirect", "rewrite", "route", "score", "serve_error", "set_cache_settings", "set_config", "skip",
}

// planLimits are what a plan allows in the phases that matter here.
type planLimits struct {
	custom, cache      int
	rate               int
	periods, timeouts  []float64
	logAction, regexes bool
}

var limitsOf = map[string]planLimits{
	"free":       {5, 10, 1, []float64{10}, []float64{10}, false, false},
	"pro":        {20, 25, 2, []float64{10, 60}, []float64{10, 60, 3600}, false, false},
	"business":   {100, 50, 5, []float64{10, 60, 120, 300, 600}, []float64{10, 60, 120, 300, 600, 3600, 86400}, false, true},
	"enterprise": {1000, 300, 100, []float64{10, 15, 20, 30, 40, 45, 60, 90, 120, 180, 240, 300, 480, 600, 900, 1200, 1800, 2400, 3600}, nil, true, true},
}

func checkRuleset(c *checking) {
	c.oneOf("kind", "managed", "custom", "root", "zone")
	c.oneOf("phase", phases...)
	if c.has("zoneId") == c.has("accountId") {
		c.refuse("zoneId", "exactly one of these attributes must be configured: [account_id,zone_id]")
	}
	for _, name := range []string{"zoneId", "accountId"} {
		if s, ok := c.text(name); ok && !hexText.MatchString(s) {
			c.refuse(name, "attribute %s value must be a 32-character hexadecimal string, got: %s", name, s)
		}
	}
	c.each("rules", func(at string, r resource.PropertyMap) { c.rule(at, r) })
}

var hexText = regexp.MustCompile(`^[0-9a-f]{32}$`)

// rule is what the plugin itself refuses in a rule.
func (c *checking) rule(at string, r resource.PropertyMap) {
	if a := r["action"]; a.IsString() && !contains(ruleActions, a.StringValue()) {
		c.refuse(at+".action", "value must be one of %q, got %q", ruleActions, a.StringValue())
	}
	if id := r["id"]; !id.IsNull() {
		c.refuse(at+".id", "cannot set value for this attribute as the provider has marked it as read-only")
	}
	if l := r["logging"]; l.IsObject() && l.ObjectValue()["enabled"].IsNull() {
		c.refuse(at+".logging.enabled", "attribute %s.logging.enabled must be specified when %s.logging is specified", at, at)
	}
	if l := r["ratelimit"]; l.IsObject() && l.ObjectValue()["characteristics"].IsNull() {
		c.refuse(at+".ratelimit.characteristics", "missing required property '%s.ratelimit.characteristics'", at)
	}
	if p := r["actionParameters"]; p.IsObject() && p.ObjectValue()["id"].IsString() {
		if a := r["action"]; a.IsString() && a.StringValue() != "execute" {
			c.refuse(at+".actionParameters.id", "action_parameters.id can only be set if action is execute")
		}
		if id := p.ObjectValue()["id"].StringValue(); !hexText.MatchString(id) {
			c.refuse(at+".actionParameters.id", "value must be a 32-character hexadecimal string, got: %s", id)
		}
	}
}

// askRuleset is what only the API refuses: expressions that do not parse.
func askRuleset(c *checking) {
	c.each("rules", func(at string, r resource.PropertyMap) {
		if e := r["expression"]; e.IsString() {
			if err := balanced(e.StringValue()); err != nil {
				c.refuse(at+".expression", "%v", err)
			}
		}
	})
}

// balanced catches expressions that no parser accepts.
func balanced(s string) error {
	if strings.TrimSpace(s) == "" {
		return fail("the expression is empty")
	}
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			for i++; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			if i >= len(s) {
				return fail("the expression %q has an unterminated string", s)
			}
		case '(', '{':
			depth++
		case ')', '}':
			if depth--; depth < 0 {
				return fail("the expression %q closes what it never opened", s)
			}
		}
	}
	if depth != 0 {
		return fail("the expression %q has an open parenthesis", s)
	}
	return nil
}

var (
	regexOperator = regexp.MustCompile(`(?:\s|\))(?:matches|~)\s`)
	stringLiteral = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// ruleset refuses what the zone's plan does not have.
func (t *task) ruleset() error {
	if err := t.zone(); err != nil {
		return err
	}
	plan := t.w.opts.ZonePlan
	limits, ok := limitsOf[plan]
	if !ok {
		return fail("unknown plan %q", plan)
	}
	phase, rules := text(t.in, "phase"), objects(t.in, "rules")
	switch {
	case phase == phaseCustom && len(rules) > limits.custom:
		return fail("exceeded the maximum number of rules in the phase %s: %d out of %d (20217)", phase, len(rules), limits.custom)
	case phase == phaseCache && len(rules) > limits.cache:
		return fail("exceeded the maximum number of rules in the phase %s: %d out of %d (20217)", phase, len(rules), limits.cache)
	case phase == phaseRateLimit && len(rules) > limits.rate:
		return fail("exceeded the maximum number of rules in the phase %s: %d out of %d (20217)", phase, len(rules), limits.rate)
	}
	refs := map[string]bool{}
	for i, r := range rules {
		if ref := text(r, "ref"); ref != "" {
			if refs[ref] {
				return fail("rule %d: the ref %q is not unique (20020)", i+1, ref)
			}
			refs[ref] = true
		}
		if err := rule(phase, plan, limits, r); err != nil {
			return fail("rule %d: %w", i+1, err)
		}
	}
	return nil
}

func rule(phase, plan string, limits planLimits, r map[string]any) error {
	action := text(r, "action")
	if code := stringLiteral.ReplaceAllString(text(r, "expression"), `""`); !limits.regexes && regexOperator.MatchString(" "+code+" ") {
		return fail("not entitled: the operator matches is not available on plan %s (20127)", plan)
	}
	switch phase {
	case phaseCustom:
		if action == "log" && !limits.logAction {
			return fail("not entitled: the action log is not available on plan %s (20119)", plan)
		}
		if !contains([]string{"block", "challenge", "js_challenge", "managed_challenge", "log", "skip"}, action) {
			return fail("the action %s is not allowed in the phase %s (20016)", action, phase)
		}
		if action == "skip" && section(r, "actionParameters") == nil {
			return fail("the action skip needs action parameters (20016)")
		}
	case phaseCache:
		if action != "set_cache_settings" {
			return fail("the action %s is not allowed in the phase %s (20016)", action, phase)
		}
		if len(section(r, "actionParameters")) == 0 {
			return fail("the action set_cache_settings needs action parameters (20016)")
		}
	case phaseRateLimit:
		return rateLimit(plan, limits, r)
	case phaseManaged:
		id := text(section(r, "actionParameters"), "id")
		if action == "execute" && plan == "free" && id != freeManagedRuleset {
			return fail("not entitled: managed ruleset %s is not available on plan free (20119)", id)
		}
		if action == "execute" && id == "" {
			return fail("the action execute needs the ID of a ruleset (20016)")
		}
	}
	return nil
}

func rateLimit(plan string, limits planLimits, r map[string]any) error {
	limit := section(r, "ratelimit")
	if limit == nil {
		return fail("a rule of the phase http_ratelimit needs ratelimit (20016)")
	}
	period, timeout := number(limit, "period"), number(limit, "mitigationTimeout")
	if !among(limits.periods, period) {
		return fail("not entitled: the period %.0f is not available on plan %s: %v (20120)", period, plan, limits.periods)
	}
	if limits.timeouts != nil && !among(limits.timeouts, timeout) {
		return fail("not entitled: the mitigation timeout %.0f is not available on plan %s: %v (20120)", timeout, plan, limits.timeouts)
	}
	if number(limit, "requestsPerPeriod") < 1 {
		return fail("requests_per_period must be at least 1 (20016)")
	}
	counted := sortedStrings(texts(limit, "characteristics"))
	if !contains(counted, "cf.colo.id") || len(counted) < 2 {
		return fail("characteristics must have cf.colo.id and another field, got %v (20016)", counted)
	}
	if plan == "free" {
		if len(counted) != 2 || !contains(counted, "ip.src") {
			return fail("not entitled: a free zone counts by ip.src only, got %v (20120)", counted)
		}
		for _, field := range fieldNames(text(r, "expression")) {
			if field != "http.request.uri.path" && field != "cf.bot_management.verified_bot" && field != "cf.client.bot" {
				return fail("not entitled: the field %s is not available in rate limit rules on plan free (20120)", field)
			}
		}
		if text(limit, "countingExpression") != "" {
			return fail("not entitled: counting expressions are not available on plan free (20120)")
		}
		if text(r, "action") != "block" {
			return fail("not entitled: the action %s is not available in rate limit rules on plan free (20120)", text(r, "action"))
		}
	}
	return nil
}

func among(in []float64, v float64) bool {
	for _, x := range in {
		if x == v {
			return true
		}
	}
	return false
}

var fieldName = regexp.MustCompile(`\b[a-z_]+(?:\.[a-z_0-9]+)+\b`)

// fieldNames lists the fields that an expression uses, outside its strings.
func fieldNames(expression string) []string {
	return fieldName.FindAllString(stringLiteral.ReplaceAllString(expression, `""`), -1)
}
