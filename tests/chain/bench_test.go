//go:build chain

package chain

import (
	"crypto/x509"
	"fmt"
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

// roundLength is how long a round of the measurement lasts.
const roundLength = 2 * time.Second

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

	for _, load := range []load{{1, 0}, {16, 0}, {1, 5 * time.Millisecond}, {16, 5 * time.Millisecond}} {
		b.Run(fmt.Sprintf("connections=%d/service=%s", load.connections, load.service), func(b *testing.B) {
			// Once to open connections and fill caches.
			load.round(b, plain, session)
			load.round(b, s.cloudflare, session)
			var without, with measurement
			for b.Loop() {
				without.add(load.round(b, plain, session))
				with.add(load.round(b, s.cloudflare, session))
			}
			b.ReportMetric(0, "ns/op") // a round is as long as it is made
			without.report(b, "plain")
			with.report(b, "chain")
			b.ReportMetric(100*with.rate()/without.rate(), "%-of-plain")
		})
	}
}

// load is what a round does to a listener.
type load struct {
	// connections are open at once, with one request at a time on each.
	connections int
	// service is how long the service takes to answer.
	service time.Duration
}

// measurement is what the rounds of one side were, together.
type measurement struct {
	took      time.Duration
	latencies []time.Duration
}

func (m *measurement) add(round measurement) {
	m.took += round.took
	m.latencies = append(m.latencies, round.latencies...)
}

// rate is requests per second.
func (m *measurement) rate() float64 { return float64(len(m.latencies)) / m.took.Seconds() }

func (m *measurement) report(b *testing.B, side string) {
	slices.Sort(m.latencies)
	b.ReportMetric(m.rate(), side+"-req/s")
	for _, percentile := range []int{50, 99} {
		b.ReportMetric(float64(m.latencies[len(m.latencies)*percentile/100])/float64(time.Millisecond), fmt.Sprintf("%s-p%d-ms", side, percentile))
	}
}

// round asks as often as it can for a while.
func (l load) round(b *testing.B, place visitor.Place, session ticket) (m measurement) {
	var mu sync.Mutex
	var group sync.WaitGroup
	began := time.Now()
	for range l.connections {
		browser := session.give(b, place.Browser("http/1.1"))
		group.Go(func() {
			defer browser.Close()
			var mine []time.Duration
			for time.Since(began) < roundLength {
				asked := time.Now()
				a, err := browser.Get(b.Context(), requests+"/quiet?takes="+l.service.String())
				if err != nil || a.Status != http.StatusOK {
					b.Errorf("a request failed: %v %v", a, err)
					return
				}
				mine = append(mine, time.Since(asked))
			}
			mu.Lock()
			defer mu.Unlock()
			m.latencies = append(m.latencies, mine...)
		})
	}
	group.Wait()
	m.took = time.Since(began)
	return m
}
