package portal

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"

	"homelab/tests/chain/standin/internal/config"
	"homelab/tests/chain/standin/internal/logs"
)

// bucket lets an address ask so many times at once, and once more after each period.
type bucket struct {
	period   time.Duration
	requests int
}

// configured is limit for a limit of the configuration.
func (p *Portal) configured(c config.RateLimit) func(handler) handler {
	if !*c.Enable {
		return func(next handler) handler { return next }
	}
	buckets := make([]bucket, 0, len(c.Buckets))
	for _, b := range c.Buckets {
		buckets = append(buckets, bucket{b.Period.Std(), b.Requests})
	}
	return p.limit(buckets...)
}

// limit refuses an address that asks more often than any bucket allows.
func (p *Portal) limit(buckets ...bucket) func(handler) handler {
	var mu sync.Mutex
	limiters := map[netip.Addr][]*rate.Limiter{}
	return func(next handler) handler {
		return func(r *request) {
			mu.Lock()
			mine := limiters[r.addr]
			if mine == nil {
				for _, b := range buckets {
					mine = append(mine, rate.NewLimiter(rate.Every(b.period), b.requests))
				}
				limiters[r.addr] = mine
			}
			mu.Unlock()
			var wait time.Duration
			for _, limiter := range mine {
				reservation := limiter.ReserveN(r.now(), 1)
				if delay := reservation.DelayFrom(r.now()); delay > 0 {
					reservation.CancelAt(r.now())
					wait = max(wait, delay)
				}
			}
			if wait > 0 {
				r.log(logs.Warn, nil, "Rate Limit Exceeded")
				r.Response.Header.Set("Retry-After", r.now().UTC().Add(wait).Format(http.TimeFormat))
				r.refuse(fasthttp.StatusTooManyRequests, fasthttp.StatusMessage(fasthttp.StatusTooManyRequests))
				return
			}
			next(r)
		}
	}
}
