// Package observe measures the apps of a plan, by questions that change nothing: whether each
// answers, and what it says of itself. It asks them beside the passes, all at once and each with a
// deadline of its own, so that an app that hangs costs nothing but its own series. What an app does
// not say has no series, rather than an old value.
package observe

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"homelab/images/wire/internal/plan"
)

const (
	// DefaultEvery is the time between two rounds.
	DefaultEvery = time.Minute
	// DefaultTimeout bounds all questions to one app in a round.
	DefaultTimeout = 20 * time.Second
)

// Options are how the apps are measured.
type Options struct {
	// Credential returns the API key that Jellyfin or Jellyseerr has made for us, "" if there is
	// none yet. Required.
	Credential func(plan.App) (string, error)
	// Every is the time between two rounds; DefaultEvery if zero.
	Every time.Duration
	// Timeout bounds all questions to one app in a round; DefaultTimeout if zero.
	Timeout time.Duration
	// Log gets a line when an app, or something of it, can no longer be measured; nothing if nil.
	Log func(line string)
	// Transport sends the requests; the default one if nil.
	Transport http.RoundTripper
}

// Observer measures the apps of one plan. It is a collector of Prometheus' metrics.
type Observer struct {
	plan     *plan.Plan
	options  Options
	subjects []*subject
}

// subject is an app that is measured.
type subject struct {
	name plan.App
	base string
	// ask asks the app. An error means that it does not answer as it should; what it does not say
	// is reported on the way.
	ask func(context.Context, *look) error
	// connected is called when a pass has connected the app; nil for nothing.
	connected func()

	mutex   sync.Mutex
	up      bool
	samples []sample

	// told are the problems of the latest round, which are not logged again.
	told []string
	down bool
}

// New returns an Observer of the apps of the plan.
func New(p *plan.Plan, options Options) *Observer {
	if options.Every == 0 {
		options.Every = DefaultEvery
	}
	if options.Timeout == 0 {
		options.Timeout = DefaultTimeout
	}
	if options.Log == nil {
		options.Log = func(string) {}
	}
	if options.Transport == nil {
		options.Transport = http.DefaultTransport
	}
	o := &Observer{plan: p, options: options}
	for _, name := range plan.Apps() {
		if common := p.Common(name); common != nil {
			s := &subject{name: name, base: string(common.URL)}
			o.teach(s)
			o.subjects = append(o.subjects, s)
		}
	}
	return o
}

// teach says how a subject is asked.
func (o *Observer) teach(s *subject) {
	switch s.name {
	case plan.QBittorrent:
		t := newTorrents(o.plan.QBittorrent, o.options.Transport)
		s.ask, s.connected = t.ask, t.connected
	case plan.Radarr:
		s.ask = servarr(o.plan.Radarr.APIKey)
	case plan.Sonarr:
		s.ask = servarr(o.plan.Sonarr.APIKey)
	case plan.Prowlarr:
		s.ask = prowlarr(o.plan.Prowlarr.APIKey)
	case plan.Jackett:
		s.ask = jackett(o.plan.Jackett.APIKey)
	case plan.Jellyfin:
		s.ask = o.jellyfin
	case plan.Jellyseerr:
		s.ask = o.jellyseerr
	}
}

// Run makes rounds until the context ends.
func (o *Observer) Run(ctx context.Context) {
	ticker := time.NewTicker(o.options.Every)
	defer ticker.Stop()
	for {
		o.Round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Round measures every app once, all at the same time.
func (o *Observer) Round(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range o.subjects {
		all.Go(func() { o.measure(ctx, s) })
	}
	all.Wait()
}

// Connected tells that a pass has connected an app: a password that the app has refused here may be
// tried again.
func (o *Observer) Connected(app plan.App) {
	for _, s := range o.subjects {
		if s.name == app && s.connected != nil {
			s.connected()
		}
	}
}

func (o *Observer) measure(ctx context.Context, s *subject) {
	bounded, cancel := context.WithTimeout(ctx, o.options.Timeout)
	defer cancel()
	l := &look{app: s.name, base: s.base, header: http.Header{}, client: &http.Client{
		Transport:     o.options.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	err := s.ask(bounded, l)
	if ctx.Err() != nil {
		return // the program ends, which is not the app's fault
	}
	if err != nil {
		l.samples, l.problems = nil, []string{fmt.Sprintf("it is not measured: %v", err)}
	}
	s.mutex.Lock()
	s.up, s.samples = err == nil, l.samples
	s.mutex.Unlock()
	o.tell(s, err != nil, l.problems)
}

// tell logs what the round before did not find, and that an app is measured again.
func (o *Observer) tell(s *subject, down bool, problems []string) {
	if s.down && !down {
		o.options.Log(fmt.Sprintf("%s: it is measured again", s.name))
	}
	for _, problem := range problems {
		if !slices.Contains(s.told, problem) {
			o.options.Log(o.redact(fmt.Sprintf("%s: %s", s.name, problem)))
		}
	}
	s.down, s.told = down, problems
}

// redact returns one line without secrets. No text holds one; it is the last thing before anything
// is printed.
func (o *Observer) redact(text string) string {
	var more []plan.NamedSecret
	for _, app := range []plan.App{plan.Jellyfin, plan.Jellyseerr} {
		if key, err := o.options.Credential(app); err == nil && key != "" {
			more = append(more, plan.NamedSecret{Name: string(app) + " API key", Value: plan.Secret(key)})
		}
	}
	return o.plan.Redact(strings.Join(strings.Fields(text), " "), more...)
}
