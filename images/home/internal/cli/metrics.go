package cli

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"homelab/images/home/internal/monitor"
)

type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	asks     *prometheus.CounterVec
	success  *prometheus.GaugeVec
}

// newMetrics returns the metrics, with a series for every source from the start on: one that never
// answered is 0, not missing.
func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "homelab_home_requests_total", Help: "How many requests of visitors were answered, by status.",
		}, []string{"code"}),
		asks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "homelab_home_asks_total", Help: "How often a source was asked for states or alerts.",
		}, []string{"source", "result"}),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "homelab_home_last_success_timestamp_seconds", Help: "When a source last gave a good answer.",
		}, []string{"source"}),
	}
	m.registry.MustRegister(m.requests, m.asks, m.success,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, source := range []monitor.Source{monitor.Prometheus, monitor.Alertmanager} {
		m.asks.WithLabelValues(string(source), "ok")
		m.asks.WithLabelValues(string(source), "error")
		m.success.WithLabelValues(string(source)).Set(0)
	}
	return m
}

func (m *metrics) asked(source monitor.Source, err error) {
	if err != nil {
		m.asks.WithLabelValues(string(source), "error").Inc()
		return
	}
	m.asks.WithLabelValues(string(source), "ok").Inc()
	m.success.WithLabelValues(string(source)).SetToCurrentTime()
}

func (m *metrics) answered(code int) { m.requests.WithLabelValues(strconv.Itoa(code)).Inc() }

func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}
