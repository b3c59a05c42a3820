package link

import (
	"errors"
	"fmt"
	"slices"
)

// SetFirewall puts a firewall in front of the machine, outside of it, which may be plugged in later.
// What no rule allows is dropped without an answer; no rules at all keep everything out. Answers to
// the machine's own connections pass. A connection that came in by a rule that is gone ends; whether
// Hetzner's ends it as well is not known.
func (n *Network) SetFirewall(machine string, rules []Rule) error {
	var all []error
	for i, r := range rules {
		if err := r.Validate(); err != nil {
			all = append(all, fmt.Errorf("rule %d: %w", i+1, err))
		}
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("firewall of machine %s: %w", machine, err)
	}
	n.mu.Lock()
	s := n.station(machine)
	n.mu.Unlock()
	s.tracker.set(slices.Clone(rules))
	return nil
}

// RemoveFirewall takes the machine's firewall away: everything comes in, as to a server at Hetzner
// that has none.
func (n *Network) RemoveFirewall(machine string) {
	n.mu.RLock()
	s := n.stations[machine]
	n.mu.RUnlock()
	if s != nil {
		s.tracker.detach()
	}
}

// Forget unplugs the machine and forgets it, its firewall and what was counted: the server is deleted
// and its addresses are nobody's.
func (n *Network) Forget(machine string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.stations[machine]; s != nil {
		s.unplug()
		delete(n.stations, machine)
	}
}
