package settings

import (
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"
	// The zones are looked up in the program itself where the machine it runs on has no zone files.
	_ "time/tzdata"

	"homelab/components/internal/offer"
)

// checker turns the decoded configuration into settings and reports what makes no sense.
type checker struct {
	*collector
	// given is what the stack itself sets, without the defaults.
	given object
	// passwords are those that the operator chose.
	passwords passwords
	// offers are the services of the catalogue.
	offers []offer.Offer
}

// settings checks everything. The result is usable only if nothing was reported.
func (k *checker) settings(r raw) *Settings {
	s := &Settings{Protect: r.Protect}
	s.Domain = k.domain(r.Domain)
	s.Timezone = k.timezone(r.Timezone)
	s.AdminEmail = k.email(namespace+"adminEmail", r.AdminEmail, "set it: pulumi config set "+namespace+"adminEmail admin@example.com")
	s.Cloudflare = k.cloudflare(r.Cloudflare)
	s.Tailscale = k.tailscale(r.Tailscale)
	s.SMTP = k.smtp(r.SMTP)
	s.Server = k.server(r.Server)
	s.Ports = k.ports(r.Ports)
	s.Storage = k.storage(r.Storage)
	s.Alerts = k.alerts(r.Alerts, s.SMTP != nil)
	s.Monitoring = k.monitoring(r.Monitoring, s)
	s.Backup = k.backup(r.Backup)
	s.Networks = k.networks(r.Networks)
	s.VPN = k.vpn(r.VPN, s.Networks)
	k.downloads(r.Storage.Downloads, s)
	s.Users = k.users(r.Users)
	k.passwordsHaveUsers(s.Users)
	s.Auth = k.auth(r.Auth, s)
	sites := k.services(r, s)
	s.Wiring = k.wiring(r.Wiring, s)
	k.sessionsReach(sites, s)
	k.hostnamesDiffer(sites)
	return s
}

// has reports whether the stack itself sets the key at path (without the namespace).
func (k *checker) has(path string) bool {
	_, set := k.own(path)
	return set
}

// hasObject reports whether the stack itself gives an object there that is not empty.
func (k *checker) hasObject(path string) bool {
	v, _ := k.own(path)
	o, ok := v.(object)
	return ok && len(o) > 0
}

// own is what the stack itself sets at path.
func (k *checker) own(path string) (any, bool) {
	var at any = k.given
	for _, key := range strings.Split(path, ".") {
		o, ok := at.(object)
		if !ok {
			return nil, false
		}
		if at, ok = o[key]; !ok {
			return nil, false
		}
	}
	return at, true
}

// required reports an empty text and reports whether there is one.
func (k *checker) required(path, value, remedy string) bool {
	if strings.TrimSpace(value) != "" {
		return true
	}
	what := "is missing"
	// The engine's tools fill an absent key with the empty text the project file declares for it.
	if key := strings.TrimPrefix(path, namespace); strings.ContainsAny(key, "[.") && k.has(key) {
		what = "is empty"
	}
	k.add(path, what, remedy)
	return false
}

// optional adds a problem where the default was overwritten with an empty text, and returns whether
// there is a text.
func (k *checker) optional(path, value string) bool {
	if strings.TrimSpace(value) != "" {
		return true
	}
	k.add(path, "is empty", "give it a value, or remove the key to get its default")
	return false
}

// label is a DNS label as host names allow it.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// nameProblem says what is wrong with a DNS name, or nothing.
func nameProblem(name string, labels int) (what, remedy string) {
	shown := quote(name) + " "
	for _, r := range name {
		if r > 127 {
			return shown + "is not ASCII", "write the international name in its xn-- form"
		}
	}
	if lower := strings.ToLower(name); lower != name {
		return shown + "has upper-case letters", "write " + lower
	}
	if len(name) > 253 {
		return shown + "is longer than 253 characters", "shorten it"
	}
	parts := strings.Split(name, ".")
	for _, part := range parts {
		if !label.MatchString(part) {
			return shown + "is not a host name: " + quote(part) + " is not a label of 1 to 63 letters, digits and inner hyphens",
				"use labels of letters, digits and inner hyphens, with dots between them"
		}
	}
	if len(parts) < labels {
		return shown + fmt.Sprintf("has %d of at least %d labels", len(parts), labels), "write the whole name, such as example.com"
	}
	return "", ""
}

// plainName returns the name that a URL or a wildcard was meant for as the remedy, where there is
// one; otherwise the remedy given. A secret that was pasted there is not taken apart: only the
// whole of it can be concealed.
func (k *checker) plainName(name, remedy string, labels int) string {
	plain := strings.TrimSpace(name)
	if _, rest, isURL := strings.Cut(plain, "://"); isURL {
		plain, _, _ = strings.Cut(rest, "/")
	}
	plain = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(plain, "*."), "."))
	if what, _ := nameProblem(plain, labels); what != "" || plain == name || k.conceal.Replace(name) != name {
		return remedy
	}
	return "write " + plain
}

func (k *checker) domain(name string) string {
	const path = namespace + "domain"
	if !k.required(path, name, "set it: pulumi config set "+path+" example.com") {
		return ""
	}
	what, remedy := nameProblem(name, 2)
	if top := name[strings.LastIndexByte(name, '.')+1:]; what == "" && strings.Trim(top, "0123456789") == "" {
		what, remedy = quote(name)+" is not a domain: its last label is a number", "write the zone's domain, such as example.com"
	}
	if what != "" {
		k.add(path, what, k.plainName(name, remedy, 2))
		return ""
	}
	return name
}

func (k *checker) timezone(name string) string {
	const path = namespace + "timezone"
	if !k.optional(path, name) {
		return ""
	}
	// "Local" is whatever the machine running this program is set to.
	if _, err := time.LoadLocation(name); err != nil || name == "Local" {
		k.add(path, quote(name)+" is not an IANA time zone", "use a name such as Etc/UTC or Europe/Berlin")
		return ""
	}
	return name
}

// email checks a required mail address.
func (k *checker) email(path, address, remedy string) string {
	if !k.required(path, address, remedy) {
		return ""
	}
	if !plainAddress(address, 2) {
		k.add(path, quote(address)+" is not a mail address", "write it as name@example.com")
		return ""
	}
	return address
}

// plainAddress reports whether s is a mail address and nothing more, with a host of at least so many
// labels.
func plainAddress(s string, labels int) bool {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > 254 {
		return false
	}
	what, _ := nameProblem(strings.ToLower(s[strings.LastIndexByte(s, '@')+1:]), labels)
	return what == ""
}

// unique reports what repeats an earlier entry of a list, by its path, and returns the values
// sorted.
func (k *checker) unique(path string, values []string) []string {
	for i, v := range values {
		if first := slices.Index(values, v); first < i && v != "" {
			k.add(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%s is listed twice", quote(v)), "remove one")
		}
	}
	out := slices.Clone(values)
	slices.Sort(out)
	return out
}
