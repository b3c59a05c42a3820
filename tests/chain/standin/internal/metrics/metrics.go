// Package metrics counts what Authelia counts, under its names.
package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the counters. As in release 4.39.20, nothing counts authelia_authn and
// authelia_authn_second_factor: they exist there, too, without ever having a value. The attempts
// are in authelia_authn_duration.
type Metrics struct {
	// Registry holds all of them.
	Registry *prometheus.Registry

	request         *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	authz           *prometheus.CounterVec
	authnDuration   *prometheus.HistogramVec
}

// New returns counters at zero.
func New() *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		request: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "authelia_request", Help: "HTTP requests by status and method.",
		}, []string{"code", "method"}),
		requestDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "authelia_request_duration", Help: "Seconds a request takes, by status.", Buckets: prometheus.DefBuckets,
		}, []string{"code"}),
		authz: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "authelia_authz", Help: "Answers to the proxy, by status.",
		}, []string{"code"}),
		authnDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "authelia_authn_duration", Help: "Seconds a login with a password takes, by success.", Buckets: prometheus.DefBuckets,
		}, []string{"success"}),
	}
	authn := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "authelia_authn", Help: "First factors by success; never counted in 4.39.20.",
	}, []string{"success", "banned"})
	second := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "authelia_authn_second_factor", Help: "Second factors by success; never counted in 4.39.20.",
	}, []string{"success", "banned", "type"})
	m.Registry.MustRegister(m.request, m.requestDuration, m.authz, m.authnDuration, authn, second,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Request counts one request.
func (m *Metrics) Request(code int, method string, took time.Duration) {
	m.request.WithLabelValues(strconv.Itoa(code), method).Inc()
	m.requestDuration.WithLabelValues(strconv.Itoa(code)).Observe(took.Seconds())
}

// Authz counts one answer to the proxy.
func (m *Metrics) Authz(code int) { m.authz.WithLabelValues(strconv.Itoa(code)).Inc() }

// Authn counts one login with a password.
func (m *Metrics) Authn(success bool, took time.Duration) {
	m.authnDuration.WithLabelValues(strconv.FormatBool(success)).Observe(took.Seconds())
}
