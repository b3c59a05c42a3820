//go:build chain

package chain

import (
	"crypto/x509"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// plainCaddyfile is the least that a Caddy needs to do the same work without a chain: TLS 1.3 and the proxying itself.
const plainCaddyfile = `{
	admin off
	local_certs
	skip_install_trust
	auto_https disable_redirects
	https_port 8443
}
https://requests.example.com {
	tls {
		protocols tls1.3
	}
	reverse_proxy jellyseerr:5055
}
http://127.0.0.1:8081 {
	respond 200
}
`

// How a round of the measurement is made.
const (
	connections = 16
	roundLength = 3 * time.Second
)

// BenchmarkChain measures requests with a session through the whole chain, and through a plain Caddy beside it, in turns. Both speak TLS 1.3 over
// connections that stay open; the load is made by this process, on the same processors.
func BenchmarkChain(b *testing.B) {
	s := set(b)
	family := s.person(b, "family")
	browser := s.cloudflare.Browser("http/1.1")
	family.login(b, browser)
	session := ticketOf(b, browser)

	authority, err := s.StartPlain(b.Context(), plainCaddyfile)
	require.NoError(b, err)
	plain := s.cloudflare
	plain.Listener, plain.Certificate, plain.Roots = s.Address("plain", publicPort), nil, x509.NewCertPool()
	require.True(b, plain.Roots.AppendCertsFromPEM(authority))

	// Once to open connections and fill caches.
	round(b, plain, session)
	round(b, s.cloudflare, session)
	var without, with []time.Duration
	var withoutTime, withTime time.Duration
	for b.Loop() {
		took, latencies := round(b, plain, session)
		without, withoutTime = append(without, latencies...), withoutTime+took
		took, latencies = round(b, s.cloudflare, session)
		with, withTime = append(with, latencies...), withTime+took
	}
	plainRate, chainRate := float64(len(without))/withoutTime.Seconds(), float64(len(with))/withTime.Seconds()
	b.ReportMetric(0, "ns/op") // a round is as long as it is made
	b.ReportMetric(plainRate, "plain-req/s")
	b.ReportMetric(chainRate, "chain-req/s")
	b.ReportMetric(milliseconds(without, 99), "plain-p99-ms")
	b.ReportMetric(milliseconds(with, 99), "chain-p99-ms")
	b.ReportMetric(milliseconds(with, 50), "chain-p50-ms")
	b.ReportMetric(100*chainRate/plainRate, "%-of-plain")
}

// round asks as often as it can for a while, and returns how long that was and how long each request took.
func round(b *testing.B, place visitor.Place, session ticket) (took time.Duration, latencies []time.Duration) {
	var mu sync.Mutex
	var group sync.WaitGroup
	began := time.Now()
	for range connections {
		browser := session.give(b, place.Browser("http/1.1"))
		group.Go(func() {
			defer browser.Close()
			var mine []time.Duration
			for time.Since(began) < roundLength {
				asked := time.Now()
				a, err := browser.Get(b.Context(), requests+"/quiet")
				if err != nil || a.Status != http.StatusOK {
					b.Errorf("a request failed: %v %v", a, err)
					return
				}
				mine = append(mine, time.Since(asked))
			}
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, mine...)
		})
	}
	group.Wait()
	return time.Since(began), latencies
}

func milliseconds(latencies []time.Duration, percentile int) float64 {
	slices.Sort(latencies)
	return float64(latencies[len(latencies)*percentile/100]) / float64(time.Millisecond)
}
