package guard

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are counted over reloads.
type counts struct {
	inspected *prometheus.CounterVec
	refused   *prometheus.CounterVec
}

func newCounts() counts {
	c := counts{
		inspected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "homelab_appsec_inspections_total",
			Help: "Inspections by AppSec. A request without a verdict is refused.",
		}, []string{"verdict"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "homelab_refused_requests_total",
			Help: "Requests that were refused before a service was asked, by reason.",
		}, []string{"reason"}),
	}
	// A rate can only be taken of what is there before the first event.
	for _, verdict := range []string{"passed", "blocked", "no_verdict"} {
		c.inspected.WithLabelValues(verdict)
	}
	for _, reason := range []string{"banned", "blocked", "no_decisions", "no_verdict", "not_inspectable", "too_large", "too_much_held", "too_slow"} {
		c.refused.WithLabelValues(reason)
	}
	return c
}

// registerMetrics shows what is shared under the registry of the configuration that uses it.
func registerMetrics(registry *prometheus.Registry, s *shared) error {
	if registry == nil {
		return nil
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	collectors := []prometheus.Collector{
		s.inspector.counts.inspected, s.inspector.counts.refused,
		gauge("homelab_bouncer_decisions", "Addresses and ranges with a decision against them.",
			func() float64 { return float64(s.decisions.count()) }),
		gauge("homelab_bouncer_last_pull_timestamp_seconds", "When decisions were last fetched.",
			func() float64 { return float64(s.decisions.lastGot.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "homelab_bouncer_failed_pulls_total", Help: "Fetches of decisions that failed.",
		}, func() float64 { return float64(s.decisions.failed.Load()) }),
	}
	for name, b := range s.budgets {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "homelab_held_body_bytes", Help: "Bytes of request bodies that are held, by pool.",
			ConstLabels: prometheus.Labels{"pool": name},
		}, func() float64 { return float64(b.inUse()) }))
	}
	var problems []error
	for _, c := range collectors {
		problems = append(problems, registry.Register(c))
	}
	return errors.Join(problems...)
}
