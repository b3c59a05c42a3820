package site

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"homelab/components/internal/access"
	"homelab/components/internal/validate"
)

// Scope is a part of what the portal knows of a user that a service may ask for.
type Scope string

// The scopes there are, beside openid, which every service has: without it there is no login.
const (
	// Email is the user's mail address.
	Email Scope = "email"
	// Groups are the groups the user is in.
	Groups Scope = "groups"
	// Profile is the user's name.
	Profile Scope = "profile"
)

// Scopes returns every scope, sorted.
func Scopes() []Scope { return []Scope{Email, Groups, Profile} }

// OpenID is how a service logs its users in at the portal, by OpenID Connect. Who may log in
// follows from the site's access; a service with its own login has none that the portal knows, so
// it says here who may.
type OpenID struct {
	// RedirectPaths are the paths of the service to which the portal sends a browser back, compared
	// letter by letter; at least one.
	RedirectPaths []string
	// Scopes are what the service may learn of the user, beside who it is.
	Scopes []Scope
	// Policy is what the portal requires: two-factor (the default) or one-factor. Only with the
	// site's policy native; otherwise the site's holds.
	Policy access.Policy
	// Groups are who may log in: required with the site's policy native, forbidden otherwise,
	// because the site's hold.
	Groups []string
}

// redirectPath is what a redirect path may be made of: nothing that a browser, the proxy or the
// portal could read in two ways.
var redirectPath = regexp.MustCompile(`^/[A-Za-z0-9._~/-]*$`)

// Validate returns everything wrong with the declaration of a site with this policy, or nil.
func (o OpenID) Validate(policy access.Policy) error {
	p := validate.Of("openid")
	p.Require(len(o.RedirectPaths) > 0, "redirectPaths is empty: the portal could send nobody back; name the path of the service's callback")
	for i, r := range o.RedirectPaths {
		switch {
		case !redirectPath.MatchString(r) || path.Clean(r) != strings.TrimSuffix(r, "/") && r != "/":
			p.Add("redirectPaths[%d]: %q is not a plain absolute path; write only the path, such as /login/generic_oauth", i, r)
		case slices.Index(o.RedirectPaths, r) < i:
			p.Add("redirectPaths[%d]: %q is listed twice; remove one", i, r)
		}
	}
	for i, s := range o.Scopes {
		switch {
		case s == "openid":
			p.Add("scopes[%d]: %q is always asked for; remove it", i, s)
		case !slices.Contains(Scopes(), s):
			p.Add("scopes[%d]: %q is not a scope; use email, groups or profile", i, s)
		case slices.Index(o.Scopes, s) < i:
			p.Add("scopes[%d]: %q is listed twice; remove one", i, s)
		}
	}
	if policy != access.Native {
		p.Require(o.Policy == "", "policy %q: the site's own policy holds; remove it", o.Policy)
		p.Require(len(o.Groups) == 0, "groups: the site's own groups hold; remove them")
		return p.Err()
	}
	p.Require(o.Policy != access.Native, "policy native: here the portal is the login; use two-factor or one-factor")
	login := access.Access{Policy: o.login(), Groups: o.Groups}
	if o.Policy != access.Native {
		for _, problem := range login.Problems(access.Tailnet) {
			p.Add("%s", problem)
		}
	}
	return p.Err()
}

func (o OpenID) login() access.Policy {
	if o.Policy == "" {
		return access.TwoFactor
	}
	return o.Policy
}

// Login is what the portal requires of who logs in at the service by OpenID Connect, which must be
// declared: exactly what it requires of a visitor of the site.
func (s Site) Login() access.Access {
	if s.Guarded() {
		return s.Access
	}
	return access.Access{Policy: s.OpenID.login(), Groups: s.OpenID.Groups}
}
