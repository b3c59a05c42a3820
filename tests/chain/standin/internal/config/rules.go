package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

func policies() []string { return []string{"bypass", "one_factor", "two_factor", "deny"} }

func methods() []string {
	return []string{
		"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
		"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK",
	}
}

func (a *AccessControl) validate(p *problems, networks map[string][]netip.Prefix) {
	orDefault(&a.DefaultPolicy, "deny")
	p.oneOf("access_control: option 'default_policy'", a.DefaultPolicy, policies()...)
	if len(a.Rules) == 0 {
		p.require(a.DefaultPolicy == "one_factor" || a.DefaultPolicy == "two_factor",
			"access_control: 'default_policy' option '%s' is invalid: when no rules are specified it must be 'two_factor' or 'one_factor'", a.DefaultPolicy)
		return
	}
	for i := range a.Rules {
		a.Rules[i].validate(p, i+1, networks)
	}
}

func (r *Rule) validate(p *problems, position int, networks map[string][]netip.Prefix) {
	key := fmt.Sprintf("access_control: rule #%d", position)
	if len(r.Domain) > 0 {
		key += fmt.Sprintf(" (domain '%s')", strings.Join(r.Domain, ","))
	}
	p.require(len(r.Domain)+len(r.DomainRegex) > 0, "%s: option 'domain' or 'domain_regex' must be present but are both absent", key)
	p.oneOf(key+": option 'policy'", r.Policy, policies()...)
	for _, domain := range r.Domain {
		p.require(domain != "" && !strings.ContainsAny(strings.TrimPrefix(domain, "*."), "*{}/:"),
			"%s: domain '%s': the stand-in knows names and '*.' in front of one", key, domain)
	}
	for _, all := range r.Subject {
		p.require(len(all) > 0, "%s: option 'subject' has an empty list", key)
		for _, subject := range all {
			p.require(strings.HasPrefix(subject, "user:") || strings.HasPrefix(subject, "group:"),
				"%s: option 'subject' with value '%s' is invalid: must start with 'user:' or 'group:'", key, subject)
		}
	}
	p.require(r.Policy != "bypass" || len(r.Subject) == 0, "%s: 'policy' option 'bypass' is not supported when 'subject' option is configured", key)
	seen := map[string]bool{}
	for _, method := range r.Methods {
		p.require(slices.Contains(methods(), method), "%s: option 'methods' has the invalid value '%s'", key, method)
		p.require(!seen[method], "%s: option 'methods' has the duplicate value '%s'", key, method)
		seen[method] = true
	}
	for _, name := range r.Networks {
		if known, ok := networks[name]; ok {
			r.Prefixes = append(r.Prefixes, known...)
			continue
		}
		prefix, err := parsePrefix(name)
		if err != nil {
			p.add("%s: option 'networks' with value '%s': %w", key, name, errNoAddress)
			continue
		}
		r.Prefixes = append(r.Prefixes, prefix)
	}
	r.DomainPatterns = compile(p, key+": option 'domain_regex'", r.DomainRegex)
	r.ResourcePatterns = compile(p, key+": option 'resources'", r.Resources)
}

func compile(p *problems, key string, patterns []string) []*regexp.Regexp {
	var out []*regexp.Regexp
	for _, text := range patterns {
		pattern, err := regexp.Compile(text)
		if err != nil {
			p.add("%s with value '%s': %w", key, text, err)
			continue
		}
		for _, group := range pattern.SubexpNames() {
			p.require(group != "User" && group != "Group", "%s with value '%s': the stand-in knows no groups named User or Group", key, text)
		}
		out = append(out, pattern)
	}
	return out
}
