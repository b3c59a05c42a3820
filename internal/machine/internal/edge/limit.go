package edge

import (
	"net/netip"
	"sync"
	"time"
)

// limit is a rule that limits how often it may be true.
type limit struct {
	rule

	requests      int
	period, block time.Duration
	byVisitor     bool // else all visitors are counted together

	mu     sync.Mutex
	counts map[netip.Addr]*count
}

// count is one visitor's.
type count struct {
	since   time.Time // when the period began
	n       int
	blocked time.Time // until then
}

// exceeded counts a request, and reports whether it is one too many.
func (l *limit) exceeded(visitor netip.Addr, now time.Time) bool {
	if !l.byVisitor {
		visitor = netip.Addr{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts[visitor]
	if c == nil {
		c = &count{since: now}
		l.counts[visitor] = c
	}
	if now.Before(c.blocked) {
		return true
	}
	if now.Sub(c.since) >= l.period {
		c.since, c.n = now, 0
	}
	if c.n++; c.n <= l.requests {
		return false
	}
	c.blocked, c.n, c.since = now.Add(l.block), 0, now.Add(l.block)
	return true
}
