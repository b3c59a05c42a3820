package settings

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"homelab/components/internal/plan"
)

var (
	zoneID   = regexp.MustCompile(`^[0-9a-f]{32}$`)
	ruleName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// maxExpression is the longest expression Cloudflare takes for a rule, in characters.
const maxExpression = 4096

func (k *checker) cloudflare(r rawCloudflare) Cloudflare {
	const path = namespace + "cloudflare"
	out := Cloudflare{ZoneID: r.ZoneID}
	where := "copy it from the zone's overview page in Cloudflare's dashboard"
	if k.required(path+".zoneId", r.ZoneID, where) && !zoneID.MatchString(r.ZoneID) {
		k.add(path+".zoneId", quote(r.ZoneID)+" is not a zone ID: 32 lower-case hexadecimal digits", where)
	}
	out.Certificates = k.certificates(path+".certificates", r.Certificates)
	out.BlockedCountries = k.countries(path+".blockedCountries", r.BlockedCountries)

	var limits plan.Limits
	if k.optional(path+".plan", r.Plan) {
		p, err := plan.Parse(r.Plan)
		if err != nil {
			k.add(path+".plan", quote(r.Plan)+" is not a Cloudflare plan", oneOf(plan.All()))
		}
		out.Plan, limits = p, p.Limits()
	}
	known := k.ok(path + ".plan")
	out.RateLimit = k.rateLimit(path+".rateLimit", r.RateLimit, known, out.Plan, limits)
	out.HSTS = HSTS(r.HSTS)
	if out.HSTS.Preload && !out.HSTS.IncludeSubdomains {
		k.add(path+".hsts.preload", "needs includeSubdomains: browsers preload whole domains only",
			"set includeSubdomains too, once every name of the zone speaks HTTPS, or remove preload")
	}
	out.Rules = k.rules(path+".rules", r.Rules, known, out.Plan, limits)
	return out
}

// certificates checks names below the domain, written without it.
func (k *checker) certificates(path string, names []string) []string {
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", path, i)
		if what, remedy := nameProblem(name, 1); what != "" {
			k.add(at, what, remedy)
		}
	}
	return k.unique(path, names)
}

func (k *checker) countries(path string, codes []string) []string {
	for i, code := range codes {
		at := fmt.Sprintf("%s[%d]", path, i)
		if isCountry(code) {
			continue
		}
		remedy := "use ISO 3166-1 alpha-2 codes, such as DE"
		switch upper := strings.ToUpper(code); {
		case upper == "UK":
			remedy = "the code of the United Kingdom is GB"
		case isCountry(upper):
			remedy = "write " + upper
		}
		k.add(at, quote(code)+" is not a country code", remedy)
	}
	return k.unique(path, codes)
}

func (k *checker) rateLimit(path string, r rawRateLimit, known bool, p plan.Plan, limits plan.Limits) RateLimit {
	if r.Requests < 1 {
		k.add(path+".requests", fmt.Sprintf("must be at least 1, is %d", r.Requests), "allow at least one request a period")
	}
	if known {
		k.oneOfSeconds(path+".periodSeconds", "counting periods", r.PeriodSeconds, p, limits.RateLimitPeriods)
		k.oneOfSeconds(path+".blockSeconds", "block times", r.BlockSeconds, p, limits.RateLimitTimeouts)
	}
	return RateLimit(r)
}

func (k *checker) oneOfSeconds(path, what string, seconds int, p plan.Plan, allowed []int) {
	if slices.Contains(allowed, seconds) {
		return
	}
	texts := make([]string, 0, len(allowed))
	for _, a := range allowed {
		texts = append(texts, strconv.Itoa(a))
	}
	k.add(path, fmt.Sprintf("%s plan allows %s of %s s, %d configured", p, what, strings.Join(texts, ", "), seconds),
		"use an allowed value, or a larger plan")
}

// RuleActions returns every action a custom rule may take, from the strictest to the weakest.
func RuleActions() []RuleAction {
	return []RuleAction{Block, ManagedChallenge, Challenge, JSChallenge, Log}
}

func (k *checker) rules(path string, rs []rawRule, known bool, p plan.Plan, limits plan.Limits) []Rule {
	if total := plan.BaselineCustomRules + len(rs); known && total > limits.CustomRules {
		k.add(path, fmt.Sprintf("%s plan allows %d custom rules, %d configured (%d built in + %d yours)",
			p, limits.CustomRules, total, plan.BaselineCustomRules, len(rs)),
			fmt.Sprintf("remove %d, join some with or, or use a larger plan", total-limits.CustomRules))
	}
	out := make([]Rule, 0, len(rs))
	names := map[string]int{}
	for i, r := range rs {
		at := fmt.Sprintf("%s[%d]", path, i)
		if k.required(at+".name", r.Name, "name the rule") {
			if !ruleName.MatchString(r.Name) {
				k.add(at+".name", quote(r.Name)+" is not a rule name", "use lower-case letters, digits and hyphens, beginning with a letter")
			} else if first, used := names[r.Name]; used {
				k.add(at+".name", fmt.Sprintf("%s is the name of %s[%d] too", quote(r.Name), path, first), "give each rule its own name")
			} else {
				names[r.Name] = i
			}
		}
		k.expression(at+".expression", r.Expression, known, p, limits)
		if k.required(at+".action", r.Action, oneOf(RuleActions())) {
			action := RuleAction(r.Action)
			if !slices.Contains(RuleActions(), action) {
				k.add(at+".action", quote(r.Action)+" is not a rule action", oneOf(RuleActions()))
			} else if action == Log && known && !limits.LogAction {
				k.add(at+".action", fmt.Sprintf("%s plan does not allow the action log", p), "use another action, or the enterprise plan")
			}
		}
		out = append(out, Rule{Name: r.Name, Expression: r.Expression, Action: RuleAction(r.Action)})
	}
	return out
}

// regexOperator is the matches operator of the Rules language in its two spellings.
var regexOperator = regexp.MustCompile(`(^|[^A-Za-z0-9_.])matches([^A-Za-z0-9_.]|$)|~`)

func (k *checker) expression(path, text string, known bool, p plan.Plan, limits plan.Limits) {
	if !k.required(path, text, "write it in Cloudflare's Rules language, such as  http.host eq \"example.com\"") {
		return
	}
	if n := len([]rune(text)); n > maxExpression {
		k.add(path, fmt.Sprintf("has %d of at most %d characters", n, maxExpression), "shorten it, or make it two rules")
		return
	}
	code, err := withoutLiterals(text)
	if err != nil {
		k.add(path, err.Error(), unpaired[err])
		return
	}
	if known && !limits.Regex && regexOperator.MatchString(code) {
		k.add(path, fmt.Sprintf("%s plan does not allow the regular expression operator matches", p),
			"use contains, starts_with, ends_with, wildcard or in, or the business plan")
	}
}

// What does not pair in an expression, and what to do about it.
var (
	errNoOpening = errors.New("has a ) without its (")
	errNoClosing = errors.New("has a ( without its )")
	errNoQuote   = errors.New("has a text without its closing quote")

	unpaired = map[error]string{
		errNoOpening: "remove the ), or add the ( before it",
		errNoClosing: "add the ) that closes it",
		errNoQuote:   "add the quote at the text's end",
	}
)

// withoutLiterals returns an expression of the Rules language with every string literal emptied, so
// that what remains are its operators and fields. A literal without an end and parentheses that do
// not pair are errors. Raw literals are r"…" with any number of # around the quotes.
func withoutLiterals(text string) (string, error) {
	var code strings.Builder
	depth := 0
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; ch {
		case '(':
			depth++
		case ')':
			if depth--; depth < 0 {
				return "", errNoOpening
			}
		case '"':
			end := endOfLiteral(text, i)
			if end < 0 {
				return "", errNoQuote
			}
			code.WriteString(`""`)
			i = end
			continue
		}
		code.WriteByte(text[i])
	}
	if depth > 0 {
		return "", errNoClosing
	}
	return code.String(), nil
}

// endOfLiteral returns the index of the last byte of the literal whose opening quote is at start,
// or -1.
func endOfLiteral(text string, start int) int {
	before := strings.TrimRight(text[:start], "#")
	hashes := text[len(before):start]
	if strings.HasSuffix(before, "r") {
		end := strings.Index(text[start+1:], `"`+hashes)
		if end < 0 {
			return -1
		}
		return start + 1 + end + len(hashes)
	}
	for i := start + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// proxiedHTTPSPorts are the ports on which Cloudflare's proxy speaks HTTPS. Source: Cloudflare's
// documentation, fundamentals/reference/network-ports.
var proxiedHTTPSPorts = []int{443, 2053, 2083, 2087, 2096, 8443}

func (k *checker) ports(r rawPorts) Ports {
	const path = namespace + "ports"
	for _, p := range []struct {
		key  string
		port int
	}{{"https", r.HTTPS}, {"ssh", r.SSH}, {"tailscale", r.Tailscale}} {
		if p.port < 1 || p.port > 65535 {
			k.add(path+"."+p.key, fmt.Sprintf("%d is not a port", p.port), "use a number from 1 to 65535")
		}
	}
	if k.ok(path+".https") && !slices.Contains(proxiedHTTPSPorts, r.HTTPS) {
		k.add(path+".https", fmt.Sprintf("Cloudflare does not proxy HTTPS to port %d", r.HTTPS),
			"use one of 443, 2053, 2083, 2087, 2096, 8443")
	}
	// The tailnet's port is UDP and cannot collide with the others.
	if r.HTTPS == r.SSH && k.ok(path+".https", path+".ssh") {
		k.add(path+".ssh", fmt.Sprintf("%d is the port of %s.https too", r.SSH, path), "give each its own TCP port")
	}
	return Ports(r)
}
