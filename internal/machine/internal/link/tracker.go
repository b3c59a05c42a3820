package link

import (
	"cmp"
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	// maxFlows bounds what is remembered of one machine; the flow that was idle longest goes first.
	maxFlows = 1 << 16
	// maxFragments bounds the packets of which later fragments may still come.
	maxFragments = 1 << 10
)

// How long a flow without packets is remembered: the defaults of Linux's connection tracking.
// https://docs.kernel.org/networking/nf_conntrack-sysctl.html
const (
	tcpOpening     = 120 * time.Second
	tcpEstablished = 5 * 24 * time.Hour
	tcpClosing     = 120 * time.Second
	tcpReset       = 10 * time.Second
	udpOpening     = 30 * time.Second
	udpEstablished = 120 * time.Second
	icmpTimeout    = 30 * time.Second
	otherTimeout   = 600 * time.Second
	fragmentsWait  = 30 * time.Second
)

// tracker is one machine's firewall: its rules, and the flows that pass because somebody was allowed
// to begin them.
type tracker struct {
	now func() time.Time // tests of timeouts have their own

	mu        sync.Mutex
	attached  bool // without a firewall everything comes in
	rules     []Rule
	flows     map[flowKey]*list.Element // of *flow
	idle      *list.List                // the flow that was idle longest is in front
	fragments map[fragmentKey]fragments
	dropped   map[dropKey]uint64
}

type flowKey struct {
	proto         uint8
	local, remote netip.Addr // the machine, and who it talks to
	lport, rport  uint16
}

type flow struct {
	key flowKey
	// inbound: the other side began it, so a rule must allow it.
	inbound bool
	// opening is the packet that began it.
	opening packet
	// replied: both sides have sent.
	replied                       bool
	finLocal, finRemote, wasReset bool
	expires                       time.Time
}

type fragmentKey struct {
	src, dst netip.Addr
	proto    uint8
	id       uint32
}

type fragments struct {
	pass    bool
	expires time.Time
}

type dropKey struct {
	protocol string
	port     uint16
}

func newTracker() *tracker {
	return &tracker{
		now: time.Now, flows: map[flowKey]*list.Element{}, idle: list.New(), fragments: map[fragmentKey]fragments{}, dropped: map[dropKey]uint64{},
	}
}

// set attaches a firewall. Flows that came in by a rule that is gone end.
func (t *tracker) set(rules []Rule) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attached, t.rules = true, rules
	for _, e := range t.flows {
		if f := e.Value.(*flow); f.inbound && !t.allowed(&f.opening) {
			t.forget(e)
		}
	}
}

// detach takes the firewall away.
func (t *tracker) detach() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attached, t.rules = false, nil
}

func (t *tracker) allowed(p *packet) bool {
	return !t.attached || slices.ContainsFunc(t.rules, func(r Rule) bool { return r.allows(p) })
}

// out notes a packet of the machine, so that answers pass.
func (t *tracker) out(p *packet) {
	// An error is about somebody else's flow, and a later fragment belongs to its first.
	if p.icmpError() || p.later {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := flowKey{p.proto, p.src, p.dst, p.sport, p.dport}
	if e := t.find(key); e != nil {
		f := e.Value.(*flow)
		if f.inbound {
			f.replied = true
		}
		f.finLocal = f.finLocal || p.tcp.Contains(header.TCPFlagFin)
		if p.begins() && f.closing() {
			// The ports are used again.
			t.forget(e)
			t.remember(key, false, p)
			return
		}
		t.touch(e, p)
		return
	}
	t.remember(key, false, p)
}

// in decides about a packet for the machine.
func (t *tracker) in(p *packet) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	pass := t.decide(p)
	if p.more && !p.later {
		t.expect(p, pass)
	}
	if !pass {
		key := dropKey{protocol: protocolName(p.proto)}
		if p.proto == protoTCP || p.proto == protoUDP {
			key.port = p.dport
		}
		t.dropped[key]++
	}
	return pass
}

func (t *tracker) decide(p *packet) bool {
	if p.later {
		f, ok := t.fragments[fragmentKey{p.src, p.dst, p.proto, p.fragment}]
		return ok && f.pass && t.now().Before(f.expires)
	}
	if p.icmpError() {
		if about, ok := p.about(); ok && t.find(flowKey{about.proto, about.src, about.dst, about.sport, about.dport}) != nil {
			return true
		}
		return t.allowed(p)
	}
	key := flowKey{p.proto, p.dst, p.src, p.dport, p.sport}
	e := t.find(key)
	// What begins a connection needs a rule, whatever went over these ports before.
	if e != nil && !p.begins() {
		f := e.Value.(*flow)
		if !f.inbound {
			f.replied = true
		}
		f.finRemote = f.finRemote || p.tcp.Contains(header.TCPFlagFin)
		t.touch(e, p)
		return true
	}
	if !t.allowed(p) {
		return false
	}
	if e != nil {
		if !e.Value.(*flow).closing() {
			t.touch(e, p)
			return true
		}
		t.forget(e)
	}
	t.remember(key, true, p)
	return true
}

func (f *flow) closing() bool { return f.wasReset || f.finLocal && f.finRemote }

func (t *tracker) find(key flowKey) *list.Element {
	e := t.flows[key]
	if e != nil && !t.now().Before(e.Value.(*flow).expires) {
		t.forget(e)
		return nil
	}
	return e
}

func (t *tracker) forget(e *list.Element) {
	delete(t.flows, e.Value.(*flow).key)
	t.idle.Remove(e)
}

func (t *tracker) remember(key flowKey, inbound bool, p *packet) {
	for len(t.flows) >= maxFlows {
		t.forget(t.idle.Front())
	}
	opening := *p
	opening.bytes, opening.data = nil, nil
	e := t.idle.PushBack(&flow{key: key, inbound: inbound, opening: opening})
	t.flows[key] = e
	t.touch(e, p)
}

func (t *tracker) touch(e *list.Element, p *packet) {
	f := e.Value.(*flow)
	f.wasReset = f.wasReset || p.tcp.Contains(header.TCPFlagRst)
	f.expires = t.now().Add(f.timeout())
	t.idle.MoveToBack(e)
}

func (f *flow) timeout() time.Duration {
	switch f.key.proto {
	case protoTCP:
		switch {
		case f.wasReset:
			return tcpReset
		case f.closing():
			return tcpClosing
		case f.replied:
			return tcpEstablished
		}
		return tcpOpening
	case protoUDP:
		if f.replied {
			return udpEstablished
		}
		return udpOpening
	case protoICMP, protoICMPv6:
		return icmpTimeout
	}
	return otherTimeout
}

// expect notes what becomes of the fragments that follow the first.
func (t *tracker) expect(p *packet, pass bool) {
	if len(t.fragments) >= maxFragments {
		for k, f := range t.fragments {
			if !t.now().Before(f.expires) {
				delete(t.fragments, k)
			}
		}
		if len(t.fragments) >= maxFragments {
			clear(t.fragments)
		}
	}
	t.fragments[fragmentKey{p.src, p.dst, p.proto, p.fragment}] = fragments{pass, t.now().Add(fragmentsWait)}
}

func (t *tracker) drops() []Drop {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Drop
	for k, count := range t.dropped {
		out = append(out, Drop{Protocol: k.protocol, Port: k.port, Packets: count})
	}
	slices.SortFunc(out, func(a, b Drop) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return out
}
