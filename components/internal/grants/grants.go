// Package grants checks what an operator adds to the tailnet's policy: grants and tags of his own.
// Nothing added may reach the server or let the server reach anything: who may do that is said by
// other settings.
package grants

import (
	"fmt"
	"net/mail"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
)

// Names in the policy that this program owns.
const (
	// ServerTag is the tag of the media server.
	ServerTag = "tag:homelab"
	// DeployTag is the tag of machines that deploy without a person.
	DeployTag = "tag:homelab-deploy"
	// AdminGroup holds homelab:tailscale.admins.
	AdminGroup = "group:homelab-admins"
	// MemberGroup holds homelab:tailscale.members; it exists only with members.
	MemberGroup = "group:homelab-members"
)

// Grant lets its sources open connections to its destinations.
type Grant struct {
	// Src are who may connect: logins, groups, autogroups and tags; at least one.
	Src []string
	// Dst are where to: as Src, and networks behind a subnet router; at least one.
	Dst []string
	// IP are the ports: *, 443, 80-443, or one of these after a protocol, such as tcp:443; at least
	// one.
	IP []string
}

// TagOwner says who may give a tag to a machine.
type TagOwner struct {
	// Tag is the tag, such as tag:nas.
	Tag string
	// Owners are logins, groups, autogroups and tags; at least one.
	Owners []string
}

// Extra is everything that an operator adds.
type Extra struct {
	// Grants are added after those of the program.
	Grants []Grant
	// TagOwners are the tags that the grants may name; each tag once.
	TagOwners []TagOwner
}

// Problem is one thing wrong with an Extra.
type Problem struct {
	// Field is the field at fault, spelled as in the stack's configuration, such as
	// extraGrants[0].src[1].
	Field string
	// What is wrong with the value seen.
	What string
	// Remedy is what to do about it.
	Remedy string
}

// String returns the problem on one line.
func (p Problem) String() string { return fmt.Sprintf("%s %s: %s", p.Field, p.What, p.Remedy) }

// Check returns everything wrong with e; hasMembers reports whether MemberGroup exists.
func (e Extra) Check(hasMembers bool) []Problem {
	c := checker{extra: e, hasMembers: hasMembers}
	for i, g := range e.Grants {
		at := fmt.Sprintf("extraGrants[%d]", i)
		c.each(at+".src", g.Src, c.source)
		c.each(at+".dst", g.Dst, c.destination)
		c.each(at+".ip", g.IP, c.ports)
	}
	for i, t := range e.TagOwners {
		at := fmt.Sprintf("extraTagOwners[%d]", i)
		first := slices.IndexFunc(e.TagOwners, func(o TagOwner) bool { return o.Tag == t.Tag })
		switch {
		case t.Tag == ServerTag || t.Tag == DeployTag:
			c.add(at+".tag", fmt.Sprintf("%q is a tag of this program", t.Tag), "choose another name, such as tag:nas")
		case !tagName.MatchString(t.Tag):
			c.add(at+".tag", fmt.Sprintf("%.80q is not a tag", t.Tag),
				"write tag: and then letters, digits and hyphens, beginning with a letter, such as tag:nas")
		case first < i:
			c.add(at+".tag", fmt.Sprintf("%q is that of extraTagOwners[%d] too", t.Tag, first),
				"list all owners of a tag together")
		}
		c.each(at+".owners", t.Owners, c.owner)
	}
	return c.problems
}

// Problems returns everything wrong with e, one line each; none means valid.
func (e Extra) Problems(hasMembers bool) []string {
	var out []string
	for _, p := range e.Check(hasMembers) {
		out = append(out, p.String())
	}
	return out
}

// Tags returns the operator's tags, sorted.
func (e Extra) Tags() []string {
	out := make([]string, 0, len(e.TagOwners))
	for _, t := range e.TagOwners {
		out = append(out, t.Tag)
	}
	slices.Sort(out)
	return out
}

type checker struct {
	extra      Extra
	hasMembers bool
	problems   []Problem
}

func (c *checker) add(field, what, remedy string) {
	c.problems = append(c.problems, Problem{field, what, remedy})
}

// each checks every value of a list that must not be empty.
func (c *checker) each(field string, values []string, check func(field, value string)) {
	if len(values) == 0 {
		c.add(field, "names nobody and nothing", "list at least one")
	}
	for i, v := range values {
		check(fmt.Sprintf("%s[%d]", field, i), v)
	}
}

var (
	tagName = regexp.MustCompile(`^tag:[A-Za-z][A-Za-z0-9-]{0,49}$`)
	// people are the autogroups that hold persons and no server.
	people = []string{
		"autogroup:admin", "autogroup:auditor", "autogroup:billing-admin", "autogroup:it-admin", "autogroup:member",
		"autogroup:network-admin", "autogroup:owner", "autogroup:shared",
	}
	// everything are selectors that hold the server too.
	everything = []string{"*", "autogroup:danger-all", "autogroup:tagged", ServerTag}
)

// Ranges returns the addresses that Tailscale gives to the devices of every tailnet, the server's
// among them.
func Ranges() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fd7a:115c:a1e0::/48")}
}

// who lists what a selector may be.
const who = "use a login such as name@example.com, an autogroup such as autogroup:member, " +
	AdminGroup + ", " + MemberGroup + " or a tag of extraTagOwners"

func (c *checker) source(field, value string) {
	switch {
	case slices.Contains(everything, value):
		c.add(field, fmt.Sprintf("%q holds the server, which may start no connection into the tailnet", value),
			"use autogroup:member for everybody's devices, or name tags")
	case !c.person(value) && !c.tag(value):
		c.add(field, fmt.Sprintf("%.80q is not a source of this policy", value), who)
	}
}

func (c *checker) destination(field, value string) {
	if slices.Contains(everything, value) {
		c.add(field, fmt.Sprintf("%q holds the server", value),
			"name devices by tag or owner; who reaches the server is said by tailscale.admins and tailscale.members")
		return
	}
	if value == "autogroup:self" || value == "autogroup:internet" ||
		value != DeployTag && c.tag(value) || c.person(value) {
		return
	}
	network, err := netip.ParsePrefix(value)
	if address, single := netip.ParseAddr(value); err != nil && single == nil && address.Zone() == "" {
		network, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	switch {
	case err != nil:
		c.add(field, fmt.Sprintf("%.80q is not a destination of this policy", value),
			who+", or a network behind a subnet router, such as 192.168.1.0/24")
	case network.Masked() != network:
		c.add(field, fmt.Sprintf("%q has bits set outside its mask", value), fmt.Sprintf("write %s", network.Masked()))
	case slices.ContainsFunc(Ranges(), network.Overlaps):
		c.add(field, fmt.Sprintf("%q holds addresses of the tailnet, and the server has one of them", value),
			"name devices by tag or owner")
	}
}

func (c *checker) owner(field, value string) {
	if !c.person(value) && !c.tag(value) {
		c.add(field, fmt.Sprintf("%.80q cannot own a tag", value), who)
	}
}

// person reports whether value is a login, or a group of persons.
func (c *checker) person(value string) bool {
	if slices.Contains(people, value) || value == AdminGroup || value == MemberGroup && c.hasMembers {
		return true
	}
	a, err := mail.ParseAddress(value)
	return err == nil && a.Address == value
}

// tag reports whether value is a tag that the policy defines, other than the server's.
func (c *checker) tag(value string) bool {
	return value == DeployTag || value != ServerTag && slices.Contains(c.extra.Tags(), value)
}

// portRange is a port, a range of ports or all of them, after a protocol or not.
var portRange = regexp.MustCompile(`^(?:([a-z][a-z0-9-]*):)?(?:\*|(\d{1,5})(?:-(\d{1,5}))?)$`)

// protocols are the names Tailscale knows. Source: its documentation of the policy file's syntax.
var protocols = []string{"", "ah", "egp", "esp", "gre", "icmp", "igmp", "igp", "ipv4", "ipv6-icmp", "sctp", "tcp", "udp"}

func (c *checker) ports(field, value string) {
	m := portRange.FindStringSubmatch(value)
	ok := m != nil && slices.Contains(protocols, m[1])
	if ok && m[2] != "" {
		first, _ := strconv.Atoi(m[2])
		last := first
		if m[3] != "" {
			last, _ = strconv.Atoi(m[3])
		}
		ok = first <= last && last <= 65535
	}
	if !ok {
		c.add(field, fmt.Sprintf("%.80q is not a port of a grant", value),
			"write *, 443, 80-443, tcp:443, udp:53 or icmp:*")
	}
}
