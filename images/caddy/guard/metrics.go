package guard

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
)

// What AppSec is shown of a request.
const (
	// stageHeaders is the request line and the headers alone.
	stageHeaders = "headers"
	// stageBody is these and the body.
	stageBody = "body"
)

// How an inspection ends. Only the first two let a request go on.
const (
	// verdictPass: AppSec lets the request pass, and was shown all of it that the stage has.
	verdictPass = "pass"
	// verdictPartial: AppSec lets pass what it was shown, and more follows that nobody inspects:
	// the rest of an upload, or what is said over a WebSocket. Nothing else goes on without having
	// been inspected.
	verdictPartial = "partial"
	// verdictBlock: AppSec blocks the request.
	verdictBlock = "block"
	// verdictNone: AppSec did not answer, or not with a verdict. The request is refused.
	verdictNone = "none"
	// verdictGone: the client went away before there was a verdict.
	verdictGone = "gone"
	// verdictNotInspectable: AppSec was not asked, because it could read the request otherwise than
	// the service. The request is refused, as in the cases below.
	verdictNotInspectable = "not_inspectable"
	// verdictTooLarge: the body is longer than the limit.
	verdictTooLarge = "too_large"
	// verdictTooSlow: the body did not come in time.
	verdictTooSlow = "too_slow"
	// verdictTooMuchHeld: there was no room for the body.
	verdictTooMuchHeld = "too_much_held"
)

// verdicts are all of them.
func verdicts() []string {
	return []string{
		verdictPass, verdictPartial, verdictBlock, verdictNone, verdictGone,
		verdictNotInspectable, verdictTooLarge, verdictTooSlow, verdictTooMuchHeld,
	}
}

// classes are the status codes of answers, by their first digit.
var classes = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}

// counts are the process's: they go on over reloads, whatever changes. Every configuration shows
// them in its own registry, as Caddy makes a new one for each.
type counts struct {
	inspections *prometheus.CounterVec
	responses   *prometheus.HistogramVec
	bans        prometheus.Counter
	undecided   prometheus.Counter
	pulls       *prometheus.CounterVec
}

var counted = newCounts()

func newCounts() counts {
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	c := counts{
		inspections: prometheus.NewCounterVec(counter("homelab_guard_inspections_total",
			"Inspections of requests, by what was shown and how they ended. All but pass and partial refuse the request."), []string{"stage", "verdict"}),
		responses: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "homelab_guard_response_duration_seconds", Buckets: prometheus.DefBuckets,
			Help: "Time until an answer begins, by the site that the configuration names.",
		}, []string{"server", "host", "code"}),
		bans:      prometheus.NewCounter(counter("homelab_guard_bans_total", "Requests that were refused because CrowdSec has decided against the client.")),
		undecided: prometheus.NewCounter(counter("homelab_guard_undecided_total", "Requests that were refused because no decisions could be fetched yet.")),
		pulls:     prometheus.NewCounterVec(counter("homelab_guard_lapi_pulls_total", "Fetches of decisions from CrowdSec's local API."), []string{"result"}),
	}
	// A rate can only be taken of what is there before the first event.
	for _, stage := range []string{stageHeaders, stageBody} {
		for _, verdict := range verdicts() {
			c.inspections.WithLabelValues(stage, verdict)
		}
	}
	for _, result := range []string{"ok", "error"} {
		c.pulls.WithLabelValues(result)
	}
	return c
}

// pulled counts a fetch of decisions.
func (c counts) pulled(err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	c.pulls.WithLabelValues(result).Inc()
}

// answered measures an answer of a site. Status codes are put together, so that no service can make
// series.
func (c counts) answered(r *http.Request, host string, status int, seconds float64) {
	server := ""
	if s, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server = s.Name()
	}
	class := classes[min(max(status/100, 1), len(classes))-1]
	c.responses.WithLabelValues(server, host, class).Observe(seconds)
}

// registerMetrics shows what is counted, and what is shared, in the registry of the configuration
// that uses it.
func registerMetrics(registry *prometheus.Registry, s *shared) error {
	if registry == nil {
		return nil
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	collectors := []prometheus.Collector{
		counted.inspections, counted.responses, counted.bans, counted.undecided, counted.pulls,
		gauge("homelab_guard_decisions", "Addresses and ranges with a decision against them.",
			func() float64 { return float64(s.decisions.count()) }),
		gauge("homelab_guard_last_pull_timestamp_seconds", "When decisions were last fetched; 0 if never.",
			func() float64 { return float64(s.decisions.lastGot.Load()) }),
	}
	for name, b := range s.budgets {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "homelab_guard_held_body_bytes", Help: "Bytes of request bodies that are held, by pool.",
			ConstLabels: prometheus.Labels{"pool": name},
		}, func() float64 { return float64(b.inUse()) }))
	}
	var problems []error
	for _, c := range collectors {
		problems = append(problems, registry.Register(c))
	}
	return errors.Join(problems...)
}
