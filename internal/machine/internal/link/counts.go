package link

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// maxUnserved bounds the destinations that are remembered of one machine.
const maxUnserved = 256

// counts is what did not pass, of one machine.
type counts struct {
	spoofed, malformed, overflow atomic.Uint64

	mu           sync.Mutex
	destinations map[Destination]bool
}

// Stats tells what did not pass from or to a machine since it was first plugged in.
type Stats struct {
	// Dropped are the packets that its firewall kept out, by protocol and port.
	Dropped []Drop
	// Spoofed counts packets that it sent under a hardware or network address that is not its own.
	Spoofed uint64
	// Malformed counts packets, in either direction, that no router would forward.
	Malformed uint64
	// Overflow counts packets that were lost because the machine did not take them in time.
	Overflow uint64
	// Unserved is whom it wanted to reach though nobody is there, at most 256.
	Unserved []Destination
}

// Drop counts the packets for one port that a firewall kept out.
type Drop struct {
	// Protocol is tcp, udp, icmp, esp, gre or a number.
	Protocol string
	// Port is the machine's; 0 where the protocol has none, and for fragments.
	Port uint16
	// Packets counts them.
	Packets uint64
}

// Destination is an address that nobody on the network has.
type Destination struct {
	// Protocol is tcp, udp, icmp, esp, gre or a number.
	Protocol string
	// Address is where the packet was for; the port is 0 where the protocol has none.
	Address netip.AddrPort
}

func (c *counts) unserved(p *packet) {
	d := Destination{Protocol: protocolName(p.proto), Address: netip.AddrPortFrom(p.dst, 0)}
	if p.proto == protoTCP || p.proto == protoUDP {
		d.Address = netip.AddrPortFrom(p.dst, p.dport)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.destinations == nil {
		c.destinations = map[Destination]bool{}
	}
	if len(c.destinations) < maxUnserved {
		c.destinations[d] = true
	}
}

// Stats returns what did not pass from or to the machine; nothing for one that was never plugged in.
func (n *Network) Stats(machine string) Stats {
	n.mu.RLock()
	s := n.stations[machine]
	n.mu.RUnlock()
	if s == nil {
		return Stats{}
	}
	out := Stats{
		Dropped: s.tracker.drops(), Spoofed: s.counts.spoofed.Load(), Malformed: s.counts.malformed.Load(), Overflow: s.counts.overflow.Load(),
	}
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	for d := range s.counts.destinations {
		out.Unserved = append(out.Unserved, d)
	}
	slices.SortFunc(out.Unserved, func(a, b Destination) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.Address.Compare(b.Address))
	})
	return out
}
