// Package monitor asks Prometheus for states and Alertmanager for alerts, again and again, and
// remembers the latest answers. It asks nothing that a visitor says.
package monitor

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"homelab/images/home/internal/page"
)

const (
	// DefaultEvery is the time between two questions.
	DefaultEvery = 15 * time.Second
	// DefaultTimeout bounds one question with its answer.
	DefaultTimeout = 5 * time.Second
)

// Source is what was asked.
type Source string

// The sources.
const (
	Prometheus   Source = "prometheus"
	Alertmanager Source = "alertmanager"
)

// Title is the source's name for people.
func (s Source) Title() string {
	if s == Prometheus {
		return "Prometheus"
	}
	return "Alertmanager"
}

// Status is how the questions to a source went.
type Status struct {
	// Answered is when its latest good answer came; zero if there was none.
	Answered time.Time
	// Problem says, for people, what was wrong with the latest answer; empty if it was good.
	Problem string
}

// Snapshot is what is known at a moment. It does not change.
type Snapshot struct {
	// Series are those of the latest good answer.
	Series Series
	// States is how the questions for Series went.
	States Status
	// Alerts are those of the latest good answer.
	Alerts []Alert
	// Alerting is how the questions for Alerts went.
	Alerting Status
}

// Options change how a Monitor works. The zero value is good.
type Options struct {
	// Every is the time between two questions; DefaultEvery if 0.
	Every time.Duration
	// Timeout bounds a question; DefaultTimeout if 0.
	Timeout time.Duration
	// Log gets a line when a source stops or starts to answer; nil for none.
	Log *slog.Logger
	// Asked is called after each question with its result; nil for nothing.
	Asked func(source Source, err error)
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Monitor remembers the latest answers.
type Monitor struct {
	page    *page.Page
	options Options
	client  *http.Client
	latest  atomic.Pointer[Snapshot]
}

// New returns a Monitor of what a page names. It asks nothing before Run or Ask.
func New(p *page.Page, options Options) *Monitor {
	if options.Every == 0 {
		options.Every = DefaultEvery
	}
	if options.Timeout == 0 {
		options.Timeout = DefaultTimeout
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Asked == nil {
		options.Asked = func(Source, error) {}
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	m := &Monitor{page: p, options: options, client: newClient()}
	m.latest.Store(&Snapshot{})
	return m
}

// Snapshot returns what is known now.
func (m *Monitor) Snapshot() Snapshot { return *m.latest.Load() }

// Run asks until the context ends.
func (m *Monitor) Run(ctx context.Context) {
	ticker := time.NewTicker(m.options.Every)
	defer ticker.Stop()
	for {
		m.Ask(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Ask asks both sources once, at the same time. One of them at a time may call it.
func (m *Monitor) Ask(ctx context.Context) {
	next := m.Snapshot()
	var wait sync.WaitGroup
	wait.Go(func() {
		series, err := m.askPrometheus(ctx)
		if err == nil {
			next.Series = series
		}
		m.note(ctx, Prometheus, &next.States, err)
	})
	wait.Go(func() {
		alerts, err := m.askAlertmanager(ctx)
		if err == nil {
			next.Alerts = alerts
		}
		m.note(ctx, Alertmanager, &next.Alerting, err)
	})
	wait.Wait()
	if ctx.Err() == nil {
		m.latest.Store(&next)
	}
}

// note updates a source's status, and logs when it changes.
func (m *Monitor) note(ctx context.Context, source Source, status *Status, err error) {
	if ctx.Err() != nil {
		return // the program stops
	}
	m.options.Asked(source, err)
	before := status.Problem
	status.Problem = problem(source, err)
	if err == nil {
		status.Answered = m.options.Now()
	}
	switch {
	case err != nil && before != status.Problem:
		m.options.Log.Warn("no good answer", "source", source, "error", err.Error())
	case err == nil && before != "":
		m.options.Log.Info("answers again", "source", source)
	}
}
