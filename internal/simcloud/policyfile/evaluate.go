package policyfile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Tailnet is what the tests of a policy need to know of the tailnet.
type Tailnet struct {
	// Name is the tailnet's domain, to which its members belong.
	Name string
	// Tags returns the tags of the device with an address; nil means that there are no devices.
	Tags func(netip.Addr) []string
}

// party is one end of a connection in a policy test.
type party struct {
	user string
	tags []string
	ip   netip.Addr
}

// Test evaluates the policy's own tests; the first that fails refuses the
// policy. What cannot be decided here is refused as well: a test that silently
// passes would be worse than none.
func (p *Policy) Test(w Tailnet) error {
	for i, t := range p.tests {
		if err := p.runTest(w, t); err != nil {
			return fmt.Errorf("test(s) failed: tests[%d] (src %s): %w", i, t.src, err)
		}
	}
	for i, t := range p.sshTests {
		if err := p.runSSHTest(w, t); err != nil {
			return fmt.Errorf("test(s) failed: sshTests[%d] (src %s): %w", i, t.src, err)
		}
	}
	return nil
}

func (p *Policy) runTest(w Tailnet, t policyTest) error {
	sources, err := p.parties(w, t.src)
	if err != nil {
		return err
	}
	for _, want := range []struct {
		allowed bool
		dsts    []string
	}{{true, t.accept}, {false, t.deny}} {
		for _, d := range want.dsts {
			selector, list, err := p.target(d)
			if err != nil {
				return err
			}
			destinations, err := p.parties(w, selector)
			if err != nil {
				return err
			}
			for _, s := range sources {
				for _, dst := range destinations {
					got, err := p.allowed(s, dst, t.proto, list)
					if err != nil {
						return err
					}
					if got != want.allowed {
						return fmt.Errorf("address %q: want: %s, got: %s", d, verdict(want.allowed), verdict(got))
					}
				}
			}
		}
	}
	return nil
}

func verdict(allowed bool) string {
	if allowed {
		return "Accept"
	}
	return "Drop"
}

// parties turns the selector of a test into who that is.
func (p *Policy) parties(w Tailnet, s string) ([]party, error) {
	switch {
	case strings.Contains(s, "@"):
		return []party{{user: s}}, nil
	case strings.HasPrefix(s, "group:"):
		var out []party
		for _, m := range p.Groups[s] {
			out = append(out, party{user: m})
		}
		return out, nil
	case strings.HasPrefix(s, "tag:"):
		return []party{{tags: []string{s}}}, nil
	case s == "autogroup:member" || s == "autogroup:members":
		return []party{{user: "someone@" + w.Name}}, nil
	}
	prefix, ok := p.Hosts[s]
	if !ok {
		var err error
		if prefix, err = prefixOf(s); err != nil {
			return nil, fmt.Errorf("a test with %q cannot be evaluated in the simulation", s)
		}
	}
	out := party{ip: prefix.Addr()}
	if w.Tags != nil {
		out.tags = w.Tags(out.ip)
	}
	return []party{out}, nil
}

// allowed reports whether some rule lets all the ports through.
func (p *Policy) allowed(src, dst party, protocol string, list []ports) (bool, error) {
	if protocol == "" {
		protocol = "tcp"
	}
	for _, want := range list {
		found := false
		for _, r := range p.rules {
			hit, err := p.ruleAllows(r, src, dst, protocol, want)
			if err != nil {
				return false, err
			}
			if hit {
				found = true
				break
			}
		}
		if !found {
			return false, nil
		}
	}
	return true, nil
}

func (p *Policy) ruleAllows(r accessRule, src, dst party, protocol string, want ports) (bool, error) {
	covered := false
	for _, have := range r.ports {
		if (have.protocol == "" || have.protocol == protocol) && have.from <= want.from && want.to <= have.to {
			covered = true
		}
	}
	if !covered {
		return false, nil
	}
	from, err := p.matchesAny(r.src, src, src)
	if err != nil || !from {
		return false, err
	}
	to, err := p.matchesAny(r.dst, dst, src)
	if err != nil || !to {
		return false, err
	}
	if r.unreadable != "" {
		return false, fmt.Errorf("%s uses %s, which the simulation cannot evaluate", r.where, r.unreadable)
	}
	return true, nil
}

func (p *Policy) matchesAny(selectors []string, who, src party) (bool, error) {
	for _, s := range selectors {
		ok, err := p.matches(s, who, src)
		if err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// matches reports whether a selector of a rule means a party.
func (p *Policy) matches(s string, who, src party) (bool, error) {
	switch {
	case s == "*" || s == "autogroup:danger-all":
		return true, nil
	case strings.Contains(s, "@"):
		return s == who.user, nil
	case strings.HasPrefix(s, "group:"):
		return who.user != "" && slices.Contains(p.Groups[s], who.user), nil
	case strings.HasPrefix(s, "tag:"):
		return slices.Contains(who.tags, s), nil
	case s == "autogroup:member" || s == "autogroup:members":
		return who.user != "", nil
	case s == "autogroup:tagged":
		return len(who.tags) > 0, nil
	case s == "autogroup:self":
		return who.user != "" && who.user == src.user, nil
	case s == "autogroup:internet" || s == "autogroup:shared":
		return false, nil
	case strings.HasPrefix(s, "autogroup:"):
		if who.user == "" {
			return false, nil
		}
		return false, fmt.Errorf("whether %s is in %s is not known to the simulation", who.user, s)
	}
	prefix, ok := p.Hosts[s]
	if !ok {
		var err error
		if prefix, err = prefixOf(s); err != nil {
			return false, err
		}
	}
	if who.ip.IsValid() {
		return prefix.Contains(who.ip), nil
	}
	// Every tailnet node has an address in these ranges; a narrower range may or
	// may not hold a node that is only known by user or tag.
	if EveryNode.Overlaps(prefix) && prefix.Bits() <= EveryNode.Bits() {
		return true, nil
	}
	return false, nil
}

// Reaches reports whether a person's own computer reaches a port of the nodes with a tag; the
// protocol is tcp or udp.
func (p *Policy) Reaches(login, tag, protocol string, port uint16) (bool, error) {
	if _, known := p.TagOwners[tag]; !known {
		return false, fmt.Errorf("the policy knows no %s", tag)
	}
	return p.allowed(party{user: login}, party{tags: []string{tag}}, protocol, []ports{{protocol, int(port), int(port)}})
}

// EveryNode is the range of the addresses of a tailnet's nodes.
var EveryNode = netip.MustParsePrefix("100.64.0.0/10")

func (p *Policy) runSSHTest(w Tailnet, t sshTest) error {
	sources, err := p.parties(w, t.src)
	if err != nil {
		return err
	}
	for _, d := range t.dst {
		if err := p.known(d); err != nil {
			return err
		}
		destinations, err := p.parties(w, d)
		if err != nil {
			return err
		}
		for want, users := range map[string][]string{"accept": t.accept, "check": t.check, "deny": t.deny} {
			for _, user := range users {
				for _, s := range sources {
					for _, dst := range destinations {
						got, err := p.sshVerdict(s, dst, user)
						if err != nil {
							return err
						}
						if got != want {
							return fmt.Errorf("user %q on %s: want: %s, got: %s", user, d, want, got)
						}
					}
				}
			}
		}
	}
	return nil
}

// sshVerdict gives accept, check or deny; check rules go first, as the most
// restrictive.
func (p *Policy) sshVerdict(src, dst party, user string) (string, error) {
	for _, action := range []string{"check", "accept"} {
		for _, r := range p.ssh {
			if r.action != action || !slices.Contains(r.users, user) && (user == "root" || !slices.Contains(r.users, "autogroup:nonroot")) {
				continue
			}
			from, err := p.matchesAny(r.src, src, src)
			if err != nil {
				return "", err
			}
			to, err := p.matchesAny(r.dst, dst, src)
			if err != nil {
				return "", err
			}
			if from && to {
				return action, nil
			}
		}
	}
	return "deny", nil
}
