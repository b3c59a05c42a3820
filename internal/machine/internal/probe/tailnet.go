package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"

	"homelab/internal/simcloud/policyfile"
)

const (
	// dialPatience is how long a connection in the tailnet may take to be made, to a port that is
	// known for something. What the policy forbids does not answer, so each such port takes that long.
	dialPatience = 5 * time.Second
	// sweepPatience is the same for the ports of the sweep: time enough for the question to be asked
	// twice.
	sweepPatience = 2 * time.Second
	// answerPatience is how long an answer to a datagram may take.
	answerPatience = 3 * time.Second
	// dialsAtOnce is how many ports one person tries at the same time.
	dialsAtOnce = 512
)

// Reachable returns the doors of the nodes with a tag that a tailnet's policy opens to the person
// with a login.
func Reachable(policy *policyfile.Policy, login, tag string) ([]Door, error) {
	var out []Door
	for _, protocol := range []string{"tcp", "udp"} {
		open := Door{Protocol: protocol}
		for port := 1; port <= ports+1; port++ {
			reaches := false
			if port <= ports {
				var err error
				if reaches, err = policy.Reaches(login, tag, protocol, uint16(port)); err != nil {
					return nil, err
				}
			}
			switch {
			case reaches && open.First == 0:
				open.First = uint16(port)
			case !reaches && open.First != 0:
				open.Last = uint16(port - 1)
				out, open.First = append(out, open), 0
			}
		}
	}
	return out, nil
}

// walker is one person, and the port at which their sweep goes on.
type walker struct {
	Person

	next int
}

// lookFromTailnet is one pass from the tailnet, by all persons at the same time.
func (r *Running) lookFromTailnet(ctx context.Context, _ int) {
	within, cancel := context.WithTimeout(ctx, peopleDeadline)
	defer cancel()
	node, err := r.options.Node(within)
	if err == nil && len(node) == 0 {
		err = ErrAbsent
	}
	var all sync.WaitGroup
	for _, w := range r.walkers {
		power := r.record.power()
		all.Go(func() {
			err := err // that of one person is not the next one's
			var tries int
			if err == nil {
				tries, err = r.lookAs(within, w, node)
			}
			switch {
			case ctx.Err() != nil:
				return // the end; this pass does not count
			case err != nil:
				r.record.missed(w.Name, err)
			default:
				r.record.passed(w.Name, power, tries, w.step(r.options.TailnetSlice))
			}
		})
	}
	all.Wait()
}

// slice are the ports of the sweep that the next pass tries.
func (w *walker) slice(size int) []uint16 {
	var out []uint16
	for port := w.next; port < w.next+size && port <= ports; port++ {
		out = append(out, uint16(port))
	}
	return out
}

// step goes on to the next slice, and reports whether the sweep has come to its end.
func (w *walker) step(size int) bool {
	if w.next += size; w.next <= ports {
		return false
	}
	w.next = 1
	return true
}

// lookAs tries the ports as one person. That the machine is said to be in the tailnet is not enough:
// one that has just gone off is said to be, and its silence says nothing about its ports.
func (r *Running) lookAs(ctx context.Context, w *walker, node []netip.Addr) (tries int, err error) {
	slots := make(chan struct{}, dialsAtOnce)
	var dials sync.WaitGroup
	var answered atomic.Bool // by a port that may
	try := func(do func() bool) {
		tries++
		slots <- struct{}{}
		dials.Go(func() {
			defer func() { <-slots }()
			if do() {
				answered.Store(true)
			}
		})
	}
	for _, address := range node {
		for _, port := range KnownTCP {
			try(func() bool { return r.dial(ctx, w, netip.AddrPortFrom(address, port), dialPatience) })
		}
		for _, u := range knownUDP {
			try(func() bool { return r.ask(ctx, w, netip.AddrPortFrom(address, u.port), u.question) })
		}
		for _, port := range w.slice(r.options.TailnetSlice) {
			try(func() bool { return r.dial(ctx, w, netip.AddrPortFrom(address, port), sweepPatience) })
		}
	}
	dials.Wait()
	if ctx.Err() != nil {
		return tries, fmt.Errorf("it took longer than %s", peopleDeadline)
	}
	if len(w.Allowed) > 0 && !answered.Load() {
		return tries, errors.New("nothing of what may answer did")
	}
	return tries, nil
}

// dial tries one TCP port, and reports whether it answered and may.
func (r *Running) dial(ctx context.Context, w *walker, at netip.AddrPort, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := w.Dial(ctx, "tcp", at.String())
	if err == nil {
		_ = conn.Close() // nothing was said
		return r.sawAs(w, "tcp", at, Open)
	}
	// Everything else is silence, or the dialer's own trouble: what must answer is asked for by
	// who reads the report.
	// The tailnet's process hands over the text of an error alone.
	if !strings.Contains(err.Error(), (&tcpip.ErrConnectionRefused{}).String()) {
		return false
	}
	// The policy lets a packet through or not: a refusal is the machine's own word as well.
	return r.sawAs(w, "tcp", at, Refused)
}

// ask tries one UDP port, and reports whether it answered and may. Whether a port refuses, the
// tailnet's process does not say.
func (r *Running) ask(ctx context.Context, w *walker, at netip.AddrPort, question string) bool {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	conn, err := w.Dial(ctx, "udp", at.String())
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }() // whoever is there has said what he says
	if conn.SetDeadline(time.Now().Add(answerPatience)) != nil {
		return false
	}
	if _, err := conn.Write([]byte(question)); err != nil {
		return false
	}
	n, err := conn.Read(make([]byte, 2048))
	return err == nil && n > 0 && r.sawAs(w, "udp", at, Open)
}

// sawAs notes an answer, and reports whether it may be.
func (r *Running) sawAs(w *walker, protocol string, at netip.AddrPort, answer Answer) bool {
	f := Finding{Where: w.Name, Protocol: protocol, Port: at.Port(), Answer: answer}
	if at.Addr().Is6() {
		f.What = "by IPv6"
	}
	allowed := slices.ContainsFunc(w.Allowed, func(d Door) bool { return d.holds(f.Protocol, f.Port) })
	r.record.saw(f, allowed)
	return allowed
}
