// Package access is the closed set of ways a service may be reached: who may see its hostname, and
// who must prove what before a request arrives. There is deliberately no policy that lets everyone
// in.
package access

import (
	"fmt"
	"slices"
	"strings"
)

// Policy is what a visitor must prove. The zero value is not a policy.
type Policy string

const (
	// TwoFactor asks the portal for a password and a second factor.
	TwoFactor Policy = "two-factor"
	// OneFactor asks the portal for a password only.
	OneFactor Policy = "one-factor"
	// Native leaves the login to the service itself; the portal is not asked.
	Native Policy = "native"
)

// Policies returns every policy, from the strictest to the weakest.
func Policies() []Policy { return []Policy{TwoFactor, OneFactor, Native} }

// Valid reports whether p is one of the policies of this package.
func (p Policy) Valid() bool { return slices.Contains(Policies(), p) }

// Visibility is from where a service's hostname can be reached. The zero value is not a visibility.
type Visibility string

const (
	// Public publishes a proxied DNS record: the whole internet can ask.
	Public Visibility = "public"
	// Tailnet publishes an address only devices of the tailnet can reach.
	Tailnet Visibility = "tailnet"
)

// Visibilities returns every visibility.
func Visibilities() []Visibility { return []Visibility{Public, Tailnet} }

// Valid reports whether v is one of the visibilities of this package.
func (v Visibility) Valid() bool { return slices.Contains(Visibilities(), v) }

// Access is who may use a service.
type Access struct {
	// Policy is what a visitor must prove; required.
	Policy Policy
	// Groups are the groups of which a visitor must hold at least one. Required with two-factor and
	// one-factor; forbidden with native, because the portal that knows the groups is not asked.
	Groups []string
	// Reason says why a native login may face the internet. Required with native on a public
	// hostname, otherwise optional.
	Reason string
}

// Bypass is a path of a service that skips the portal, for clients that cannot log in there.
type Bypass struct {
	// Path is an RE2 regular expression, matched against the request's path; required. Each of its
	// alternatives begins with ^/ and the first character of the paths it means.
	Path string
	// Methods are the request methods that skip the portal; empty means ReadingMethods.
	Methods []string
	// Reason says why the path may skip the portal; required.
	Reason string
}

// ReadingMethods returns the methods that a bypass admits unless it names its own: those that
// change nothing.
func ReadingMethods() []string { return []string{"GET", "HEAD", "OPTIONS"} }

// Methods returns every method that a bypass may name: those that the proxy forwards.
func Methods() []string { return append(ReadingMethods(), "DELETE", "PATCH", "POST", "PUT") }

// Admitted returns the methods that skip the portal, sorted.
func (b Bypass) Admitted() []string {
	if len(b.Methods) == 0 {
		return ReadingMethods()
	}
	return slices.Sorted(slices.Values(b.Methods))
}

// Problem is one thing wrong with an Access, a Bypass or an Upload.
type Problem struct {
	// Field is the field at fault, spelled as in the stack's config: policy, groups, groups[1],
	// reason, path, methods[0], maxMB.
	Field string
	// What is wrong with the value seen.
	What string
	// Remedy is what to do about it.
	Remedy string
}

// String returns the problem on one line.
func (p Problem) String() string { return fmt.Sprintf("%s %s: %s", p.Field, p.What, p.Remedy) }

// Check returns everything wrong with a, for a service of visibility v.
func (a Access) Check(v Visibility) []Problem {
	var out []Problem
	if !a.Policy.Valid() {
		what := fmt.Sprintf("%q is not an access policy", a.Policy)
		if a.Policy == "" {
			what = "is missing"
		}
		out = append(out, Problem{"policy", what, "use one of " + list(Policies())})
	}
	switch {
	case a.Policy == Native && len(a.Groups) > 0:
		out = append(out, Problem{
			"groups", "cannot be used with policy native: the portal that knows the groups is not asked",
			"remove groups, or use two-factor or one-factor",
		})
	case (a.Policy == TwoFactor || a.Policy == OneFactor) && len(a.Groups) == 0:
		out = append(out, Problem{
			"groups", fmt.Sprintf("is empty: policy %s needs to know who may enter", a.Policy),
			"name at least one group",
		})
	}
	for i, g := range a.Groups {
		field := fmt.Sprintf("groups[%d]", i)
		switch {
		case strings.TrimSpace(g) == "":
			out = append(out, Problem{field, "is empty", "name a group or remove the entry"})
		case slices.Index(a.Groups, g) < i:
			out = append(out, Problem{field, fmt.Sprintf("%q is listed twice", g), "remove one"})
		}
	}
	if a.Policy == Native && v == Public && strings.TrimSpace(a.Reason) == "" {
		out = append(out, Problem{
			"reason", "is missing: policy native on a public hostname lets the whole internet reach the service's own login",
			"use two-factor, make the service's visibility tailnet, or give a reason",
		})
	}
	return out
}

// Problems returns everything wrong with a, for a service of visibility v, one line each; none
// means valid.
func (a Access) Problems(v Visibility) []string { return lines(a.Check(v)) }

// Check returns everything wrong with b.
func (b Bypass) Check() []Problem {
	var out []Problem
	if what, remedy := pathProblem(b.Path); what != "" {
		out = append(out, Problem{"path", what, remedy})
	}
	out = append(out, methodProblems(b.Methods, Methods(), "the proxy forwards")...)
	if strings.TrimSpace(b.Reason) == "" {
		out = append(out, Problem{"reason", "is missing: a path that skips the portal needs a reason", "say why"})
	}
	return out
}

// Problems returns everything wrong with b, one line each; none means valid.
func (b Bypass) Problems() []string { return lines(b.Check()) }

func lines(ps []Problem) []string {
	out := make([]string, 0, len(ps))
	for _, p := range ps {
		out = append(out, p.String())
	}
	return out
}

func list[T ~string](values []T) string {
	names := make([]string, 0, len(values))
	for _, v := range values {
		names = append(names, string(v))
	}
	return strings.Join(names, ", ")
}
