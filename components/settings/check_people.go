package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"homelab/components/internal/grants"
)

var (
	// tailnetName is a tailnet's MagicDNS suffix.
	tailnetName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.ts\.net$`)
	userName    = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,31}$`)
	groupName   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
)

func (k *checker) tailscale(r rawTailscale) Tailscale {
	const path = namespace + "tailscale"
	where := "copy it from the DNS page of Tailscale's admin console, such as tail1234.ts.net"
	if k.required(path+".tailnet", r.Tailnet, where) && !tailnetName.MatchString(r.Tailnet) {
		k.add(path+".tailnet", quote(r.Tailnet)+" is not a tailnet's DNS name", where)
	}
	if len(r.Admins) == 0 {
		k.add(path+".admins", "names nobody: nobody could reach the server", "list the Tailscale login of at least one person")
	}
	out := Tailscale{Tailnet: r.Tailnet, OverwritePolicy: r.OverwritePolicy}
	out.Admins = k.logins(path+".admins", r.Admins)
	out.Members = k.logins(path+".members", r.Members)
	for i, m := range r.Members {
		if m != "" && slices.Contains(r.Admins, m) {
			k.add(fmt.Sprintf("%s.members[%d]", path, i), quote(m)+" is in admins already, who reach everything", "remove it from one of the lists")
		}
	}
	for _, g := range r.ExtraGrants {
		out.Extra.Grants = append(out.Extra.Grants, grants.Grant(g))
	}
	for _, t := range r.ExtraTagOwners {
		out.Extra.TagOwners = append(out.Extra.TagOwners, grants.TagOwner(t))
	}
	for _, p := range out.Extra.Check(len(r.Members) > 0) {
		k.add(path+"."+p.Field, p.What, p.Remedy)
	}
	return out
}

// logins checks a list of Tailscale logins: mail addresses, or name@github and the like.
func (k *checker) logins(path string, logins []string) []string {
	for i, login := range logins {
		if !plainAddress(login, 1) {
			k.add(fmt.Sprintf("%s[%d]", path, i), quote(login)+" is not a Tailscale login", "write it as in Tailscale's admin console, such as name@example.com")
		}
	}
	return k.unique(path, logins)
}

func (k *checker) users(rs []rawUser) []User {
	const path = namespace + "users"
	if len(rs) == 0 {
		k.add(path, "names nobody: nobody could log in", "list at least one user, in group "+AdminsGroup)
		return nil
	}
	out := make([]User, 0, len(rs))
	names, emails, admin := map[string]int{}, map[string]int{}, false
	for i, r := range rs {
		at := fmt.Sprintf("%s[%d]", path, i)
		if k.required(at+".name", r.Name, "name the user") {
			if !userName.MatchString(r.Name) {
				k.add(at+".name", quote(r.Name)+" is not a user name", "use up to 32 lower-case letters, digits, dots, hyphens and underscores, beginning with a letter")
			} else {
				k.notTwice(at+".name", path, ".name", r.Name, i, names)
			}
		}
		if k.email(at+".email", r.Email, "give the address the portal writes to"); k.ok(at + ".email") {
			k.notTwice(at+".email", path, ".email", strings.ToLower(r.Email), i, emails)
		}
		display := r.DisplayName
		switch {
		case strings.TrimSpace(display) != "":
		case k.given["users"] != nil && hasKey(k.given["users"], i, "displayName"):
			k.add(at+".displayName", "is empty", "give it a value, or remove the key to get the user's name")
		default:
			display = r.Name
		}
		if len(r.Groups) == 0 {
			k.add(at+".groups", "names no group: the user could use nothing", "list at least one group")
		}
		for j, g := range r.Groups {
			if !groupName.MatchString(g) {
				k.add(fmt.Sprintf("%s.groups[%d]", at, j), quote(g)+" is not a group name", "use up to 32 lower-case letters, digits, hyphens and underscores, beginning with a letter")
			}
		}
		admin = admin || slices.Contains(r.Groups, AdminsGroup)
		out = append(out, User{Name: r.Name, DisplayName: display, Email: r.Email, Groups: k.unique(at+".groups", r.Groups)})
	}
	if !admin && k.wasRead(path) {
		k.add(path, "nobody is in group "+AdminsGroup, "add the group to at least one user")
	}
	slices.SortFunc(out, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// hasKey reports whether the i-th object of a list has the key.
func hasKey(v any, i int, key string) bool {
	l, ok := v.(list)
	if !ok || i >= len(l) {
		return false
	}
	o, _ := l[i].(object)
	_, has := o[key]
	return has
}

// notTwice reports a value an earlier entry of the list has too.
func (k *checker) notTwice(at, path, field, value string, i int, seen map[string]int) {
	if first, used := seen[value]; used {
		k.add(at, fmt.Sprintf("%s is that of %s[%d]%s too", quote(value), path, first, field), "give each user their own")
		return
	}
	seen[value] = i
}

// The bounds within which a session's times make sense.
const (
	shortestSession = time.Minute
	longestSession  = 30 * 24 * time.Hour
	longestRemember = 365 * 24 * time.Hour
)

func (k *checker) auth(r rawAuth, s *Settings) Auth {
	const path = namespace + "auth"
	out := Auth{Hostname: k.hostname(path+".hostname", r.Hostname, s, true), SessionDomain: s.Domain}
	if r.SessionDomain != "" {
		out.SessionDomain = k.hostname(path+".sessionDomain", r.SessionDomain, s, false)
	}
	out.SessionInactivity = k.duration(path+".sessionInactivity", r.SessionInactivity, longestSession)
	out.SessionExpiration = k.duration(path+".sessionExpiration", r.SessionExpiration, longestSession)
	switch r.RememberMe {
	case "off", "0", "0s":
	default:
		out.RememberMe = k.duration(path+".rememberMe", r.RememberMe, longestRemember)
	}
	if k.ok(path+".sessionInactivity", path+".sessionExpiration") && out.SessionInactivity > out.SessionExpiration {
		k.add(path+".sessionInactivity", fmt.Sprintf("%s is longer than sessionExpiration, %s", r.SessionInactivity, r.SessionExpiration),
			"a session that ends earlier cannot be inactive for so long: shorten the one or lengthen the other")
	}
	if k.ok(path+".sessionExpiration", path+".rememberMe") && out.RememberMe > 0 && out.SessionExpiration > out.RememberMe {
		k.add(path+".rememberMe", fmt.Sprintf("%s is shorter than sessionExpiration, %s", r.RememberMe, r.SessionExpiration),
			"being remembered must last at least as long as not being: lengthen the one or shorten the other")
	}
	return out
}

func (k *checker) duration(path, text string, longest time.Duration) time.Duration {
	if !k.optional(path, text) {
		return 0
	}
	d, err := parseDuration(text)
	switch {
	case err != nil:
		k.add(path, quote(text)+" is not a duration", "write it with units, such as 90m, 12h or 30d")
	case d < shortestSession || d > longest || d%time.Second != 0:
		k.add(path, fmt.Sprintf("%s is not a whole number of seconds from %s to %s", quote(text), showDuration(shortestSession), showDuration(longest)), "use a value in that range")
	}
	return d
}
