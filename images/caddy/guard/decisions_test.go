package guard

import (
	"github.com/caddyserver/caddy/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ban(id int64, value, duration string) decision {
	return decision{ID: id, Scope: "Ip", Value: value, Duration: duration}
}

func TestDecisionsAgainstAddressesAndRanges(t *testing.T) {
	now := time.Now()
	d := newDecisions("http://lapi", "key", time.Second, nowhere)
	d.apply(news{New: []decision{
		ban(1, "198.51.100.7", "1h"), ban(2, "203.0.113.0/24", "1h"), ban(3, "2001:db8:1::/64", "1h"), ban(4, "nobody", "1h"),
		ban(5, "198.51.100.8", "soon"), ban(6, "::ffff:198.51.100.9", "1h"),
	}}, true, now)
	for _, banned := range []string{"198.51.100.7", "::ffff:198.51.100.7", "203.0.113.99", "2001:db8:1::5", "198.51.100.9"} {
		assert.True(t, d.banned(netipAddr(banned), now), banned)
	}
	for _, free := range []string{"198.51.100.8", "203.0.112.1", "2001:db8:1:1::5"} {
		assert.False(t, d.banned(netipAddr(free), now), free)
	}
	assert.False(t, d.banned(netipAddr("198.51.100.7"), now.Add(2*time.Hour)), "a ban outlives its end")
	assert.Equal(t, 4, d.count())
}

// An address can have several decisions: it is free when the last one is gone.
func TestDecisionsOfOneAddress(t *testing.T) {
	now := time.Now()
	d := newDecisions("http://lapi", "key", time.Second, nowhere)
	d.apply(news{New: []decision{ban(1, "198.51.100.7", "4h"), ban(2, "198.51.100.7", "1h")}}, true, now)
	d.apply(news{Deleted: []decision{ban(1, "198.51.100.7", "-1s")}}, false, now)
	assert.True(t, d.banned(netipAddr("198.51.100.7"), now), "the shorter ban is lost with the longer one")
	d.apply(news{New: []decision{ban(3, "198.51.100.0/24", "1m")}}, false, now)
	d.apply(news{Deleted: []decision{ban(2, "198.51.100.7", "-1s"), ban(9, "198.51.100.9", "-1s")}}, false, now)
	assert.True(t, d.banned(netipAddr("198.51.100.7"), now), "the range is banned still")
	assert.False(t, d.banned(netipAddr("198.51.100.7"), now.Add(2*time.Minute)))
	d.apply(news{}, true, now)
	assert.Zero(t, d.count(), "a full answer replaces what was known")
}

func TestABanOfANetworkByItsFirstAddress(t *testing.T) {
	now := time.Now()
	d := newDecisions("http://lapi", "key", time.Second, nowhere)
	d.apply(news{New: []decision{ban(1, "2001:db8:1:2::", "1h"), ban(2, "2001:db8:1:3::9", "1h")}}, true, now)
	assert.True(t, d.banned(netipAddr("2001:db8:1:2:a:b:c:d"), now))
	assert.True(t, d.banned(netipAddr("2001:db8:1:3::9"), now))
	assert.False(t, d.banned(netipAddr("2001:db8:1:3::8"), now))
}

func TestTheBouncer(t *testing.T) {
	e, address := newEngine(t)
	e.set(func() { e.lapiDown = true })
	a := guarded(t, address)
	server := behind(t, func(http.ResponseWriter, *http.Request) {}, &Bouncer{app: a})
	status := func() int {
		response, err := http.Get(server.URL)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	assert.Equal(t, http.StatusServiceUnavailable, status(), "open without having fetched a decision")
	e.set(func() { e.lapiDown, e.news.New = false, []decision{ban(1, visitorAddress, "1h")} })
	require.Eventually(t, func() bool { return status() == http.StatusForbidden }, 10*time.Second, 50*time.Millisecond)

	// Another configuration of the same content, as after a reload, starts with what is known.
	e.set(func() { e.lapiDown = true })
	again := &App{LAPI: a.LAPI, AppSec: a.AppSec, KeyFile: a.KeyFile, Hold: a.Hold}
	provision(t, again)
	require.NoError(t, a.Cleanup())
	a.inUse = false
	assert.True(t, again.decisions.banned(netipAddr(visitorAddress), time.Now()), "a reload lifts bans")
	assert.True(t, again.decisions.loaded.Load())
}

// A configuration that is only validated fetches nothing, and is given up.
func TestValidatingFetchesNothing(t *testing.T) {
	e, address := newEngine(t)
	a := guarded(t, address)
	pulls := len(e.pulls)
	validated := &App{LAPI: a.LAPI, AppSec: a.AppSec, KeyFile: a.KeyFile, Hold: map[string]Pool{"other": {Total: 2, Share: 1}}}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	require.NoError(t, validated.Provision(ctx))
	require.NoError(t, validated.Cleanup())
	assert.Len(t, e.pulls, pulls)
}

// What an answer has lost comes back with the next one that has everything.
func TestEverythingIsFetchedAgainAndAgain(t *testing.T) {
	e, address := newEngine(t)
	d := newDecisions(address, engineKey, 10*time.Millisecond, nowhere)
	d.full = 100 * time.Millisecond
	d.start()
	defer d.stop()
	require.Eventually(t, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		everything, last := 0, ""
		for _, pull := range e.pulls {
			if pull == "true false" && last == "false false" {
				everything++
			}
			last = pull
		}
		return everything >= 2
	}, 5*time.Second, 10*time.Millisecond)
}

// After a failure everything is asked for again: the local API takes what it has sent for
// delivered.
func TestEverythingIsFetchedAfterAFailure(t *testing.T) {
	e, address := newEngine(t)
	d := newDecisions(address, engineKey, time.Hour, nowhere)
	before := countedNow(t)
	anew := d.pull(t.Context(), true) != nil
	anew = d.pull(t.Context(), anew) != nil
	e.set(func() { e.lapiDown = true })
	anew = d.pull(t.Context(), anew) != nil
	e.set(func() { e.lapiDown = false })
	assert.True(t, anew)
	require.NoError(t, d.pull(t.Context(), anew))
	assert.Equal(t, []string{"true false", "false false", "true false"}, e.pulls)
	assert.Equal(t, map[string]float64{`homelab_guard_lapi_pulls_total{result="ok"}`: 3, `homelab_guard_lapi_pulls_total{result="error"}`: 1}, before.more(t))
	d.key = "another"
	assert.ErrorContains(t, d.pull(t.Context(), true), "403")
}
