// Package view says what one visitor sees, from the page, what is known, and who he is. Page and
// API show the same value.
package view

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"homelab/images/home/internal/monitor"
	"homelab/images/home/internal/page"
)

// Version is the version of State's form. It changes when a field is removed or means something
// else, not when one is added.
const Version = 1

const (
	// answerFresh is for how long an answer counts when no newer one came.
	answerFresh = time.Minute
	// machineFresh is for how long what the machine has measured counts.
	machineFresh = 5 * time.Minute
	// namedInSummary is how many services the summary names before it counts them.
	namedInSummary = 3
)

// Level is how something is.
type Level string

// The levels.
const (
	// Up means that all is well.
	Up Level = "up"
	// Warn means that somebody should look at it.
	Warn Level = "warn"
	// Down means that it does not work.
	Down Level = "down"
	// Unknown means that nobody knows, or not anymore.
	Unknown Level = "unknown"
)

// Visitor is who asks, as the proxy says.
type Visitor struct {
	// User is the login.
	User string
	// Name is what to call him; the login if the proxy does not say.
	Name string
	// Groups are those that he holds.
	Groups []string
}

func (v Visitor) holdsOneOf(groups []string) bool {
	return slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(v.Groups, g) })
}

// State is what a visitor sees: the answer of GET /api/state.
type State struct {
	// Version is the version of this form, 1.
	Version int `json:"version"`
	// Layout changes when a page that was loaded earlier has other parts than this state: it is to
	// be loaded again.
	Layout string `json:"layout"`
	// Now is when this was made.
	Now time.Time `json:"now"`
	// Level is down if a service is, else unknown if one is.
	Level Level `json:"level"`
	// Summary is one sentence about all services.
	Summary string `json:"summary"`
	// Data says from when the states are.
	Data Data `json:"data"`
	// Services are what the visitor may open, sorted by title: those that people come for first.
	Services []Service `json:"services"`
	// Admin is what only administrators see; absent for others.
	Admin *Admin `json:"admin,omitempty"`
}

// Data says from when the states are.
type Data struct {
	// From is when the machine measured them; absent if that is not known.
	From *time.Time `json:"from,omitempty"`
	// Problem says why they are not known; empty if they are.
	Problem string `json:"problem"`
	// Text says both in a sentence.
	Text string `json:"text"`
}

// Service is something that the visitor may open.
type Service struct {
	// Name is its container's name.
	Name string `json:"name"`
	// Title is what people call it.
	Title string `json:"title"`
	// Summary is what it is for; may be empty.
	Summary string `json:"summary"`
	// Layer is the part of the system that it belongs to.
	Layer page.Layer `json:"layer"`
	// URL is its address.
	URL string `json:"url"`
	// Audience says who may open it, and from where.
	Audience string `json:"audience"`
	// Level is up, down or unknown.
	Level Level `json:"level"`
	// Text is the level in words, with the reason.
	Text string `json:"text"`
}

// Make returns what a visitor sees at a moment.
func Make(p *page.Page, known monitor.Snapshot, visitor Visitor, now time.Time) State {
	clock := clock{now: now, location: p.Location()}
	s := State{Version: Version, Now: now.UTC().Truncate(time.Second), Services: []Service{}}
	s.Data = data(known, clock)
	for _, e := range p.Entries {
		if len(e.Groups) > 0 && !visitor.holdsOneOf(e.Groups) {
			continue
		}
		level, text := state(e.Name, known.Series, s.Data)
		s.Services = append(s.Services, Service{
			Name: e.Name, Title: e.Title, Summary: e.Summary, Layer: e.Layer, URL: e.URL(), Audience: audience(e),
			Level: level, Text: text,
		})
	}
	slices.SortStableFunc(s.Services, func(a, b Service) int {
		return cmp.Or(place(a.Layer)-place(b.Layer), strings.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title)))
	})
	s.Level, s.Summary = summary(s.Services, s.Data)
	if visitor.holdsOneOf([]string{p.Admins}) {
		s.Admin = admin(p, known, s.Data, clock)
	}
	s.Layout = layout(s)
	return s
}

// place puts what people come for before what is around it.
func place(l page.Layer) int {
	return slices.Index([]page.Layer{page.Service, page.VPN, page.Gateway, page.Monitoring}, l)
}

// layout is a digest of what a state's page has, without what changes on it.
func layout(s State) string {
	digest := fnv.New64a()
	for _, e := range s.Services {
		fmt.Fprintf(digest, "%q %q %q %q %q\n", e.Name, e.Title, e.Summary, e.URL, e.Audience)
	}
	if s.Admin != nil {
		for _, f := range s.Admin.Facts {
			fmt.Fprintf(digest, "%q %q\n", f.Name, f.Title)
		}
	}
	return fmt.Sprintf("%016x", digest.Sum64())
}

// data says from when the states are, and whether they still count.
func data(known monitor.Snapshot, c clock) Data {
	var d Data
	measured, ok := known.Series.Time(monitor.LastRun)
	if ok {
		from := measured.UTC().Truncate(time.Second)
		d.From = &from
	}
	switch {
	case known.States.Problem != "" && known.States.Answered.IsZero():
		d.Problem = known.States.Problem
	case known.States.Answered.IsZero():
		d.Problem = "Prometheus was not asked yet"
	case c.now.Sub(known.States.Answered) > answerFresh:
		// Nobody asks anymore, or nobody answers.
		d.Problem = cmp.Or(known.States.Problem, "Prometheus was not asked") + "; its last answer came " + c.ago(known.States.Answered)
	case !ok:
		d.Problem = "the machine has not reported yet"
	case c.now.Sub(measured) > machineFresh:
		d.Problem = "the machine last reported " + c.ago(measured)
	}
	d.Text = capital(d.Problem) + "."
	if d.Problem == "" {
		d.Text = fmt.Sprintf("Measured %s, at %s.", c.ago(measured), measured.In(c.location).Format("15:04:05 MST"))
	}
	return d
}

// state returns how a container is.
func state(container string, series monitor.Series, d Data) (Level, string) {
	if d.Problem != "" {
		return Unknown, "Unknown"
	}
	running, runs := series.Is(monitor.ContainerRunning, monitor.ServiceLabel, container)
	healthy, checked := series.Is(monitor.ContainerHealthy, monitor.ServiceLabel, container)
	switch {
	case runs && !running:
		return Down, "Down: not running"
	case checked && !healthy:
		return Down, "Down: fails its health check"
	case runs && checked:
		return Up, "Up"
	}
	return Unknown, "Unknown: not reported"
}

// audience says who may open an entry, and from where.
func audience(e page.Entry) string {
	who := "For " + and(e.Groups)
	switch {
	case e.Layer == page.Gateway && len(e.Groups) == 0:
		who = "For everyone" // the portal itself
	case len(e.Groups) == 0:
		who = "Own login"
	}
	if e.Public {
		return who
	}
	return who + ", tailnet only"
}

// and joins words as in a sentence.
func and(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// summary says in a sentence how all services are.
func summary(services []Service, d Data) (Level, string) {
	titles := map[Level][]string{}
	for _, s := range services {
		titles[s.Level] = append(titles[s.Level], s.Title)
	}
	down, unknown := titles[Down], titles[Unknown]
	switch {
	case len(services) == 0:
		return Unknown, "There is nothing here that you may open."
	case d.Problem != "":
		return Unknown, "States are unknown right now."
	case len(down) > namedInSummary:
		return Down, fmt.Sprintf("%d of %d services are down.", len(down), len(services))
	case len(down) > 0:
		return Down, fmt.Sprintf("%s %s down.", and(down), is(down))
	case len(unknown) == len(services):
		return Unknown, "States are unknown right now."
	case len(unknown) > namedInSummary:
		return Unknown, fmt.Sprintf("%d of %d services are in an unknown state; the others are up.", len(unknown), len(services))
	case len(unknown) > 0:
		return Unknown, fmt.Sprintf("%s %s in an unknown state; the others are up.", and(unknown), is(unknown))
	case len(services) == 1:
		return Up, services[0].Title + " is up."
	}
	return Up, fmt.Sprintf("All %d services are up.", len(services))
}

func is(subjects []string) string {
	if len(subjects) == 1 {
		return "is"
	}
	return "are"
}
