package probe

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Answer is what a probe met with.
type Answer string

const (
	// Open is a connection, an answer to a datagram, or the reply to a ping.
	Open Answer = "open"
	// Refused is a reset, or an ICMP error that says that nobody is at the port.
	Refused Answer = "refused"
	// Unreachable is another ICMP error about the probe.
	Unreachable Answer = "unreachable"
)

// Finding is one port that answered.
type Finding struct {
	// Where is the name of who probed.
	Where string
	// Protocol is tcp, udp or icmp; unix for a socket inside.
	Protocol string
	// Port is the machine's; 0 where the protocol has none.
	Port uint16
	// Answer is what it answered.
	Answer Answer
	// What says more; empty where the port says all.
	What string
	// First and Last are when it was seen first and last, and Times how often.
	First, Last time.Time
	Times       int
}

// String is a line of a report.
func (f Finding) String() string {
	what := f.Protocol
	if f.Port != 0 {
		what = fmt.Sprintf("%s %d", f.Protocol, f.Port)
	}
	if f.What != "" {
		what += " (" + f.What + ")"
	}
	const clock = "15:04:05.000"
	return fmt.Sprintf("%s: %s %s, %d times from %s to %s", f.Where, what, f.Answer, f.Times, f.First.Format(clock), f.Last.Format(clock))
}

// Looks is how often somebody looked.
type Looks struct {
	// Where is the name of who probed.
	Where string
	// Passes counts the passes that were made, and Sweeps how often all TCP ports were tried in them.
	Passes, Sweeps int
	// Packets counts what was sent; 0 for who sends none of his own.
	Packets int
	// Absent counts the passes that could not be made because the machine had only begun to boot, was
	// off, or went off before the next one: nothing was looked at then. Why is the last reason.
	Absent int
	Why    string
	// LongestGap is the longest time from the end of one pass that was made to the end of the next.
	LongestGap time.Duration
}

// Report is what a probe has seen.
type Report struct {
	// Forbidden is what answered though nothing declares it.
	Forbidden []Finding
	// Seen is what answered and may.
	Seen []Finding
	// Looks says for each who probed how often that was.
	Looks []Looks
	// Problems are the passes that could not be made though the machine was there.
	Problems []string
	// Took is how long the probe ran.
	Took time.Duration
}

// Err is nil if nothing was found that is not declared, and everything was looked at.
func (r Report) Err() error {
	var all []error
	for _, f := range r.Forbidden {
		all = append(all, fmt.Errorf("not declared: %s", f))
	}
	for _, p := range r.Problems {
		all = append(all, fmt.Errorf("not probed: %s", p))
	}
	return errors.Join(all...)
}

// Saw reports whether a port answered that way to somebody, allowed or not.
func (r Report) Saw(where, protocol string, port uint16, answer Answer) bool {
	return slices.ContainsFunc(slices.Concat(r.Seen, r.Forbidden), func(f Finding) bool {
		return f.Where == where && f.Protocol == protocol && f.Port == port && f.Answer == answer
	})
}

// String is all of it, for somebody to read.
func (r Report) String() string {
	lines := []string{fmt.Sprintf("probed for %s", r.Took.Round(time.Second))}
	for _, l := range r.Looks {
		line := fmt.Sprintf("%s: %d passes, all ports %d times, %d packets, longest gap %s", l.Where, l.Passes, l.Sweeps, l.Packets, l.LongestGap.Round(100*time.Millisecond))
		if l.Absent > 0 {
			line += fmt.Sprintf("; %d passes could not be made, the machine was not there (%s)", l.Absent, l.Why)
		}
		lines = append(lines, line)
	}
	for _, f := range r.Seen {
		lines = append(lines, "allowed: "+f.String())
	}
	for _, f := range r.Forbidden {
		lines = append(lines, "NOT DECLARED: "+f.String())
	}
	for _, p := range r.Problems {
		lines = append(lines, "NOT PROBED: "+p)
	}
	return strings.Join(lines, "\n")
}

// record is what the passes write to.
type record struct {
	// power counts how often the machine was switched on so far.
	power func() int

	mu       sync.Mutex
	started  time.Time
	findings map[findingKey]*Finding
	looks    map[string]*looks
	problems []string
}

type findingKey struct {
	where, protocol string
	port            uint16
	answer          Answer
	what            string
	allowed         bool
}

type looks struct {
	Looks

	made  time.Time // when the last pass ended; zero before the first
	power int       // what record.power said at its beginning
	// missed are the passes since then that could not be made.
	missed int
	why    string
}

func newRecord(power func() int) *record {
	return &record{power: power, started: time.Now(), findings: map[findingKey]*Finding{}, looks: map[string]*looks{}}
}

// saw notes an answer.
func (r *record) saw(f Finding, allowed bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	key := findingKey{f.Where, f.Protocol, f.Port, f.Answer, f.What, allowed}
	known := r.findings[key]
	if known == nil {
		f.First = now
		known = &f
		r.findings[key] = known
	}
	known.Last = now
	known.Times++
}

func (r *record) of(where string) *looks {
	l := r.looks[where]
	if l == nil {
		l = &looks{Looks: Looks{Where: where}}
		r.looks[where] = l
	}
	return l
}

// passed notes that a pass was made; power is what record.power said at its beginning: a pass may
// last until the machine is on again.
func (r *record) passed(where string, power, packets int, swept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.of(where)
	r.settle(l, power)
	since := l.made
	if since.IsZero() {
		since = r.started
	}
	now := time.Now()
	l.LongestGap = max(l.LongestGap, now.Sub(since))
	l.made, l.power = now, power
	l.Passes++
	l.Packets += packets
	if swept {
		l.Sweeps++
	}
}

// missed notes that a pass could not be made.
func (r *record) missed(where string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.of(where)
	l.missed++
	l.why = why.Error()
}

// settle decides what the missed passes mean, once it is known what came after them: none is a
// problem before the first that was made, and none if the machine's power was off meanwhile.
func (r *record) settle(l *looks, power int) {
	if l.missed == 0 {
		return
	}
	if l.made.IsZero() || power != l.power {
		l.Absent += l.missed
		l.Why = l.why
	} else {
		r.problems = append(r.problems, fmt.Sprintf("%s: %d passes, after %s: %s", l.Where, l.missed, l.made.Format("15:04:05"), l.why))
	}
	l.missed = 0
}

// passes is how many passes each of them has made at least.
func (r *record) passes(of []*sweeper) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	least := math.MaxInt
	for _, s := range of {
		least = min(least, r.of(s.where.Name).Passes)
	}
	return least
}

// report is all that was noted. on says whether the machine is on.
func (r *record) report(on bool) Report {
	power := r.power()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := Report{Took: time.Since(r.started)}
	for key, f := range r.findings {
		if key.allowed {
			out.Seen = append(out.Seen, *f)
		} else {
			out.Forbidden = append(out.Forbidden, *f)
		}
	}
	for _, list := range [][]Finding{out.Seen, out.Forbidden} {
		slices.SortFunc(list, func(a, b Finding) int {
			return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Answer, b.Answer),
				cmp.Compare(a.What, b.What))
		})
	}
	for _, where := range slices.Sorted(maps.Keys(r.looks)) {
		l := r.looks[where]
		if on {
			r.settle(l, power)
		} else {
			r.settle(l, l.power+1) // it went off
		}
		if l.Passes == 0 {
			r.problems = append(r.problems, fmt.Sprintf("%s: not one pass could be made: %s", where, cmp.Or(l.Why, "there was no time")))
		}
		out.Looks = append(out.Looks, l.Looks)
	}
	out.Problems = r.problems
	return out
}
