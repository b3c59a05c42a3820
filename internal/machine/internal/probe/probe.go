// Package probe looks at a machine from outside, all the time that something else is done with it:
// from the internet, from the tailnet, and from inside as somebody without rights. Its report says
// what was open that nobody has declared, and what it could not look at.
package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"homelab/internal/machine/internal/link"
)

// Door is what may be open: a protocol and a range of its ports.
type Door struct {
	// Protocol is tcp, udp or icmp, which has no ports.
	Protocol string
	// First and Last are the range, both included; 0 and 0 for icmp.
	First, Last uint16
}

func (d Door) holds(protocol string, port uint16) bool {
	return d.Protocol == protocol && d.First <= port && port <= d.Last
}

// Behind returns the doors that a firewall's rules leave to an address.
func Behind(rules []link.Rule, from netip.Addr) []Door {
	var out []Door
	for _, r := range rules {
		if slices.ContainsFunc(r.Sources, func(s netip.Prefix) bool { return s.Contains(from) }) {
			out = append(out, Door{Protocol: r.Protocol, First: r.First, Last: r.Last})
		}
	}
	return out
}

// Outside is a host of the internet from which every TCP port of the machine is tried, and those UDP
// ports that are known to answer.
type Outside struct {
	// Name says who it is, such as "a stranger". Required, and another one for each.
	Name string
	// From is the host's address, which nobody else on the network has. Required.
	From netip.Addr
	// To is the machine's address, of the same version of IP. Required.
	To netip.Addr
	// Behind: it stands behind the machine's firewall, as if that was not there.
	Behind bool
	// Allowed is what may be open to it. Default nothing.
	Allowed []Door
	// Silent: nothing else may answer, not even by refusing, because a packet filter drops it.
	Silent bool
}

// Person is a computer in the tailnet from which every TCP port of the machine is tried, and those UDP
// ports that are known to answer.
type Person struct {
	// Name says who it is, such as "an admin". Required, and another one for each.
	Name string
	// Dial connects from that computer. Required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Allowed is what may be open. Default nothing.
	Allowed []Door
}

// ErrAbsent says that the machine is not in the tailnet, or not now.
var ErrAbsent = errors.New("the machine is not in the tailnet")

// Options say what is probed, from where, and how fast.
type Options struct {
	// Network is where the machine is, and Machine its ID there. Required.
	Network *link.Network
	Machine string
	// Outside are the hosts of the internet that probe. Default none.
	Outside []Outside
	// Rate is how many packets a second they send together at most. Default 2000.
	Rate int
	// Slice is how many ports each of them tries at one pass beside those that are known for
	// something: the 65535 are swept slice by slice. Default 512.
	Slice int
	// People are the computers of the tailnet that probe. Default none.
	People []Person
	// TailnetSlice is how many ports each of them tries at one pass beside those that are known for
	// something, as Slice is. Default 1024.
	TailnetSlice int
	// Node are the machine's addresses in the tailnet, of both versions of IP; ErrAbsent while it has
	// none. Required if there are People.
	Node func(ctx context.Context) ([]netip.Addr, error)
	// Root runs a script of bash on the machine, as root, and returns what it prints. Default: nobody
	// looks from inside.
	Root func(ctx context.Context, script string) (string, error)
	// Containers are tried from inside, through Root. Default: they are not.
	Containers *Containers
	// Hostnames are asked for without a login. Default: they are not.
	Hostnames *Hostnames
}

const (
	defaultRate  = 2000
	defaultSlice = 512
	// defaultTailnetSlice makes a sweep of some twelve minutes: a port that does not answer is waited
	// for.
	defaultTailnetSlice = 1024
	// The least time from the beginning of one pass to that of the next.
	outsideInterval    = 2 * time.Second
	peopleInterval     = 5 * time.Second
	insideInterval     = 20 * time.Second
	containersInterval = 30 * time.Second
	hostnamesInterval  = 20 * time.Second
	// The longest that a pass may take, on a computer that is busy.
	peopleDeadline     = 2 * time.Minute
	insideDeadline     = time.Minute
	containersDeadline = 3 * time.Minute
	hostnamesDeadline  = 5 * time.Minute
	// lateAnswers is how long answers are waited for at the end. What an emulated machine answers
	// comes late, and is counted whenever it comes.
	lateAnswers = 3 * time.Second
)

func (o Options) withDefaults() (Options, error) {
	var problems []error
	if o.Network == nil || o.Machine == "" {
		problems = append(problems, errors.New("no network or no machine"))
	}
	if o.Rate == 0 {
		o.Rate = defaultRate
	}
	if o.Slice == 0 {
		o.Slice = defaultSlice
	}
	if o.TailnetSlice == 0 {
		o.TailnetSlice = defaultTailnetSlice
	}
	if o.Rate < 0 || o.Slice < 0 || o.TailnetSlice < 0 {
		problems = append(problems, fmt.Errorf("a rate of %d and slices of %d and %d", o.Rate, o.Slice, o.TailnetSlice))
	}
	if len(o.Outside)+len(o.People) == 0 && o.Root == nil {
		problems = append(problems, errors.New("nobody probes"))
	}
	if o.Containers != nil && o.Root == nil {
		problems = append(problems, errors.New("nobody looks into the containers as root"))
	}
	names := map[string]bool{insideName: true, containersName: true}
	name := func(s string) {
		if s == "" || names[s] {
			problems = append(problems, fmt.Errorf("%q is no name of its own", s))
		}
		names[s] = true
	}
	for _, out := range o.Outside {
		name(out.Name)
		if out.From.Is4() != out.To.Is4() || !out.To.IsValid() {
			problems = append(problems, fmt.Errorf("%s: %s cannot reach %s", out.Name, out.From, out.To))
		}
	}
	for _, p := range o.People {
		name(p.Name)
		if p.Dial == nil || o.Node == nil {
			problems = append(problems, fmt.Errorf("%s: no way to dial, or no node", p.Name))
		}
	}
	if o.Hostnames != nil {
		if err := o.Hostnames.validate(name); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return o, fmt.Errorf("probing a machine: %w", err)
	}
	return o, nil
}

// Running is a probe that runs until Stop.
type Running struct {
	options Options
	record  *record
	cancel  context.CancelFunc
	passes  sync.WaitGroup
	taps    []*sweeper
	walkers []*walker
	edges   sight // between containers
	names   sight // of hostnames

	once   sync.Once
	ended  atomic.Bool
	report Report
}

// Start begins to probe, and goes on until Stop, or until ctx ends.
func Start(ctx context.Context, options Options) (*Running, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Running{options: options, cancel: cancel, record: newRecord(func() int {
		_, times := options.Network.Plugged(options.Machine)
		return times
	})}
	for _, out := range options.Outside {
		s, err := newSweeper(options.Network, out, r.record)
		if err != nil {
			cancel()
			return nil, errors.Join(fmt.Errorf("probing a machine as %s: %w", out.Name, err), r.closeTaps())
		}
		r.taps = append(r.taps, s)
	}
	if len(r.taps) > 0 {
		r.every(ctx, outsideInterval, r.lookFromOutside)
	}
	for _, p := range options.People {
		r.walkers = append(r.walkers, &walker{Person: p, next: 1})
	}
	if len(options.People) > 0 {
		r.every(ctx, peopleInterval, r.lookFromTailnet)
	}
	if options.Root != nil {
		r.every(ctx, insideInterval, r.lookFromInside)
	}
	if options.Containers != nil {
		r.every(ctx, containersInterval, r.lookFromContainers)
	}
	if options.Hostnames != nil {
		r.every(ctx, hostnamesInterval, r.lookAtHostnames)
	}
	return r, nil
}

// every makes passes, one after the other, until ctx ends. A pass that has begun comes to its end,
// or to its deadline; how many there were is counted by the pass.
func (r *Running) every(ctx context.Context, interval time.Duration, pass func(ctx context.Context, number int)) {
	r.passes.Go(func() {
		for number := 0; ctx.Err() == nil; number++ {
			next := time.After(interval)
			pass(ctx, number)
			select {
			case <-next:
			case <-ctx.Done():
			}
		}
	})
}

// Swept waits until every TCP port was tried from everywhere on the internet since it was called.
func (r *Running) Swept(ctx context.Context) error {
	if len(r.taps) == 0 {
		return errors.New("nobody probes from the internet")
	}
	// One more, for the pass that is under way.
	want := r.record.passes(r.taps) + (ports+r.options.Slice-1)/r.options.Slice + 1
	for r.record.passes(r.taps) < want {
		if err := r.rest(ctx); err != nil {
			return fmt.Errorf("waiting until all ports were tried: %w", err)
		}
	}
	return nil
}

// Looked waits until every TCP port was tried from everywhere on the internet since it was called, and
// everybody else has made a pass: one for each path and address who asks for hostnames.
func (r *Running) Looked(ctx context.Context) error {
	want := map[string]int{}
	add := func(where string, passes int) { want[where] = r.record.count(where) + passes + 1 } // one more, for that under way
	for _, w := range r.walkers {
		add(w.Name, 1)
	}
	if r.options.Root != nil {
		add(insideName, 1)
	}
	if r.options.Containers != nil {
		add(containersName, 1)
	}
	if h := r.options.Hostnames; h != nil {
		for _, v := range h.Visitors {
			add(v.Name, passesForAll)
		}
	}
	if len(r.taps) > 0 {
		if err := r.Swept(ctx); err != nil {
			return err
		}
	}
	for _, where := range slices.Sorted(maps.Keys(want)) {
		for r.record.count(where) < want[where] {
			if err := r.rest(ctx); err != nil {
				return fmt.Errorf("waiting for %s: %w", where, err)
			}
		}
	}
	return nil
}

// rest waits for a moment; an error says that there is nothing more to wait for.
func (r *Running) rest(ctx context.Context) error {
	if r.Ended() {
		return errors.New("the probe has ended")
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

// Ended reports whether the probe was stopped, and has ended.
func (r *Running) Ended() bool { return r.ended.Load() }

// Stop ends the probe and returns what it has seen; a second call returns the same.
func (r *Running) Stop() Report {
	r.once.Do(func() {
		defer r.ended.Store(true)
		r.cancel()
		r.passes.Wait()
		if len(r.taps) > 0 {
			time.Sleep(lateAnswers)
		}
		err := r.closeTaps()
		now, _ := r.options.Network.Plugged(r.options.Machine)
		r.report = r.record.report(now)
		if err != nil {
			r.report.Problems = append(r.report.Problems, err.Error())
		}
		if r.edges.blind() {
			r.report.Problems = append(r.report.Problems, blindContainers)
		}
		if r.names.blind() {
			r.report.Problems = append(r.report.Problems, blindHostnames)
		}
	})
	return r.report
}

func (r *Running) closeTaps() error {
	var all []error
	for _, s := range r.taps {
		all = append(all, s.close())
	}
	return errors.Join(all...)
}
