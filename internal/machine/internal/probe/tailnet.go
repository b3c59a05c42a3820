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
)

const (
	// dialPatience is how long a connection in the tailnet may take to be made. What the policy
	// forbids does not answer, so each such port takes that long.
	dialPatience = 5 * time.Second
	// dialsAtOnce is how many are made at the same time.
	dialsAtOnce = 16
)

// lookFromTailnet is one pass from the tailnet: by one person after the other.
func (r *Running) lookFromTailnet(ctx context.Context, _ int) {
	within, cancel := context.WithTimeout(ctx, peopleDeadline)
	defer cancel()
	node, err := r.options.Node(within)
	for _, p := range r.options.People {
		power := r.record.power()
		err := err // that of one person is not the next one's
		if err == nil {
			err = r.lookAs(within, p, node)
		}
		switch {
		case ctx.Err() != nil:
			return // the end; this pass does not count
		case err != nil:
			r.record.missed(p.Name, err)
		default:
			r.record.passed(p.Name, power, 0, false)
		}
	}
}

// lookAs tries the ports as one person. That the machine is said to be in the tailnet is not enough:
// one that has just gone off is said to be, and its silence says nothing about its ports.
func (r *Running) lookAs(ctx context.Context, p Person, node netip.Addr) error {
	slots := make(chan struct{}, dialsAtOnce)
	var dials sync.WaitGroup
	var answered atomic.Bool // by a port that may
	for _, port := range KnownTCP {
		slots <- struct{}{}
		dials.Go(func() {
			defer func() { <-slots }()
			if r.dial(ctx, p, netip.AddrPortFrom(node, port)) {
				answered.Store(true)
			}
		})
	}
	dials.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("it took longer than %s", peopleDeadline)
	}
	if len(p.Allowed) > 0 && !answered.Load() {
		return errors.New("nothing of what may answer did")
	}
	return nil
}

// dial tries one port, and reports whether it answered and may.
func (r *Running) dial(ctx context.Context, p Person, at netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	f := Finding{Where: p.Name, Protocol: "tcp", Port: at.Port(), Answer: Open}
	conn, err := p.Dial(ctx, "tcp", at.String())
	if err != nil {
		// Everything else is silence, or the dialer's own trouble: what must answer is asked for by
		// who reads the report.
		// The tailnet's process hands over the text of an error alone.
		if !strings.Contains(err.Error(), (&tcpip.ErrConnectionRefused{}).String()) {
			return false
		}
		f.Answer = Refused
	} else {
		_ = conn.Close() // nothing was said
	}
	// The policy lets a packet through or not: a refusal is the machine's own word as well.
	allowed := slices.ContainsFunc(p.Allowed, func(d Door) bool { return d.holds(f.Protocol, f.Port) })
	r.record.saw(f, allowed)
	return allowed
}
