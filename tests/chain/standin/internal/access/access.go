// Package access decides, from the rules and their order, what a request needs.
package access

import (
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"homelab/tests/chain/standin/internal/config"
)

// Level is how much authentication a rule asks for, or a visitor has.
type Level int

// The levels a rule can ask for. NotAuthenticated, OneFactor and TwoFactor are also those of a
// visitor.
const (
	Bypass           Level = -1
	NotAuthenticated Level = 0
	OneFactor        Level = 1
	TwoFactor        Level = 2
	Denied           Level = 3
)

// LevelOf returns what a policy asks for.
func LevelOf(policy string) Level {
	switch policy {
	case "bypass":
		return Bypass
	case "one_factor":
		return OneFactor
	case "two_factor":
		return TwoFactor
	default:
		return Denied
	}
}

// Subject is who asks.
type Subject struct {
	// User is empty for a visitor without a session.
	User   string
	Groups []string
	Addr   netip.Addr
}

// anonymous visitors pass every criterion about users: a rule for a group must make them log in,
// not skip to the next.
func (s Subject) anonymous() bool { return s.User == "" && len(s.Groups) == 0 }

// Object is what is asked for.
type Object struct {
	URL    *url.URL
	Method string
}

// Rules are the access rules.
type Rules struct {
	config config.AccessControl
}

// New returns the rules of a valid configuration.
func New(c config.AccessControl) Rules { return Rules{c} }

// Required returns what the first rule that matches asks for, or else the default. HasSubjects
// reports whether that rule is about certain users only.
func (r Rules) Required(s Subject, o Object) (hasSubjects bool, required Level) {
	for _, rule := range r.config.Rules {
		if matches(rule, s, o) {
			return len(rule.Subject) > 0, LevelOf(rule.Policy)
		}
	}
	return false, LevelOf(r.config.DefaultPolicy)
}

// SecondFactor reports whether any rule, or the default, asks for a second factor.
func (r Rules) SecondFactor() bool {
	return r.config.DefaultPolicy == "two_factor" ||
		slices.ContainsFunc(r.config.Rules, func(rule config.Rule) bool { return rule.Policy == "two_factor" })
}

func matches(rule config.Rule, s Subject, o Object) bool {
	host := o.URL.Hostname()
	domain := slices.ContainsFunc(rule.Domain, func(pattern string) bool { return matchesDomain(pattern, host) })
	for _, pattern := range rule.DomainPatterns {
		domain = domain || pattern.MatchString(host)
	}
	if !domain {
		return false
	}
	if len(rule.ResourcePatterns) > 0 {
		resource, found := Resource(o.URL), false
		for _, pattern := range rule.ResourcePatterns {
			found = found || pattern.MatchString(resource)
		}
		if !found {
			return false
		}
	}
	if len(rule.Methods) > 0 && !slices.Contains(rule.Methods, o.Method) {
		return false
	}
	if len(rule.Prefixes) > 0 {
		addr := s.Addr.Unmap()
		if !slices.ContainsFunc(rule.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return false
		}
	}
	return len(rule.Subject) == 0 || s.anonymous() || s.IsAny(rule.Subject)
}

func matchesDomain(pattern, host string) bool {
	pattern, host = strings.ToLower(pattern), strings.ToLower(host)
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, suffix)
	}
	return host == pattern
}

// IsAny reports whether the subject is everything in one of the lists.
func (s Subject) IsAny(lists config.Subjects) bool { return slices.ContainsFunc(lists, s.isAll) }

// isAll reports whether the subject is everything in the list.
func (s Subject) isAll(list []string) bool {
	for _, item := range list {
		kind, name, _ := strings.Cut(item, ":")
		name = strings.TrimSpace(name)
		switch kind {
		case "user":
			if s.User != name {
				return false
			}
		case "group":
			if !slices.Contains(s.Groups, name) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// Resource is the text that a rule's resources are compared with: the decoded and cleaned path,
// which keeps a slash at its end, and after a question mark the query as it came.
func Resource(u *url.URL) string {
	out := path.Clean(u.Path)
	if len(u.Path) > 1 && strings.HasSuffix(u.Path, "/") {
		out += "/"
	}
	if u.RawQuery != "" {
		out += "?" + u.RawQuery
	}
	return out
}
