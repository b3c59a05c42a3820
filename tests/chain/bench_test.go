//go:build chain

package chain

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/lab"
	"homelab/tests/chain/internal/programs"
	"homelab/tests/chain/internal/visitor"
)

// plainCaddyfile is the least that a Caddy needs to do the same work without a chain: TLS 1.3 and
// the proxying itself.
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
https://jellyfin.example.com {
	tls {
		protocols tls1.3
	}
	reverse_proxy jellyfin:8096
}
`

// usualCaddyfile has the chain's layers as people usually deploy them: CrowdSec's module with its
// client for AppSec, and forward_auth as its documentation shows it.
const usualCaddyfile = `{
	admin off
	local_certs
	skip_install_trust
	auto_https disable_redirects
	https_port 8443
	crowdsec {
		api_url http://crowdsec:8080
		api_key %s
		ticker_interval 10s
		appsec_url http://crowdsec:7422
	}
}
https://requests.example.com {
	tls {
		protocols tls1.3
	}
	log {
		output file /var/log/caddy/access.log
	}
	route {
		crowdsec
		appsec
		forward_auth authelia:9091 {
			uri /api/authz/forward-auth
			copy_headers Remote-User Remote-Groups Remote-Name Remote-Email
		}
		reverse_proxy jellyseerr:5055
	}
}
`

// roundLength is how long a round of the measurement lasts.
const roundLength = 2 * time.Second

// sides are the proxies that a benchmark compares, all in front of the same services.
type sides struct {
	*stage
	session             ticket
	plain, usual, chain visitor.Place
}

func newSides(b *testing.B) *sides {
	b.Helper()
	s := &sides{stage: set(b)}
	family := s.person(b, "family")
	browser := s.cloudflare.Browser("http/1.1")
	family.login(b, browser)
	s.session, s.chain = ticketOf(b, browser), s.cloudflare
	s.plain = s.neighbour(b, lab.Plain, s.Programs.Caddy, plainCaddyfile)
	program, err := programs.Usual(b.Context(), os.Stderr)
	require.NoError(b, err)
	key, err := os.ReadFile(s.Deployment.Path("/opt/homelab/caddy/secrets/crowdsec-bouncer-key"))
	require.NoError(b, err)
	s.usual = s.neighbour(b, lab.Usual, program, fmt.Sprintf(usualCaddyfile, strings.TrimSpace(string(key))))
	require.Eventually(b, func() bool {
		a, err := s.session.give(b, s.usual.Browser("http/1.1")).Get(b.Context(), requests+"/quiet")
		return err == nil && a.Status == http.StatusOK
	}, 30*time.Second, 200*time.Millisecond, "the usual layers serve nobody")
	return s
}

// neighbour starts a proxy to compare with, and returns the place before it.
func (s *sides) neighbour(b *testing.B, name, program, caddyfile string) visitor.Place {
	b.Helper()
	authority, err := s.StartNeighbour(b.Context(), name, program, caddyfile)
	require.NoError(b, err)
	place := s.cloudflare
	place.Listener, place.Certificate, place.Roots = s.Address(name, publicPort), nil, x509.NewCertPool()
	require.True(b, place.Roots.AppendCertsFromPEM(authority))
	return place
}

// BenchmarkChain measures requests with a session through the whole chain, through the same layers
// as people usually deploy them, and through a plain Caddy, in turns. All speak TLS 1.3 over
// connections that stay open; the load is made by this process, on the same processors.
func BenchmarkChain(b *testing.B) {
	s := newSides(b)
	for _, load := range []load{{1, 0}, {16, 0}, {1, 5 * time.Millisecond}, {16, 5 * time.Millisecond}} {
		b.Run(fmt.Sprintf("connections=%d/service=%s", load.connections, load.service), func(b *testing.B) {
			// Once to open connections and fill caches.
			for _, place := range []visitor.Place{s.plain, s.usual, s.chain} {
				load.round(b, place, s.session)
			}
			var plain, usual, chain measurement
			for b.Loop() {
				s.spend(b, &plain, load, s.plain)
				s.spend(b, &usual, load, s.usual)
				s.spend(b, &chain, load, s.chain)
			}
			b.ReportMetric(0, "ns/op") // a round is as long as it is made
			plain.report(b, "plain")
			usual.report(b, "usual")
			chain.report(b, "chain")
			b.ReportMetric(100*chain.rate()/plain.rate(), "%-of-plain")
			b.ReportMetric(chain.rate()/usual.rate(), "times-usual")
		})
	}
}

// spend is a round, with the processor time that it took.
func (s *sides) spend(b *testing.B, m *measurement, l load, place visitor.Place) {
	before, err := s.CPU()
	require.NoError(b, err)
	m.add(l.round(b, place, s.session))
	after, err := s.CPU()
	require.NoError(b, err)
	if m.used == nil {
		m.used = map[string]time.Duration{}
	}
	for name := range after {
		m.used[name] += after[name] - before[name]
	}
}

// BenchmarkLatency measures what the chain adds to a request of a hundred in a second, which no
// side is busy with.
func BenchmarkLatency(b *testing.B) {
	s := newSides(b)
	var plain, usual, chain measurement
	for b.Loop() {
		plain.add(s.steady(b, s.plain))
		usual.add(s.steady(b, s.usual))
		chain.add(s.steady(b, s.chain))
	}
	b.ReportMetric(0, "ns/op")
	plain.report(b, "plain")
	usual.report(b, "usual")
	chain.report(b, "chain")
	for _, percentile := range []int{50, 99} {
		b.ReportMetric(chain.at(percentile)-plain.at(percentile), fmt.Sprintf("added-p%d-ms", percentile))
		b.ReportMetric(usual.at(percentile)-plain.at(percentile), fmt.Sprintf("usually-added-p%d-ms", percentile))
	}
}

// steady asks a hundred times in a second, whether or not the last answer has come.
func (s *sides) steady(b *testing.B, place visitor.Place) (m measurement) {
	const every, connections = 10 * time.Millisecond, 16
	browsers := make(chan *visitor.Browser, connections)
	for range connections {
		browser := s.session.give(b, place.Browser("http/1.1"))
		defer browser.Close()
		_, err := browser.Get(b.Context(), requests+"/quiet")
		require.NoError(b, err)
		browsers <- browser
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	began := time.Now()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for time.Since(began) < 2*roundLength {
		asked := <-ticker.C
		group.Go(func() {
			browser := <-browsers
			defer func() { browsers <- browser }()
			a, err := browser.Get(b.Context(), requests+"/quiet")
			took := time.Since(asked)
			if err != nil || a.Status != http.StatusOK {
				b.Errorf("a request failed: %v %v", a, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			m.latencies = append(m.latencies, took)
		})
	}
	group.Wait()
	m.took = time.Since(began)
	return m
}

// BenchmarkTransfer measures large bodies in both directions, at a site behind the portal and at
// one with its own login: downloads, the largest file that each declares to take, and the largest
// body that is inspected whole.
func BenchmarkTransfer(b *testing.B) {
	s := newSides(b)
	const gibibyte, mb = 1 << 30, 1000 * 1000
	const file, inspected = filesPath + "?bytes=0", "/quiet"
	native := s.tailnet
	for _, c := range []struct {
		name, url     string
		chain         visitor.Place
		bytes, rounds int
	}{
		{"download/guarded", requests, s.chain, gibibyte, 1}, {"download/native", films, native, gibibyte, 1},
		{"upload/guarded", requests + file, s.chain, 100 * mb, 10}, {"upload/native", films + file, native, 2000 * mb, 1},
		{"upload-inspected/guarded", requests + inspected, s.chain, 10 * mb, 20}, {"upload-inspected/native", films + inspected, native, 10 * mb, 20},
	} {
		b.Run(c.name, func(b *testing.B) {
			plain, chain := s.session.give(b, s.plain.Browser("http/1.1")), s.session.give(b, c.chain.Browser("http/1.1"))
			move := func(browser *visitor.Browser) (took time.Duration) {
				for range c.rounds {
					var err error
					began := time.Now()
					if strings.HasPrefix(c.name, "upload") {
						err = browser.Upload(b.Context(), c.url, int64(c.bytes))
					} else {
						err = browser.Download(b.Context(), fmt.Sprintf("%s/quiet?bytes=%d", c.url, c.bytes), int64(c.bytes))
					}
					require.NoError(b, err)
					took += time.Since(began)
				}
				return took
			}
			_, _ = move(plain), move(chain)
			var without, with time.Duration
			moved := 0
			for b.Loop() {
				without += move(plain)
				with += move(chain)
				moved += c.bytes * c.rounds
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(moved)/1e6/without.Seconds(), "plain-MB/s")
			b.ReportMetric(float64(moved)/1e6/with.Seconds(), "chain-MB/s")
			b.ReportMetric(100*without.Seconds()/with.Seconds(), "%-of-plain")
		})
	}
}

// BenchmarkHops takes the layers of the chain away one after the other, and measures what is left.
func BenchmarkHops(b *testing.B) {
	s := newSides(b)
	path := s.Deployment.Path("/opt/homelab/caddy/config/Caddyfile")
	whole, err := os.ReadFile(path)
	require.NoError(b, err)
	lines := strings.SplitAfter(string(whole), "\n")
	for _, step := range []struct{ name, without string }{
		{"whole", "#"}, {"without-portal", "import authenticate"}, {"without-inspection", "inspect "}, {"without-bouncer", "bouncer"}, {"without-log", "log\n"},
	} {
		before := len(lines)
		lines = withoutDirective(lines, step.without)
		require.Less(b, len(lines), before, "nothing to take away")
		text := strings.Join(lines, "")
		require.NoError(b, os.WriteFile(path, []byte(text), 0))
		require.NoError(b, s.reload())
		b.Run(step.name, func(b *testing.B) {
			one, many := load{1, 0}, load{16, 0}
			many.round(b, s.chain, s.session)
			var alone, busy measurement
			for b.Loop() {
				alone.add(one.round(b, s.chain, s.session))
				busy.add(many.round(b, s.chain, s.session))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(alone.at(50), "one-p50-ms")
			b.ReportMetric(busy.rate(), "sixteen-req/s")
		})
	}
}

// withoutDirective leaves out the lines that begin with a directive, and their blocks.
func withoutDirective(lines []string, directive string) []string {
	inBlock := false
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		line = strings.TrimSpace(line)
		if inBlock {
			inBlock = line != "}"
			return true
		}
		if !strings.HasPrefix(line+"\n", directive) {
			return false
		}
		inBlock = strings.HasSuffix(line, "{")
		return true
	})
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
	// used is the processor time of each container, where that was measured.
	used map[string]time.Duration
}

func (m *measurement) add(round measurement) {
	m.took += round.took
	m.latencies = append(m.latencies, round.latencies...)
}

// rate is requests per second.
func (m *measurement) rate() float64 { return float64(len(m.latencies)) / m.took.Seconds() }

// at is a percentile of the latencies, in milliseconds.
func (m *measurement) at(percentile int) float64 {
	slices.Sort(m.latencies)
	return float64(m.latencies[len(m.latencies)*percentile/100]) / float64(time.Millisecond)
}

func (m *measurement) report(b *testing.B, side string) {
	b.ReportMetric(m.rate(), side+"-req/s")
	for _, percentile := range []int{50, 99} {
		b.ReportMetric(m.at(percentile), fmt.Sprintf("%s-p%d-ms", side, percentile))
	}
	for name, used := range m.used {
		if perRequest := float64(used.Microseconds()) / float64(len(m.latencies)); perRequest >= 1 {
			b.ReportMetric(perRequest, side+"-"+name+"-µs")
		}
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
