package serve

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"homelab/images/wire/internal/plan"
	"homelab/images/wire/internal/wire"
)

type metrics struct {
	up       *prometheus.GaugeVec
	drift    *prometheus.GaugeVec
	warnings *prometheus.GaugeVec
	changes  *prometheus.CounterVec
	success  *prometheus.GaugeVec
	now      func() time.Time
}

// newMetrics registers the metrics, with a series for every app of the plan from the start on: one
// that was never connected is 0, not missing.
func newMetrics(p *plan.Plan, registry prometheus.Registerer) *metrics {
	labels := []string{"app"}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		now:   time.Now,
		up:    gauge("homelab_wire_up", "1 if the latest pass connected the app without a problem."),
		drift: gauge("homelab_wire_drift", "How many settings of the app somebody changed by hand."),
		warnings: gauge("homelab_wire_warnings",
			"How many indexers of the app do not work; the pass succeeds nevertheless."),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "homelab_wire_changes_total", Help: "How many objects of the app were added, updated or removed.",
		}, labels),
		success: gauge("homelab_wire_last_success_timestamp_seconds",
			"When the app was last connected without a problem."),
	}
	registry.MustRegister(m.up, m.drift, m.warnings, m.changes, m.success)
	for _, app := range plan.Apps() {
		if p.Has(app) {
			m.up.WithLabelValues(string(app)).Set(0)
			m.drift.WithLabelValues(string(app)).Set(0)
			m.warnings.WithLabelValues(string(app)).Set(0)
			m.changes.WithLabelValues(string(app)).Add(0)
			m.success.WithLabelValues(string(app)).Set(0)
		}
	}
	return m
}

func (m *metrics) update(report *wire.Report) {
	for _, app := range report.Apps {
		name := string(app.App)
		m.drift.WithLabelValues(name).Set(float64(len(app.Drift)))
		m.warnings.WithLabelValues(name).Set(float64(len(app.Warnings)))
		m.changes.WithLabelValues(name).Add(float64(len(app.Changes)))
		if len(app.Problems) > 0 {
			m.up.WithLabelValues(name).Set(0)
			continue
		}
		m.up.WithLabelValues(name).Set(1)
		m.success.WithLabelValues(name).Set(float64(m.now().Unix()))
	}
}
