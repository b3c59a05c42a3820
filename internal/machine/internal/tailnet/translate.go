package tailnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"homelab/internal/simcloud/policyfile"
)

// document is the part of a policy file that can be translated. Any other section, and any other
// field, is refused: what headscale does not know must not silently be missing.
type document struct {
	Groups    map[string][]string `json:"groups"`
	TagOwners map[string][]string `json:"tagOwners"`
	Grants    []grant             `json:"grants"`
	SSH       []sshRule           `json:"ssh"`
	// The tests are evaluated before the translation.
	Tests    json.RawMessage `json:"tests"`
	SSHTests json.RawMessage `json:"sshTests"`
}

type grant struct {
	Src []string `json:"src"`
	Dst []string `json:"dst"`
	IP  []string `json:"ip"`
}

type sshRule struct {
	Action string   `json:"action"`
	Src    []string `json:"src"`
	Dst    []string `json:"dst"`
	Users  []string `json:"users"`
}

// headscalePolicy is what headscale 0.28 reads. It knows acls, not grants.
type headscalePolicy struct {
	Groups    map[string][]string `json:"groups"`
	TagOwners map[string][]string `json:"tagOwners"`
	ACLs      []acl               `json:"acls"`
	SSH       []sshRule           `json:"ssh"`
}

type acl struct {
	Action string   `json:"action"`
	Proto  string   `json:"proto,omitempty"`
	Src    []string `json:"src"`
	Dst    []string `json:"dst"`
}

// roles are the autogroups that hold the people with one role in Tailscale's account. Headscale has
// no roles, so each becomes a group of its own. Only admins exist in a rehearsal's account: the
// other groups are empty, as they are in an account without such people.
var roles = []string{
	"autogroup:owner", "autogroup:admin", "autogroup:network-admin", "autogroup:it-admin", "autogroup:billing-admin",
	"autogroup:auditor", "autogroup:shared",
}

// known are the autogroups that headscale has itself, and on which side of a rule each may stand.
var known = map[string]struct{ src, dst bool }{
	"autogroup:member":   {true, true},
	"autogroup:tagged":   {true, true},
	"autogroup:self":     {false, true},
	"autogroup:internet": {false, true},
}

// allProtocols are those that a grant for * opens. Headscale takes no protocol for TCP and UDP, and
// icmp for that of both IP versions.
var allProtocols = []string{"", "ah", "egp", "esp", "gre", "icmp", "igmp", "igp", "ipv4", "sctp"}

// withPorts are the protocols that have ports; the others can only be opened as a whole.
var withPorts = []string{"sctp", "tcp", "udp"}

var portsOfGrant = regexp.MustCompile(`^(?:\*|\d{1,5}(?:-\d{1,5})?)$`)

// translation is one policy file on its way to headscale.
type translation struct {
	in     document
	admins []string
	out    headscalePolicy
	errs   []error
}

// translate returns the policy in headscale's form, and every login that it names. Admins are the
// logins with the role of an admin (and of the owner) in the account.
func translate(text string, admins []string) (string, []string, error) {
	if strings.TrimSpace(text) == "" {
		// Tailscale's default: everything may reach everything.
		out, err := encode(headscalePolicy{ACLs: rulesFor([]string{"*"}, []string{"*"}, "*", allProtocols)})
		return out, nil, err
	}
	root, err := policyfile.ParseHuJSON(text)
	if err != nil {
		return "", nil, err
	}
	plain, err := json.Marshal(root)
	if err != nil {
		return "", nil, err
	}
	t := &translation{admins: admins}
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&t.in); err != nil {
		return "", nil, fmt.Errorf("translating the policy for headscale: %w", err)
	}
	t.names()
	t.rules()
	t.shells()
	if err := errors.Join(t.errs...); err != nil {
		return "", nil, fmt.Errorf("translating the policy for headscale: %w", err)
	}
	out, err := encode(t.out)
	return out, t.logins(), err
}

func encode(p headscalePolicy) (string, error) {
	out, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing headscale's policy: %w", err)
	}
	return string(out) + "\n", nil
}

func (t *translation) refuse(where, format string, args ...any) {
	t.errs = append(t.errs, fmt.Errorf("%s: "+format, append([]any{where}, args...)...))
}

// names translates groups and tags.
func (t *translation) names() {
	t.out.Groups, t.out.TagOwners = map[string][]string{}, map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(t.in.Groups)) {
		if slices.ContainsFunc(roles, func(role string) bool { return groupOf(role) == name }) {
			t.refuse("groups", "%s is the name that headscale needs for a role", name)
		}
		t.out.Groups[name] = list(t.in.Groups[name])
	}
	for _, tag := range slices.Sorted(maps.Keys(t.in.TagOwners)) {
		var owners []string
		for _, owner := range t.in.TagOwners[tag] {
			name := t.selector("tagOwners."+tag, owner, true)
			if name != "" && !strings.Contains(name, "@") && !strings.HasPrefix(name, "group:") && !strings.HasPrefix(name, "tag:") {
				t.refuse("tagOwners."+tag, "headscale has no %s as the owner of a tag", owner)
			}
			owners = append(owners, name)
		}
		t.out.TagOwners[tag] = list(owners)
	}
}

// groupOf is the group that stands for a role.
func groupOf(role string) string { return "group:" + strings.ReplaceAll(role, ":", "-") }

// selector returns what headscale calls a source or destination; "" if there is no such thing.
func (t *translation) selector(where, s string, source bool) string {
	switch {
	case slices.Contains(roles, s):
		var members []string
		if s == "autogroup:owner" || s == "autogroup:admin" {
			members = t.admins
		}
		t.out.Groups[groupOf(s)] = list(members)
		return groupOf(s)
	case strings.HasPrefix(s, "autogroup:"):
		side, ok := known[s]
		if !ok || source && !side.src || !source && !side.dst {
			t.refuse(where, "headscale has no %s here", s)
			return ""
		}
		return s
	case strings.Contains(s, "@"):
		if strings.Contains(s, "*") || strings.HasPrefix(s, "@") {
			t.refuse(where, "%s is not one login", s)
			return ""
		}
		return s
	case s == "*", strings.HasPrefix(s, "group:"), strings.HasPrefix(s, "tag:"):
		return s
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return s
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return s
	}
	t.refuse(where, "headscale has no %q", s)
	return ""
}

func (t *translation) selectors(where string, from []string, source bool) []string {
	if len(from) == 0 {
		t.refuse(where, "names nobody")
	}
	var out []string
	for _, s := range from {
		if name := t.selector(where, s, source); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// rules translates grants. Each port of a grant becomes a rule of its own, because an acl has one
// protocol.
func (t *translation) rules() {
	t.out.ACLs = []acl{} // none at all would open everything
	for i, g := range t.in.Grants {
		where := fmt.Sprintf("grants[%d]", i)
		src, dst := t.selectors(where+".src", g.Src, true), t.selectors(where+".dst", g.Dst, false)
		if len(g.IP) == 0 {
			t.refuse(where+".ip", "opens nothing")
		}
		for _, ip := range g.IP {
			protocols, ports, err := protocolsOf(ip)
			if err != nil {
				t.refuse(where+".ip", "%v", err)
				continue
			}
			t.out.ACLs = append(t.out.ACLs, rulesFor(src, dst, ports, protocols)...)
		}
	}
}

// protocolsOf splits *, 443, tcp:443 or icmp:* into headscale's protocols and ports.
func protocolsOf(ip string) (protocols []string, ports string, err error) {
	protocol, ports, named := strings.Cut(ip, ":")
	if !named {
		protocol, ports = "", ip
	}
	switch {
	case !portsOfGrant.MatchString(ports):
		return nil, "", fmt.Errorf("%q is not a port of a grant", ip)
	case named && ports != "*" && !slices.Contains(withPorts, protocol):
		return nil, "", fmt.Errorf("%q: %s has no ports", ip, protocol)
	case protocol == "ipv6-icmp":
		return []string{"58"}, ports, nil
	case named && !slices.Contains(allProtocols[1:], protocol) && !slices.Contains(withPorts, protocol):
		return nil, "", fmt.Errorf("%q: headscale has no protocol %s", ip, protocol)
	case !named && ports == "*":
		return allProtocols, ports, nil
	}
	return []string{protocol}, ports, nil
}

func rulesFor(src, dst []string, ports string, protocols []string) []acl {
	var out []acl
	for _, protocol := range protocols {
		rule := acl{Action: "accept", Proto: protocol, Src: src}
		for _, d := range dst {
			rule.Dst = append(rule.Dst, d+":"+ports)
		}
		out = append(out, rule)
	}
	return out
}

// shells translates the rules of Tailscale SSH.
func (t *translation) shells() {
	t.out.SSH = []sshRule{}
	for i, r := range t.in.SSH {
		where := fmt.Sprintf("ssh[%d]", i)
		if r.Action != "accept" {
			// Headscale takes check for accept: it never asks anybody.
			t.refuse(where, "headscale has no action %q", r.Action)
		}
		for _, user := range r.Users {
			if strings.HasPrefix(user, "localpart:") {
				t.refuse(where, "headscale has no %s", user)
			}
		}
		t.out.SSH = append(t.out.SSH, sshRule{
			Action: r.Action, Src: t.selectors(where+".src", r.Src, true), Dst: t.selectors(where+".dst", r.Dst, false), Users: list(r.Users),
		})
	}
}

// logins are the people whom the translated policy names, sorted.
func (t *translation) logins() []string {
	var out []string
	add := func(names []string) {
		for _, name := range names {
			if strings.Contains(name, "@") {
				out = append(out, name)
			}
		}
	}
	for _, members := range t.out.Groups {
		add(members)
	}
	for _, owners := range t.out.TagOwners {
		add(owners)
	}
	for _, g := range t.in.Grants {
		add(g.Src)
		add(g.Dst)
	}
	for _, r := range t.in.SSH {
		add(r.Src)
		add(r.Dst)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// list is never null: headscale reads null as another thing than an empty list.
func list(in []string) []string { return append([]string{}, in...) }
