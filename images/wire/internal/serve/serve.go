// Package serve makes passes again and again, and measures the apps between and beside them. How
// the passes went, and what the apps say of themselves, it tells over HTTP.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"homelab/images/wire/internal/observe"
	"homelab/images/wire/internal/plan"
	"homelab/images/wire/internal/state"
	"homelab/images/wire/internal/wire"
)

const (
	// DefaultEvery is the time between two passes.
	DefaultEvery = time.Hour
	// firstRetry is the time before a failed pass is retried. It doubles up to lastRetry.
	firstRetry = 5 * time.Second
	lastRetry  = time.Minute
)

// Server makes passes and answers /healthz and /metrics.
type Server struct {
	wirer    *wire.Wirer
	stateDir string
	every    time.Duration
	retry    time.Duration
	log      func(string)
	metrics  *metrics
	observer *observe.Observer
	registry *prometheus.Registry

	mutex   sync.Mutex
	passed  bool   // a whole pass has succeeded
	problem string // why the latest pass has failed, "" if it has not
	ended   time.Time
}

// New returns a Server that makes passes of the wirer, with the state in a folder.
func New(p *plan.Plan, wirer *wire.Wirer, stateDir string, every time.Duration, log func(string)) *Server {
	registry := prometheus.NewRegistry()
	s := &Server{
		wirer: wirer, stateDir: stateDir, every: every, retry: firstRetry, log: log,
		metrics: newMetrics(p, registry), registry: registry,
	}
	s.observer = observe.New(p, observe.Options{Credential: s.credential, Log: log})
	registry.MustRegister(s.observer)
	return s
}

// credential returns the API key that an app has made for us, "" if there is none yet. A pass may
// be writing the state, which replaces files as a whole.
func (s *Server) credential(app plan.App) (string, error) {
	st, err := state.Open(s.stateDir, true)
	if err != nil {
		return "", err
	}
	return st.Credential(string(app)), nil
}

// Handler answers /healthz and /metrics.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

// Health returns one line about how the passes went, and whether all is well: a whole pass of this
// plan has succeeded, and the latest one has not failed.
func (s *Server) Health() (string, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch {
	case s.problem != "":
		return s.problem, false
	case !s.passed:
		return "the first pass has not ended yet", false
	}
	return "connected at " + s.ended.UTC().Format(time.RFC3339), true
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	line, healthy := s.Health()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !healthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, line)
}

// Run listens at an address, makes passes and measures the apps until the context ends.
func (s *Server) Run(ctx context.Context, listen string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listening at %s: %w", listen, err)
	}
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops sync.WaitGroup
	loops.Go(func() { s.loop(ctx) })
	loops.Go(func() { s.observer.Run(ctx) })
	select {
	case err = <-served: // only if it fails
	case <-ctx.Done():
		shutdown, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer done()
		err = server.Shutdown(shutdown)
	}
	cancel()
	loops.Wait()
	return err
}

// loop makes passes until the context ends.
func (s *Server) loop(ctx context.Context) {
	pause := s.retry
	for ctx.Err() == nil {
		err := s.pass(ctx)
		if ctx.Err() != nil {
			return
		}
		next := s.every
		if err != nil {
			next, pause = min(pause, s.every), min(2*pause, lastRetry)
			s.log(fmt.Sprintf("the pass has failed; the next one starts in %s", next))
		} else {
			pause = s.retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(next):
		}
	}
}

// pass makes one pass, and remembers how it went.
func (s *Server) pass(ctx context.Context) error {
	report, err := Once(ctx, s.wirer, s.stateDir, false)
	if err == nil {
		for _, line := range report.Lines() {
			s.log(line)
		}
		s.metrics.update(report)
		for _, app := range report.Apps {
			if len(app.Problems) == 0 {
				s.observer.Connected(app.App)
			}
		}
		err = failure(report)
	} else {
		s.log(err.Error())
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.ended = time.Now()
	if err != nil {
		s.problem = strings.Join(strings.Fields(err.Error()), " ")
		return err
	}
	s.passed, s.problem = true, ""
	return nil
}

// Once makes one pass, with the state in a folder.
func Once(ctx context.Context, wirer *wire.Wirer, stateDir string, check bool) (_ *wire.Report, err error) {
	st, err := state.Open(stateDir, check)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return wirer.Pass(ctx, st), nil
}

// failure returns the problems of a report as one error.
func failure(report *wire.Report) error {
	var all []string
	for _, app := range report.Apps {
		for _, problem := range app.Problems {
			all = append(all, fmt.Sprintf("%s: %s", app.App, problem))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}
