package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Machine is what the network must know of a server.
type Machine struct {
	// ID is the server's ID at Hetzner; it is the machine's name on this network as well.
	ID string
	// MAC is the only address that its frames may come from.
	MAC net.HardwareAddr
	// IPv4 is its public address; the zero value: it has none.
	IPv4 netip.Addr
	// IPv6 is the network that is routed to it, a /64; the zero value: it has none.
	IPv6 netip.Prefix
	// Metadata is what the metadata service tells it beside its addresses.
	Metadata Metadata
}

func (m Machine) validate() error {
	var all []error
	if m.ID == "" {
		all = append(all, errors.New("no ID"))
	}
	if !header.IsValidUnicastEthernetAddress(tcpip.LinkAddress(m.MAC)) {
		all = append(all, fmt.Errorf("%q is not the MAC address of a machine", m.MAC))
	}
	if m.IPv4.IsValid() && (!m.IPv4.Is4() || !m.IPv4.IsGlobalUnicast()) {
		all = append(all, fmt.Errorf("%s is not an IPv4 address of a machine", m.IPv4))
	}
	if m.IPv6.IsValid() && (!m.IPv6.Addr().Is6() || m.IPv6.Addr().Is4In6() || !m.IPv6.Addr().IsGlobalUnicast() || m.IPv6.Bits() != 64) {
		all = append(all, fmt.Errorf("%s is not an IPv6 network of a machine: Hetzner gives a /64", m.IPv6))
	}
	if !m.IPv4.IsValid() && !m.IPv6.IsValid() {
		all = append(all, errors.New("no address"))
	}
	return errors.Join(all...)
}

// has reports whether the address is the machine's.
func (m Machine) has(a netip.Addr) bool {
	return a == m.IPv4 && a.IsValid() || m.IPv6.IsValid() && m.IPv6.Contains(a)
}

func (m Machine) overlaps(other Machine) bool {
	return m.IPv4.IsValid() && m.IPv4 == other.IPv4 || m.IPv6.IsValid() && other.IPv6.IsValid() && m.IPv6.Overlaps(other.IPv6)
}

// station is a machine's place on the network. It stays when the machine is unplugged: its addresses
// are still its own then, and nobody answers.
type station struct {
	network *Network
	tracker *tracker
	counts  counts

	mu      sync.RWMutex
	machine Machine
	cable   *cable // nil while it is unplugged
	times   int    // how often it was plugged in
}

const (
	// queueFrames bounds what waits for a machine that does not read; more is lost, as on a real link.
	queueFrames = 1 << 13
	// sendBufferBytes is how much one connection has on the way: a few of them do not fill the queue,
	// because the stack recovers slowly from loss.
	sendBufferBytes = 1 << 20
)

// cable is one connection to a machine.
type cable struct {
	conn  net.Conn
	queue chan frame
	done  chan struct{}
}

// Attach plugs a machine in: conn speaks the frames of QEMU's `-netdev stream`. It returns when the
// other end closes conn, or the network ends; that is no error. A machine that is plugged in again
// finds its addresses, its firewall and what was counted. A server that replaces another takes its
// addresses over, once the other is unplugged.
func (n *Network) Attach(conn net.Conn, m Machine) error {
	s, c, err := n.plug(conn, m)
	if err != nil {
		return errors.Join(fmt.Errorf("plugging in machine %q: %w", m.ID, err), conn.Close())
	}
	defer s.pull(c)
	err = readFrames(conn, func(f []byte) { s.fromMachine(f) })
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.ID, err)
	}
	return nil
}

func (n *Network) plug(conn net.Conn, m Machine) (*station, *cable, error) {
	if err := m.validate(); err != nil {
		return nil, nil, err
	}
	if m.IPv6.IsValid() {
		m.IPv6 = m.IPv6.Masked()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, nil, net.ErrClosed
	}
	for host := range n.hosts {
		if m.has(host) {
			return nil, nil, fmt.Errorf("%s is somebody else's on the internet", host)
		}
	}
	for id, other := range n.stations {
		plugged, machine := other.plugged()
		switch {
		case plugged && (id == m.ID || m.overlaps(machine)):
			return nil, nil, fmt.Errorf("machine %s is plugged in, with these addresses", id)
		case id != m.ID && m.overlaps(machine):
			// Its addresses were given to another server.
			delete(n.stations, id)
		}
	}
	s := n.station(m.ID)
	c := &cable{conn: conn, queue: make(chan frame, n.queue), done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine, s.cable = m, c
	s.times++
	n.workers.Go(c.write)
	return s, c, nil
}

// station returns the machine's place, which is made when it is first spoken of; n.mu is held.
func (n *Network) station(id string) *station {
	s := n.stations[id]
	if s == nil {
		s = &station{network: n, tracker: newTracker()}
		n.stations[id] = s
	}
	return s
}

func (s *station) plugged() (bool, Machine) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cable != nil, s.machine
}

// pull ends a connection.
func (s *station) pull(c *cable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cable == c {
		s.cable = nil
	}
	close(c.done)
	_ = c.conn.Close() // there is nobody left to tell
}

// unplug makes Attach return.
func (s *station) unplug() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.cable != nil {
		_ = s.cable.conn.Close() // Attach reports what went wrong before
	}
}

// Unplug pulls the machine's cable: Attach returns. It is false if the machine was not plugged in.
func (n *Network) Unplug(id string) bool {
	n.mu.RLock()
	s := n.stations[id]
	n.mu.RUnlock()
	if s == nil {
		return false
	}
	plugged, _ := s.plugged()
	s.unplug()
	return plugged
}

// write sends what waits, several frames at a time.
func (c *cable) write() {
	for {
		select {
		case <-c.done:
			return
		case f := <-c.queue:
			batch := net.Buffers{f}
			for len(batch) < 64 && len(c.queue) > 0 {
				batch = append(batch, <-c.queue)
			}
			if _, err := batch.WriteTo(c.conn); err != nil {
				_ = c.conn.Close() // ends Attach too
				return
			}
		}
	}
}

// send gives the machine a frame from the gateway.
func (s *station) send(f frame, kind tcpip.NetworkProtocolNumber) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.cable == nil {
		return
	}
	f.address(s.machine.MAC, kind)
	select {
	case s.cable.queue <- f:
	default:
		s.counts.overflow.Add(1)
	}
}

func (s *station) sendIP(f frame) {
	kind := header.IPv4ProtocolNumber
	if header.IPVersion(f.ip()) == header.IPv6Version {
		kind = header.IPv6ProtocolNumber
	}
	s.send(f, kind)
}

// receive passes a packet from anywhere through the firewall to the machine.
func (s *station) receive(f frame) {
	p, err := parse(f.ip())
	if err != nil {
		s.counts.malformed.Add(1)
		return
	}
	if s.tracker.in(&p) {
		s.sendIP(f)
	}
}

// fromMachine is the switch's port: what a frame is, and whether the machine may send it.
func (s *station) fromMachine(b []byte) {
	_, machine := s.plugged()
	if len(b) < header.EthernetMinimumSize {
		s.counts.malformed.Add(1)
		return
	}
	eth := header.Ethernet(b)
	if !bytes.Equal([]byte(eth.SourceAddress()), machine.MAC) {
		s.counts.spoofed.Add(1)
		return
	}
	if to := eth.DestinationAddress(); to != tcpip.LinkAddress(gatewayMAC) && to[0]&1 == 0 {
		return // it is for nobody on this link
	}
	switch eth.Type() {
	case header.ARPProtocolNumber:
		s.arp(machine, b[header.EthernetMinimumSize:])
	case header.IPv4ProtocolNumber, header.IPv6ProtocolNumber:
		p, err := parse(b[header.EthernetMinimumSize:])
		if err != nil || len(p.bytes) > mtu {
			s.counts.malformed.Add(1)
			return
		}
		s.route(machine, &p)
	}
}

// route takes a packet of the machine to where it is for.
func (s *station) route(m Machine, p *packet) {
	if s.local(m, p) {
		return
	}
	if !m.has(p.src) {
		s.counts.spoofed.Add(1)
		return
	}
	if m.has(p.dst) || !p.dst.IsGlobalUnicast() && p.dst != metadataAddress {
		return
	}
	s.network.announce(p)
	if s.network.behind(p.dst) {
		s.network.deliver(p.dst, p.bytes)
		return
	}
	s.tracker.out(p)
	switch other, host := s.network.locate(p.dst); {
	case other != nil:
		other.receive(frameOf(p.bytes))
	case host == hostUp:
		s.network.deliver(p.dst, p.bytes)
	case host == hostAbsent:
		s.counts.unserved(p)
		if f, ok := unreachable(p); ok {
			s.sendIP(f)
		}
	}
}
