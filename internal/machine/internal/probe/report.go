package probe

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"homelab/internal/rehearsal"
)

// What a probe hands over is the API's.
type (
	// Answer is what a probe met with.
	Answer = rehearsal.ProbeAnswer
	// Finding is something that answered.
	Finding = rehearsal.ProbeFinding
	// Looks is how often somebody looked.
	Looks = rehearsal.ProbeLooks
	// Report is what a probe has seen.
	Report = rehearsal.ProbeReport
)

// The answers.
const (
	Open        = rehearsal.ProbeOpen
	Refused     = rehearsal.ProbeRefused
	Unreachable = rehearsal.ProbeUnreachable
)

// sight is whether somebody's passes show that he sees anything: whether something was there that may
// answer, and whether any of it did. What may answer can come later than what it depends on, so a
// single pass without an answer says nothing.
type sight struct{ mayAnswer, answered atomic.Bool }

// blind reports that what nobody saw says nothing.
func (s *sight) blind() bool { return s.mayAnswer.Load() && !s.answered.Load() }

const (
	blindContainers = containersName + ": no edge that is declared ever answered, so that nothing else did says nothing"
	blindHostnames  = "the hostnames: none ever answered in the tailnet, so that nothing else did says nothing"
)

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
func (r *record) passed(where string, power, tries int, swept bool) {
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
	l.Tries += tries
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

// count is how many passes somebody has made.
func (r *record) count(where string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(where).Passes
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
	out := Report{Took: time.Since(r.started), Forbidden: []Finding{}, Seen: []Finding{}, Looks: []Looks{}, Problems: []string{}}
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
	out.Problems = append(out.Problems, r.problems...)
	return out
}
