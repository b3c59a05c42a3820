package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
	"go.uber.org/zap"
)

const (
	// pullTimeout bounds one fetch of decisions.
	pullTimeout = 10 * time.Second
	// firstPullTimeout bounds the fetch that a new configuration waits for.
	firstPullTimeout = 2 * time.Second
	// fullInterval is how often everything is fetched, not the news alone. The local API counts
	// news as delivered to whoever asked last with our key, and answers 200 with a part of the list
	// when its database fails (CrowdSec 1.7.8, streamDecisions): what was lost in these ways comes
	// back.
	fullInterval = 2 * time.Minute
	// retryInterval is the pause between fetches until the first one succeeds.
	retryInterval = time.Second
	// maxDecisions bounds one answer of the local API, in bytes.
	maxDecisions = 256 << 20
	// bouncerAgent is how the bouncer introduces itself: CrowdSec splits it into a type and a
	// version.
	bouncerAgent = "homelab-caddy/v1"
)

// decision is one of CrowdSec's decisions, as the local API streams it.
type decision struct {
	ID       int64  `json:"id"`
	Scope    string `json:"scope"`
	Value    string `json:"value"`
	Duration string `json:"duration"`
}

// prefix returns the addresses that the decision is about.
func (d decision) prefix() (netip.Prefix, error) {
	if address, err := netip.ParseAddr(d.Value); err == nil {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	p, err := netip.ParsePrefix(d.Value)
	if err != nil {
		return p, fmt.Errorf("decision %d is about %q, which is neither an address nor a range", d.ID, d.Value)
	}
	return p.Masked(), nil
}

// news is what the local API streams.
type news struct {
	New     []decision `json:"new"`
	Deleted []decision `json:"deleted"`
}

// decisions are the bans in force, fetched again and again from the local API.
//
// Every decision is kept under its ID with its end, and the stream is asked for all of them: by
// default it names only the longest of each address, and a shorter one would be forgotten, or stay
// after the operator has deleted it.
type decisions struct {
	address  string
	key      string
	interval time.Duration
	full     time.Duration // fullInterval
	client   *http.Client
	log      *zap.Logger
	once     sync.Once
	cancel   context.CancelFunc
	done     chan struct{}

	mu      sync.RWMutex
	table   *bart.Table[map[int64]time.Time]
	loaded  atomic.Bool
	lastGot atomic.Int64 // Unix seconds of the last successful fetch
}

func newDecisions(lapi, key string, interval time.Duration, log *zap.Logger) *decisions {
	return &decisions{
		address: strings.TrimSuffix(lapi, "/") + "/v1/decisions/stream", key: key, interval: interval, full: fullInterval,
		client: &http.Client{Timeout: pullTimeout}, log: log.Named("bouncer"), done: make(chan struct{}),
		table: new(bart.Table[map[int64]time.Time]),
	}
}

// start fetches the decisions once, briefly, and goes on fetching them in the background. Further
// calls do nothing.
func (d *decisions) start() {
	d.once.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		d.cancel = cancel
		first, done := context.WithTimeout(ctx, firstPullTimeout)
		err := d.pull(first, true)
		done()
		go d.run(ctx, err != nil)
	})
}

// stop ends the fetching, if it has begun.
func (d *decisions) stop() {
	d.once.Do(func() { close(d.done) })
	if d.cancel != nil {
		d.cancel()
	}
	<-d.done
	d.client.CloseIdleConnections()
}

// run fetches until the context ends. After a failure everything is fetched anew: the local API
// counts an answer as delivered as soon as it is written, whether or not it arrived.
func (d *decisions) run(ctx context.Context, anew bool) {
	defer close(d.done)
	var full time.Time // the first round fetches everything as well
	for {
		pause := d.interval
		if !d.loaded.Load() {
			pause = min(pause, retryInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		everything := anew || time.Since(full) >= d.full
		if anew = d.pull(ctx, everything) != nil; !anew && everything {
			full = time.Now()
		}
	}
}

// pull fetches what is new, or everything.
func (d *decisions) pull(ctx context.Context, everything bool) error {
	n, err := d.fetch(ctx, everything)
	if err != nil {
		if ctx.Err() == nil || !d.loaded.Load() {
			counted.pulled(err)
			d.log.Error("decisions cannot be fetched", zap.Error(err), zap.Bool("closed", !d.loaded.Load()))
		}
		return err
	}
	d.apply(n, everything, time.Now())
	d.loaded.Store(true)
	d.lastGot.Store(time.Now().Unix())
	counted.pulled(nil)
	return nil
}

func (d *decisions) fetch(ctx context.Context, everything bool) (n news, err error) {
	query := url.Values{"startup": {fmt.Sprint(everything)}, "dedup": {"false"}, "scopes": {"ip,range"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.address+"?"+query.Encode(), nil)
	if err != nil {
		return n, err
	}
	request.Header.Set("X-Api-Key", d.key)
	request.Header.Set("User-Agent", bouncerAgent)
	response, err := d.client.Do(request)
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return n, fmt.Errorf("the local API answered %s", response.Status)
	}
	decoder := json.NewDecoder(io.LimitReader(response.Body, maxDecisions))
	if err := decoder.Decode(&n); err != nil {
		return n, fmt.Errorf("reading the decisions: %w", err)
	}
	return n, nil
}

// apply puts the news into the table, or replaces the table with it.
func (d *decisions) apply(n news, everything bool, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	table := d.table
	if everything {
		table = new(bart.Table[map[int64]time.Time])
		n.Deleted = nil
	}
	for _, gone := range n.Deleted {
		p, err := gone.prefix()
		if err != nil {
			continue // it was never put in
		}
		if bans, ok := table.Get(p); ok {
			delete(bans, gone.ID)
			if len(bans) == 0 {
				table.Delete(p)
			}
		}
	}
	for _, made := range n.New {
		p, err := made.prefix()
		if err != nil {
			d.log.Warn("a decision is not understood", zap.Error(err))
			continue
		}
		lasts, err := time.ParseDuration(made.Duration)
		if err != nil {
			d.log.Warn("a decision is not understood", zap.Error(err))
			continue
		}
		bans, ok := table.Get(p)
		if !ok {
			bans = map[int64]time.Time{}
			table.Insert(p, bans)
		}
		bans[made.ID] = now.Add(lasts)
	}
	d.table = table
}

// banned reports whether a decision is in force against the address, or against the first address
// of its network of 64 bits, under which CrowdSec bans a visitor with IPv6: he can have every
// address of it.
func (d *decisions) banned(address netip.Addr, now time.Time) bool {
	address = address.Unmap()
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.decided(address, now) || d.decided(networkAddress(address), now)
}

func (d *decisions) decided(address netip.Addr, now time.Time) bool {
	for _, bans := range d.table.Supernets(netip.PrefixFrom(address, address.BitLen())) {
		for _, until := range bans {
			if now.Before(until) {
				return true
			}
		}
	}
	return false
}

// networkAddress returns what stands for a visitor: an IPv4 address, or the first address of an
// IPv6 network of 64 bits.
func networkAddress(address netip.Addr) netip.Addr {
	if !address.Is6() {
		return address
	}
	network, _ := address.Prefix(64) // it has 128 bits
	return network.Addr()
}

// count returns how many addresses and ranges have decisions.
func (d *decisions) count() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.table.Size()
}
