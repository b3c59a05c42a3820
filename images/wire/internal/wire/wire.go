// Package wire connects the apps of a plan with each other over their HTTP APIs. A pass reads what
// an app has before it writes there, writes only what differs, and leaves a change that somebody
// made by hand as it is, unless the plan says otherwise.
//
// Into Radarr, Sonarr, Prowlarr, Jackett and qBittorrent it gets with the plan's keys and passwords.
// The plan's password of Jellyfin is only for the first login there and in Jellyseerr: a pass makes
// API keys in Jellyfin, reads the one that Jellyseerr has made itself, keeps both in the state, and
// uses the password again only if there is no key or it is refused.
//
// What fails is a problem, and the pass has failed. An indexer that does not work is only a warning,
// because its site is somebody else's: Prowlarr gets it disabled, or it is left out, and the next
// pass tries again.
package wire

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"homelab/images/wire/internal/plan"
	"homelab/images/wire/internal/state"
)

const (
	// DefaultPatience is how long a pass waits for apps that do not answer yet.
	DefaultPatience = 3 * time.Minute
	// timeout bounds one request. Testing an indexer takes the longest.
	timeout = 60 * time.Second
	// holdOff is how long a refused password is not tried again: qBittorrent bans an address after
	// five failures, and Jellyfin locks the account.
	holdOff = time.Hour
)

// Options are how passes are made.
type Options struct {
	// Check only reports what would be changed.
	Check bool
	// Patience is how long a pass waits for apps that do not answer; DefaultPatience if zero.
	Patience time.Duration
	// Poll is the time between two tries while waiting; 2 s if zero.
	Poll time.Duration
	// Log gets a line for what is worth knowing before the pass ends; nothing if nil.
	Log func(line string)
	// Transport sends the requests; the default one if nil.
	Transport http.RoundTripper
}

// Wirer makes passes of one plan.
type Wirer struct {
	plan    *plan.Plan
	options Options
	refused map[plan.App]time.Time
	hidden  map[string]string // what apps gave us and no output shows, and the name that it has instead
}

// New returns a Wirer for the plan.
func New(p *plan.Plan, options Options) *Wirer {
	if options.Patience == 0 {
		options.Patience = DefaultPatience
	}
	if options.Poll == 0 {
		options.Poll = 2 * time.Second
	}
	if options.Log == nil {
		options.Log = func(string) {}
	}
	if options.Transport == nil {
		options.Transport = http.DefaultTransport
	}
	return &Wirer{plan: p, options: options, refused: map[plan.App]time.Time{}, hidden: map[string]string{}}
}

// pass is one pass.
type pass struct {
	*Wirer
	state     *state.State
	report    *Report
	failed    map[plan.App]bool
	libraries []library           // of Jellyfin, for Jellyseerr
	keys      map[plan.App]string // of Jellyfin, for Radarr and Sonarr
	left      map[string]bool     // indexers that Jackett could not configure
}

// app is one app in one pass.
type app struct {
	*pass
	name   plan.App
	common *plan.Common
	result *AppReport
}

// connect connects the app. A problem that concerns one object only is reported on the way.
func (a *app) connect(ctx context.Context) error {
	switch a.name {
	case plan.QBittorrent:
		return a.qbittorrent(ctx)
	case plan.Radarr:
		return a.radarr(ctx)
	case plan.Sonarr:
		return a.sonarr(ctx)
	case plan.Jackett:
		return a.jackett(ctx)
	case plan.Prowlarr:
		return a.prowlarr(ctx)
	case plan.Jellyfin:
		return a.jellyfin(ctx)
	case plan.Jellyseerr:
		return a.jellyseerr(ctx)
	}
	return fmt.Errorf("there is no app %s", a.name)
}

// Pass connects every app once. An app that does not answer fails only what needs it. With
// Options.Check the state must be open for reading only.
func (w *Wirer) Pass(ctx context.Context, st *state.State) *Report {
	p := &pass{
		Wirer: w, state: st,
		report: &Report{Check: w.options.Check, redact: w.redact},
		failed: map[plan.App]bool{}, keys: map[plan.App]string{}, left: map[string]bool{},
	}
	for _, name := range plan.Apps() {
		w.hide(string(name)+" API key", st.Credential(string(name)))
	}
	deadline := time.Now().Add(w.options.Patience)
	var apps []*app
	for _, name := range plan.Apps() {
		common := w.plan.Common(name)
		if common == nil {
			// What we wrote to an app that no longer runs says nothing about one that runs later.
			if err := st.Forget(string(name) + "/"); err != nil {
				p.report.add(name).problem("%v", err)
			}
			continue
		}
		a := &app{pass: p, name: name, common: common, result: p.report.add(name)}
		apps = append(apps, a)
		if err := a.wait(ctx, deadline); err != nil {
			a.fail(err)
		}
	}
	for _, a := range apps {
		if p.failed[a.name] {
			continue
		}
		if err := a.connect(ctx); err != nil {
			a.fail(err)
		}
	}
	return p.report
}

// usable reports whether the app runs and has not failed in this pass.
func (p *pass) usable(name plan.App) bool { return p.plan.Has(name) && !p.failed[name] }

// fail reports that the app could not be connected.
func (a *app) fail(err error) {
	a.failed[a.name] = true
	a.result.problem("%v", err)
}

// problem reports what concerns one object only.
func (a *app) problem(format string, args ...any) { a.result.problem(format, args...) }

// warning reports what does not work, but is up to a site on the Internet or to a name in the
// settings. The pass succeeds nevertheless, and the next one tries again.
func (a *app) warning(format string, args ...any) {
	a.result.Warnings = append(a.result.Warnings, a.redact(fmt.Sprintf(format, args...)))
}

// blocked reports that an object is left as it is because another app has failed.
func (a *app) blocked(label string, by plan.App) {
	a.problem("%s is left as it is, because %s has a problem", label, by)
}

func (a *app) changed(format string, args ...any) {
	a.result.Changes = append(a.result.Changes, a.redact(fmt.Sprintf(format, args...)))
}

// hide keeps a secret that is not in the plan out of all output from now on.
func (w *Wirer) hide(name, value string) {
	if value != "" {
		w.hidden[value] = name
	}
}

// redact returns text without secrets.
func (w *Wirer) redact(text string) string {
	var more []plan.NamedSecret
	for _, value := range slices.Sorted(maps.Keys(w.hidden)) {
		more = append(more, plan.NamedSecret{Name: w.hidden[value], Value: plan.Secret(value)})
	}
	return w.plan.Redact(text, more...)
}

func (a *app) client() *http.Client {
	return &http.Client{
		Transport:     a.options.Transport,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refusedError is that an app refuses a key or a password of the plan.
type refusedError string

// Error says where the two differ.
func (e refusedError) Error() string { return string(e) }

// refusal returns the error for an app that refuses what the plan says.
func (a *app) refusal(what, noun string, code int, field string) error {
	source := a.common.Setting
	if source == "" {
		source = fmt.Sprintf("the plan's %s.%s", a.name, field)
	}
	return refusedError(fmt.Sprintf("%s refuses %s (%d): the %s in /opt/homelab/%s is not the one of %s; "+
		"deploy again, or put the app's folder and the setting back from the same backup",
		a.name, what, code, noun, a.name, source))
}

// mayLogIn returns an error while a password that an app has refused must not be tried again.
func (a *app) mayLogIn(name plan.App) error {
	if at, ok := a.refused[name]; ok && time.Since(at) < holdOff {
		return fmt.Errorf("%s has refused the password at %s; it is not tried again before %s, "+
			"because the app locks out who fails often",
			name, at.Format(time.TimeOnly), at.Add(holdOff).Format(time.TimeOnly))
	}
	return nil
}

func (a *app) refuse() { a.refused[a.name] = time.Now() }

// Report is what a pass did.
type Report struct {
	// Check says that nothing was written.
	Check bool `json:"check"`
	// Apps are the apps of the plan, in the order of the pass.
	Apps []*AppReport `json:"apps"`

	redact func(string) string
}

// AppReport is what a pass did with one app.
type AppReport struct {
	App plan.App `json:"app"`
	// Changes are what was written, or would be.
	Changes []string `json:"changes,omitempty"`
	// Drift is what somebody changed by hand and what was left so.
	Drift []string `json:"drift,omitempty"`
	// Warnings are indexers that do not work. They are no failure: the sites are those of others.
	Warnings []string `json:"warnings,omitempty"`
	// Problems are why something could not be done.
	Problems []string `json:"problems,omitempty"`

	redact func(string) string
}

func (r *Report) add(name plan.App) *AppReport {
	result := &AppReport{App: name, redact: r.redact}
	r.Apps = append(r.Apps, result)
	return result
}

func (r *AppReport) problem(format string, args ...any) {
	text := r.redact(fmt.Sprintf(format, args...))
	text = strings.TrimPrefix(text, string(r.App)+" ")
	if !slices.Contains(r.Problems, text) {
		r.Problems = append(r.Problems, text)
	}
}

// Failed reports whether something could not be done.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Apps, func(a *AppReport) bool { return len(a.Problems) > 0 })
}

// Differs reports whether something was changed, would be, or was changed by hand.
func (r *Report) Differs() bool {
	return slices.ContainsFunc(r.Apps, func(a *AppReport) bool { return len(a.Changes)+len(a.Drift) > 0 })
}

// App returns the report of one app, or an empty one.
func (r *Report) App(name plan.App) *AppReport {
	for _, result := range r.Apps {
		if result.App == name {
			return result
		}
	}
	return &AppReport{App: name}
}

// Lines returns the report as text: a line per app, and one per change by hand, warning and problem.
func (r *Report) Lines() []string {
	var lines []string
	for _, a := range r.Apps {
		switch {
		case len(a.Changes) > 0 && r.Check:
			lines = append(lines, fmt.Sprintf("%s: would change: %s", a.App, strings.Join(a.Changes, "; ")))
		case len(a.Changes) > 0:
			lines = append(lines, fmt.Sprintf("%s: %s", a.App, strings.Join(a.Changes, "; ")))
		case len(a.Drift)+len(a.Warnings)+len(a.Problems) == 0:
			lines = append(lines, fmt.Sprintf("%s: nothing to do", a.App))
		}
		for _, drift := range a.Drift {
			lines = append(lines, fmt.Sprintf("%s: %s", a.App, drift))
		}
		for _, warning := range a.Warnings {
			lines = append(lines, fmt.Sprintf("%s: warning: %s", a.App, warning))
		}
		for _, problem := range a.Problems {
			// Some texts name the app themselves, at their start; see problem.
			lines = append(lines, fmt.Sprintf("%s: problem: %s", a.App, problem))
		}
	}
	return lines
}
