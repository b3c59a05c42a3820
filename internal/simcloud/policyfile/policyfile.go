// Package policyfile reads a tailnet policy file as Tailscale's API does: it refuses what the API
// refuses, and evaluates the policy's own tests.
package policyfile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Policy is a tailnet policy file: the parts that decide who reaches what.
type Policy struct {
	// Groups are the members of each group.
	Groups map[string][]string
	// Hosts are addresses and ranges by name.
	Hosts map[string]netip.Prefix
	// TagOwners are who may give each tag.
	TagOwners map[string][]string
	rules     []accessRule
	ssh       []sshRule
	tests     []policyTest
	sshTests  []sshTest
}

// accessRule is one entry of acls or grants: sources may reach destinations.
type accessRule struct {
	where    string
	src, dst []string
	// targets says which ports of which protocols; for acls the ports belong to
	// each destination, so there is one rule per destination.
	ports      []ports
	unreadable string // why a test that this rule could decide cannot be evaluated
}

type ports struct {
	protocol string // "" is any
	from, to int
}

type sshRule struct {
	action          string
	src, dst, users []string
}

type policyTest struct {
	src, proto   string
	accept, deny []string
}

type sshTest struct {
	src                 string
	dst                 []string
	accept, check, deny []string
}

var policyKeys = []string{
	"acls", "grants", "groups", "hosts", "tagOwners", "autoApprovers", "ssh", "nodeAttrs", "postures", "defaultSrcPosture",
	"tests", "sshTests", "randomizeClientPort", "disableIPv4", "OneCGNATRoute", "ipsets", "derpMap", "$schema",
}

// Parse reads and validates a policy. The empty text is the default
// policy: everything may reach everything.
func Parse(s string) (*Policy, error) {
	p := &Policy{Groups: map[string][]string{}, Hosts: map[string]netip.Prefix{}, TagOwners: map[string][]string{}}
	if strings.TrimSpace(s) == "" {
		p.rules = []accessRule{{where: "default", src: []string{"*"}, dst: []string{"*"}, ports: []ports{{"", 0, 65535}}}}
		return p, nil
	}
	root, err := ParseHuJSON(s)
	if err != nil {
		return nil, err
	}
	for _, k := range slices.Sorted(maps.Keys(root)) {
		if !slices.Contains(policyKeys, k) {
			return nil, fmt.Errorf("unknown field %q", k)
		}
	}
	for _, step := range []func(map[string]any) error{p.readNames, p.readACLs, p.readGrants, p.readSSH, p.readTests} {
		if err := step(root); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func stringList(v any) ([]string, error) {
	l, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("expected a list of strings")
	}
	var out []string
	for _, e := range l {
		s, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("expected a list of strings")
		}
		out = append(out, s)
	}
	return out, nil
}

// readNames reads groups, hosts and tag owners.
func (p *Policy) readNames(root map[string]any) error {
	for name, v := range section(root, "groups") {
		members, err := stringList(v)
		if err != nil || !strings.HasPrefix(name, "group:") {
			return fmt.Errorf("groups: %q must be named group:… and list users", name)
		}
		for _, m := range members {
			if !strings.Contains(m, "@") {
				return fmt.Errorf("groups: %s: %q is not a user", name, m)
			}
		}
		p.Groups[name] = members
	}
	for name, v := range section(root, "hosts") {
		s, _ := v.(string)
		prefix, err := prefixOf(s)
		if err != nil {
			return fmt.Errorf("hosts: %s: %w", name, err)
		}
		p.Hosts[name] = prefix
	}
	owners := section(root, "tagOwners")
	for name := range owners {
		if !strings.HasPrefix(name, "tag:") || len(name) == len("tag:") {
			return fmt.Errorf("tagOwners: %q lacks the prefix tag: of every tag", name)
		}
		p.TagOwners[name] = nil
	}
	for name, v := range owners {
		list, err := stringList(v)
		if err != nil {
			return fmt.Errorf("tagOwners: %s: %w", name, err)
		}
		for _, o := range list {
			if err := p.known(o); err != nil {
				return fmt.Errorf("tagOwners: %s: %w", name, err)
			}
		}
		p.TagOwners[name] = list
	}
	return nil
}

func prefixOf(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

var autogroups = []string{
	"autogroup:member", "autogroup:members", "autogroup:admin", "autogroup:owner", "autogroup:it-admin", "autogroup:network-admin",
	"autogroup:billing-admin", "autogroup:auditor", "autogroup:tagged", "autogroup:self", "autogroup:internet", "autogroup:shared",
	"autogroup:danger-all", "autogroup:nonroot",
}

// known refuses a selector that names nothing.
func (p *Policy) known(s string) error {
	switch {
	case s == "*" || strings.Contains(s, "@"):
		return nil
	case strings.HasPrefix(s, "group:"):
		if _, ok := p.Groups[s]; !ok {
			return fmt.Errorf("group not found: %q", s)
		}
	case strings.HasPrefix(s, "tag:"):
		if _, ok := p.TagOwners[s]; !ok {
			return fmt.Errorf("tag not found: %q", s)
		}
	case strings.HasPrefix(s, "autogroup:"):
		if !slices.Contains(autogroups, s) {
			return fmt.Errorf("unknown autogroup %q", s)
		}
	case strings.HasPrefix(s, "ipset:"):
		return fmt.Errorf("%q: ipsets are not simulated", s)
	default:
		if _, ok := p.Hosts[s]; ok {
			return nil
		}
		if _, err := prefixOf(s); err != nil {
			return fmt.Errorf("%q is no user, group, tag, host or address", s)
		}
	}
	return nil
}

// fields refuses unknown keys of one entry.
func fields(where string, m map[string]any, allowed ...string) error {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(allowed, k) {
			return fmt.Errorf("%s: unknown field %q", where, k)
		}
	}
	return nil
}

func (p *Policy) selectors(where string, m map[string]any, name string) ([]string, error) {
	out, err := stringList(m[name])
	if err != nil {
		return nil, fmt.Errorf("%s.%s: %w", where, name, err)
	}
	for _, s := range out {
		if err := p.known(s); err != nil {
			return nil, fmt.Errorf("%s.%s: %w", where, name, err)
		}
	}
	return out, nil
}

func (p *Policy) readACLs(root map[string]any) error {
	for i, a := range objects(root, "acls") {
		where := fmt.Sprintf("acls[%d]", i)
		if err := fields(where, a, "action", "src", "dst", "proto", "srcPosture"); err != nil {
			return err
		}
		if text(a, "action") != "accept" {
			return fmt.Errorf("%s: action must be \"accept\"", where)
		}
		src, err := p.selectors(where, a, "src")
		if err != nil {
			return err
		}
		dsts, err := stringList(a["dst"])
		if err != nil {
			return fmt.Errorf("%s.dst: %w", where, err)
		}
		for _, d := range dsts {
			target, list, err := p.target(d)
			if err != nil {
				return fmt.Errorf("%s.dst: %w", where, err)
			}
			for j := range list {
				list[j].protocol = text(a, "proto")
			}
			r := accessRule{where: where, src: src, dst: []string{target}, ports: list}
			if a["srcPosture"] != nil {
				r.unreadable = "device posture"
			}
			p.rules = append(p.rules, r)
		}
	}
	return nil
}

// target splits "tag:web:80,443" into selector and ports.
func (p *Policy) target(s string) (string, []ports, error) {
	i := strings.LastIndex(s, ":")
	if i < 0 {
		return "", nil, fmt.Errorf("%q has no port", s)
	}
	selector := strings.Trim(s[:i], "[]")
	if err := p.known(selector); err != nil {
		return "", nil, err
	}
	list, err := portList(s[i+1:])
	return selector, list, err
}

func portList(s string) ([]ports, error) {
	var out []ports
	for _, part := range strings.Split(s, ",") {
		if part == "*" {
			out = append(out, ports{"", 0, 65535})
			continue
		}
		a, b, ranged := strings.Cut(part, "-")
		if !ranged {
			b = a
		}
		from, errA := strconv.Atoi(a)
		to, errB := strconv.Atoi(b)
		if errA != nil || errB != nil || from < 0 || to > 65535 || from > to {
			return nil, fmt.Errorf("%q is not a port", part)
		}
		out = append(out, ports{"", from, to})
	}
	return out, nil
}

func (p *Policy) readGrants(root map[string]any) error {
	for i, g := range objects(root, "grants") {
		where := fmt.Sprintf("grants[%d]", i)
		if err := fields(where, g, "src", "dst", "ip", "app", "via", "srcPosture"); err != nil {
			return err
		}
		if g["ip"] == nil && g["app"] == nil {
			return fmt.Errorf("%s: needs ip or app", where)
		}
		src, err := p.selectors(where, g, "src")
		if err != nil {
			return err
		}
		dst, err := p.selectors(where, g, "dst")
		if err != nil {
			return err
		}
		if g["ip"] == nil {
			continue
		}
		caps, err := stringList(g["ip"])
		if err != nil {
			return fmt.Errorf("%s.ip: %w", where, err)
		}
		r := accessRule{where: where, src: src, dst: dst}
		for _, c := range caps {
			list, err := grantPorts(c)
			if err != nil {
				return fmt.Errorf("%s.ip: %w", where, err)
			}
			r.ports = append(r.ports, list...)
		}
		if g["via"] != nil || g["srcPosture"] != nil {
			r.unreadable = "via or device posture"
		}
		p.rules = append(p.rules, r)
	}
	return nil
}

// grantPorts reads "*", "443", "tcp:443", "udp:1-100" or "icmp:*".
func grantPorts(s string) ([]ports, error) {
	protocol, rest, has := strings.Cut(s, ":")
	if !has {
		return portList(s)
	}
	if !slices.Contains([]string{"tcp", "udp", "icmp", "sctp", "gre", "esp", "ah"}, protocol) {
		if n, err := strconv.Atoi(protocol); err != nil || n < 1 || n > 255 {
			return nil, fmt.Errorf("%q: unknown protocol", s)
		}
	}
	list, err := portList(rest)
	for i := range list {
		list[i].protocol = protocol
	}
	return list, err
}

func (p *Policy) readSSH(root map[string]any) error {
	for i, r := range objects(root, "ssh") {
		where := fmt.Sprintf("ssh[%d]", i)
		if err := fields(where, r, "action", "src", "dst", "users", "checkPeriod", "acceptEnv", "recorder", "enforceRecorder", "srcPosture"); err != nil {
			return err
		}
		action := text(r, "action")
		if action != "accept" && action != "check" {
			return fmt.Errorf("%s: action must be accept or check", where)
		}
		src, err := p.selectors(where, r, "src")
		if err != nil {
			return err
		}
		dst, err := p.selectors(where, r, "dst")
		if err != nil {
			return err
		}
		for _, d := range dst {
			if !strings.HasPrefix(d, "tag:") && d != "autogroup:self" && !strings.Contains(d, "@") {
				return fmt.Errorf("%s.dst: %q: only tags, users and autogroup:self can be SSH destinations", where, d)
			}
		}
		users, err := stringList(r["users"])
		if err != nil || len(users) == 0 {
			return fmt.Errorf("%s.users: expected a list of users", where)
		}
		p.ssh = append(p.ssh, sshRule{action, src, dst, users})
	}
	return nil
}

func (p *Policy) readTests(root map[string]any) error {
	for i, t := range objects(root, "tests") {
		where := fmt.Sprintf("tests[%d]", i)
		if err := fields(where, t, "src", "proto", "accept", "deny", "srcPostureAttrs"); err != nil {
			return err
		}
		if len(texts(t, "accept"))+len(texts(t, "deny")) == 0 {
			return fmt.Errorf("%s: needs accept or deny", where)
		}
		if err := p.known(text(t, "src")); err != nil {
			return fmt.Errorf("%s.src: %w", where, err)
		}
		p.tests = append(p.tests, policyTest{text(t, "src"), text(t, "proto"), texts(t, "accept"), texts(t, "deny")})
	}
	for i, t := range objects(root, "sshTests") {
		where := fmt.Sprintf("sshTests[%d]", i)
		if err := fields(where, t, "src", "dst", "accept", "check", "deny"); err != nil {
			return err
		}
		if err := p.known(text(t, "src")); err != nil {
			return fmt.Errorf("%s.src: %w", where, err)
		}
		p.sshTests = append(p.sshTests, sshTest{text(t, "src"), texts(t, "dst"), texts(t, "accept"), texts(t, "check"), texts(t, "deny")})
	}
	return nil
}
