package link

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// TapOptions describe a Tap.
type TapOptions struct {
	// Address is the host's; nobody else on the network may have it. Required.
	Address netip.Addr
	// Behind: the host stands between the machines' firewalls and the machines. What it sends reaches
	// them as if they had no firewall, and their firewalls see nothing of it.
	Behind bool
}

// Tap is a host of the internet that writes and reads packets of its own, in the place of the
// stack: it can send a thousand of them without waiting for one answer.
type Tap struct {
	*closer

	network *Network
	options TapOptions
	packets chan []byte
	lost    atomic.Uint64
}

// tapPackets bounds what waits for a tap that does not read; more is lost, and counted.
const tapPackets = 1 << 13

// OpenTap makes such a host. Close takes it off the network.
func (n *Network) OpenTap(options TapOptions) (*Tap, error) {
	a := options.Address
	if err := hostAddress(a); err != nil {
		return nil, fmt.Errorf("opening a tap: %w", err)
	}
	t := &Tap{network: n, options: options, packets: make(chan []byte, tapPackets)}
	n.settling.Lock()
	defer n.settling.Unlock()
	n.mu.Lock()
	_, known := n.hosts[a]
	taken := known || n.machineAt(a) != nil
	if !taken {
		n.hosts[a], n.taps[a] = true, t
	}
	n.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("opening a tap: %s is somebody else's", a)
	}
	var err error
	t.closer, err = n.closer(func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.hosts, a)
		delete(n.taps, a)
		close(t.packets)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening a tap: %w", err)
	}
	return t, nil
}

// Packets are what arrives, whole IP packets. The channel is closed with the tap.
func (t *Tap) Packets() <-chan []byte { return t.packets }

// Lost counts the packets that arrived while too many waited to be read.
func (t *Tap) Lost() uint64 { return t.lost.Load() }

// Send sends a whole IP packet, which must come from the tap's own address. That a firewall drops
// it, or that the machine is unplugged, is no error.
func (t *Tap) Send(ip []byte) error {
	p, err := parse(ip)
	if err != nil {
		return fmt.Errorf("sending from %s: %w", t.options.Address, err)
	}
	if p.src != t.options.Address {
		return fmt.Errorf("sending from %s: the packet says that it is from %s", t.options.Address, p.src)
	}
	if t.closed.Load() {
		return fmt.Errorf("sending from %s: %w", t.options.Address, syscall.ENETDOWN)
	}
	switch s, state := t.network.locate(p.dst); {
	case s != nil && t.options.Behind:
		s.sendIP(frameOf(p.bytes))
	case s != nil:
		s.receive(frameOf(p.bytes))
	case state == hostUp:
		t.network.deliver(p.dst, p.bytes)
	case state == hostAbsent:
		return fmt.Errorf("sending from %s to %s: %w", t.options.Address, p.dst, syscall.EHOSTUNREACH)
	}
	return nil
}

// behind reports whether the address is that of a tap behind the firewalls.
func (n *Network) behind(a netip.Addr) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	t := n.taps[a]
	return t != nil && t.options.Behind
}

// deliver takes a packet to a host of the internet; the bytes are copied.
func (n *Network) deliver(to netip.Addr, ip []byte) {
	n.mu.RLock()
	t := n.taps[to]
	if t == nil {
		n.mu.RUnlock()
		n.nic.inject(ip)
		return
	}
	// The lock is held: the channel is not closed meanwhile.
	defer n.mu.RUnlock()
	select {
	case t.packets <- append([]byte(nil), ip...):
	default:
		t.lost.Add(1)
	}
}

// Plugged reports whether the machine is plugged in now, and how often it was plugged in so far.
func (n *Network) Plugged(id string) (now bool, times int) {
	n.mu.RLock()
	s := n.stations[id]
	n.mu.RUnlock()
	if s == nil {
		return false, 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cable != nil, s.times
}
