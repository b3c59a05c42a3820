package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"homelab/internal/machine/internal/link"
)

const (
	// ports is how many TCP ports there are.
	ports = 65535
	// burst is how many packets are sent at once.
	burst = 20
)

// sweeper is one host of the internet that probes. It keeps nothing of what it has sent: an answer
// says what it answers, so no port is waited for.
type sweeper struct {
	where  Outside
	tap    *link.Tap
	record *record
	next   int // the port at which the sweep goes on
	read   sync.WaitGroup
	// failed is the first answer that could not be sent on; guarded by mu.
	mu     sync.Mutex
	failed error
}

func newSweeper(network *link.Network, where Outside, record *record) (*sweeper, error) {
	tap, err := network.OpenTap(link.TapOptions{Address: where.From, Behind: where.Behind})
	if err != nil {
		return nil, err
	}
	s := &sweeper{where: where, tap: tap, record: record, next: 1}
	s.read.Go(func() {
		for b := range tap.Packets() {
			s.answered(b)
		}
	})
	return s, nil
}

func (s *sweeper) close() error {
	err := s.tap.Close()
	s.read.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost := s.tap.Lost(); lost > 0 {
		err = errors.Join(err, fmt.Errorf("%s: %d answers were lost", s.where.Name, lost))
	}
	return errors.Join(err, s.failed)
}

// answered takes a packet that came back.
func (s *sweeper) answered(b []byte) {
	a, ok := readAnswer(b, s.where.To)
	if !ok {
		return
	}
	allowed := slices.ContainsFunc(s.where.Allowed, func(d Door) bool { return d.holds(a.protocol, a.port) })
	f := Finding{Where: s.where.Name, Protocol: a.protocol, Port: a.port, Answer: a.answer, What: a.what}
	if !allowed && a.answer != Open && !s.where.Silent {
		// So does every port that nobody listens at: one line for all of them.
		f.Port, f.What, allowed = 0, "ports that nobody listens at", true
	}
	s.record.saw(f, allowed)
	if a.reset == nil {
		return
	}
	// The machine need not go on offering the connection.
	if err := s.tap.Send(a.reset(s.where.From)); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failed = errors.Join(s.failed, fmt.Errorf("%s: %w", s.where.Name, err))
	}
}

// questions are the packets of one pass, and whether the sweep has come to its end with them.
func (s *sweeper) questions(number, slice int) (packets [][]byte, swept bool) {
	// Another port at each pass: the machine remembers what it has answered to.
	from := netip.AddrPortFrom(s.where.From, uint16(32768+number%28000))
	to := func(port int) netip.AddrPort { return netip.AddrPortFrom(s.where.To, uint16(port)) }
	for _, port := range KnownTCP {
		packets = append(packets, synTo(from, to(int(port))))
	}
	for _, u := range knownUDP {
		packets = append(packets, datagram(from, to(int(u.port)), []byte(u.question)))
	}
	packets = append(packets, echoTo(s.where.From, s.where.To, uint16(number)))
	last := min(s.next+slice-1, ports)
	for port := s.next; port <= last; port++ {
		packets = append(packets, synTo(from, to(port)))
	}
	s.next = last + 1
	if last == ports {
		s.next = 1
	}
	return packets, last == ports
}

// lookFromOutside is one pass from the internet: by one host after the other, slowly enough that
// the machine does not get much slower by it.
func (r *Running) lookFromOutside(ctx context.Context, number int) {
	pace := newPace(r.options.Rate)
	for _, s := range r.taps {
		on, power := r.options.Network.Plugged(r.options.Machine)
		if !on {
			r.record.missed(s.where.Name, errors.New("the machine is unplugged"))
			continue
		}
		packets, swept := s.questions(number, r.options.Slice)
		var err error
		for i, p := range packets {
			if i%burst == 0 && !pace.wait(ctx) {
				return // the end; this pass does not count
			}
			err = errors.Join(err, s.tap.Send(p))
		}
		if err != nil {
			r.record.missed(s.where.Name, err)
			continue
		}
		r.record.passed(s.where.Name, power, len(packets), swept)
	}
}

// pace lets a number of bursts pass each second.
type pace struct {
	interval time.Duration
	next     time.Time
}

func newPace(rate int) *pace {
	return &pace{interval: time.Second * burst / time.Duration(rate), next: time.Now()}
}

// wait waits for the next burst; false says that ctx has ended. What was late is not caught up
// with.
func (p *pace) wait(ctx context.Context) bool {
	if early := time.Until(p.next); early > 0 {
		select {
		case <-time.After(early):
		case <-ctx.Done():
			return false
		}
	} else {
		p.next = time.Now()
	}
	p.next = p.next.Add(p.interval)
	return ctx.Err() == nil
}
