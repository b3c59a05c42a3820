package link

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rule lets packets in, as an inbound rule of a Hetzner firewall does.
type Rule struct {
	// Protocol is tcp, udp, icmp (of both IP versions), esp or gre.
	Protocol string
	// First and Last are the range of ports, both included; 0 and 0 where the protocol has none.
	First, Last uint16
	// Sources are the networks it is for, at least one. The two versions of IP are different:
	// 0.0.0.0/0 lets nobody in by IPv6.
	Sources []netip.Prefix
}

// ParseRule reads a rule as Hetzner's API has it: a port is "80", "80-85" or "any" for tcp and udp,
// and empty for the others.
// https://docs.hetzner.cloud/reference/cloud#firewall-actions-set-rules
func ParseRule(protocol, port string, sources []string) (Rule, error) {
	r := Rule{Protocol: protocol}
	for _, s := range sources {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return Rule{}, fmt.Errorf("firewall rule: source %q: %w", s, err)
		}
		r.Sources = append(r.Sources, p)
	}
	switch {
	case port == "":
	case port == "any":
		r.First, r.Last = 1, 65535
	default:
		first, last, isRange := strings.Cut(port, "-")
		if !isRange {
			last = first
		}
		a, errFirst := strconv.ParseUint(first, 10, 16)
		b, errLast := strconv.ParseUint(last, 10, 16)
		if errFirst != nil || errLast != nil {
			return Rule{}, fmt.Errorf("firewall rule: %q is neither a port, nor a range such as 80-85, nor any", port)
		}
		r.First, r.Last = uint16(a), uint16(b)
	}
	return r, r.Validate()
}

// Validate returns what Hetzner would refuse.
func (r Rule) Validate() error {
	switch r.Protocol {
	case "tcp", "udp":
		if r.First == 0 || r.Last < r.First {
			return fmt.Errorf("firewall rule: %s needs a port or a range of ports, %d-%d is none", r.Protocol, r.First, r.Last)
		}
	case "icmp", "esp", "gre":
		if r.First != 0 || r.Last != 0 {
			return fmt.Errorf("firewall rule: %s has no ports", r.Protocol)
		}
	default:
		return fmt.Errorf("firewall rule: protocol %q is none of tcp, udp, icmp, esp, gre", r.Protocol)
	}
	if len(r.Sources) == 0 {
		return fmt.Errorf("firewall rule: %s has no sources", r.Protocol)
	}
	for _, s := range r.Sources {
		if !s.IsValid() || s != s.Masked() {
			return fmt.Errorf("firewall rule: source %s is not the beginning of a network", s)
		}
	}
	return nil
}

func (r Rule) allows(p *packet) bool {
	if r.Protocol != protocolName(p.proto) {
		return false
	}
	if r.First != 0 && (p.dport < r.First || p.dport > r.Last) {
		return false
	}
	return slices.ContainsFunc(r.Sources, func(s netip.Prefix) bool { return s.Contains(p.src) })
}

// protocolName is the protocol as rules name it, or its number.
func protocolName(proto uint8) string {
	switch proto {
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoICMP, protoICMPv6:
		return "icmp"
	case protoESP:
		return "esp"
	case protoGRE:
		return "gre"
	}
	return strconv.Itoa(int(proto))
}
