// Package audit says of a stack what the rules find, what it exposes and keeps, and what has changed
// since an earlier export: as a table, JSON, SARIF and one page of HTML.
package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"homelab/policy/rules"
)

// SchemaVersion is the version of the Report as JSON. It changes only when a field is removed or gets
// another meaning; docs/audit.schema.json describes it.
const SchemaVersion = 1

// Report is an audit.
type Report struct {
	// SchemaVersion is SchemaVersion.
	SchemaVersion int `json:"schemaVersion"`
	// Stack is the stack's URN; empty where the export has none.
	Stack string `json:"stack"`
	// Resources is how many resources were judged.
	Resources int `json:"resources"`
	// Pending are operations that began and did not end: their resources may be there without being
	// in the state.
	Pending []string `json:"pending"`
	// Rules are what each rule says, in the rules' order.
	Rules []Outcome `json:"rules"`
	// Inventory is what the stack exposes and keeps.
	Inventory rules.Inventory `json:"inventory"`
	// Changes are what an export has changed in exposure since the baseline, sorted; nil without
	// one.
	Changes []string `json:"changes,omitzero"`
}

// Outcome is what one rule says.
type Outcome struct {
	// ID names the rule.
	ID string `json:"id"`
	// Title is the rule as a sentence.
	Title string `json:"title"`
	// Severity is how bad it is to break it.
	Severity rules.Severity `json:"severity"`
	// Layer is what it protects.
	Layer rules.Layer `json:"layer"`
	// Remedy is what to do where it is broken.
	Remedy string `json:"remedy"`
	// Status is passed, failed, undecided or not applicable.
	Status rules.Status `json:"status"`
	// Reason says why a rule is not applicable.
	Reason string `json:"reason,omitempty"`
	// Findings are where it is broken, or could not be decided.
	Findings []Finding `json:"findings"`
}

// Finding is one place.
type Finding struct {
	// URN is the resource; empty where one is missing.
	URN string `json:"urn"`
	// Message says what is wrong.
	Message string `json:"message"`
}

// Of audits an export.
func Of(export *rules.Export) *Report {
	out := &Report{
		SchemaVersion: SchemaVersion, Stack: export.Stack, Resources: len(export.Resources()), Pending: append([]string{}, export.Pending...),
		Inventory: rules.TakeInventory(export.Graph),
	}
	for _, v := range rules.Judge(export.Graph) {
		o := Outcome{
			ID: v.Rule.ID, Title: v.Rule.Title, Severity: v.Rule.Severity, Layer: v.Rule.Layer, Remedy: v.Rule.Remedy,
			Status: v.Status, Reason: v.Reason, Findings: []Finding{},
		}
		for _, f := range slices.Concat(v.Findings, v.Open) {
			o.Findings = append(o.Findings, Finding(f))
		}
		out.Rules = append(out.Rules, o)
	}
	return out
}

// Worst are the outcomes of rules that are broken and as bad as the severity, or worse.
func (r *Report) Worst(least rules.Severity) []Outcome {
	return slices.DeleteFunc(slices.Clone(r.Rules), func(o Outcome) bool {
		return o.Status != rules.Failed || !o.Severity.AtLeast(least)
	})
}

// open are the outcomes that somebody has to look at.
func (r *Report) open() []Outcome {
	return slices.DeleteFunc(slices.Clone(r.Rules), func(o Outcome) bool {
		return o.Status != rules.Failed && o.Status != rules.Undecided
	})
}

// Count returns how many rules came out so.
func (r *Report) Count(status rules.Status) int {
	n := 0
	for _, o := range r.Rules {
		if o.Status == status {
			n++
		}
	}
	return n
}

// Compare notes what has changed in exposure since an earlier audit.
func (r *Report) Compare(before *Report) {
	r.Changes = []string{}
	say := func(format string, arguments ...any) {
		r.Changes = append(r.Changes, fmt.Sprintf(format, arguments...))
	}
	compare(before.Inventory.Hostnames, r.Inventory.Hostnames, func(h rules.Hostname) string { return h.Name },
		func(h rules.Hostname) { say("%s became reachable %s", h.Name, reach(h)) },
		func(h rules.Hostname) { say("%s is no longer reachable", h.Name) },
		func(old, now rules.Hostname) { compareHostname(old, now, say) })
	compare(before.Inventory.Ports, r.Inventory.Ports, func(p rules.Port) string { return p.Where + " " + p.Protocol + " " + p.Port + " " + p.For },
		func(p rules.Port) { say("%s port %s was opened (%s: %s)", p.Protocol, p.Port, p.Where, p.For) },
		func(p rules.Port) { say("%s port %s was closed (%s: %s)", p.Protocol, p.Port, p.Where, p.For) },
		func(old, now rules.Port) {
			if now.Anywhere && !old.Anywhere {
				say("%s port %s was opened to anybody (%s: %s)", now.Protocol, now.Port, now.Where, now.For)
			} else if now.Sources != old.Sources {
				say("%s port %s is open for %d ranges, and was for %d (%s: %s)", now.Protocol, now.Port, now.Sources, old.Sources, now.Where, now.For)
			}
		})
	edge := func(e rules.Edge) string {
		if e.ToVPN() {
			return fmt.Sprintf("%s may reach the %s", e.From, e.To)
		}
		return fmt.Sprintf("%s may reach %s on port %d", e.From, e.To, e.Port)
	}
	compare(before.Inventory.Edges, r.Inventory.Edges, edge,
		func(e rules.Edge) { say("%s now", edge(e)) }, func(e rules.Edge) { say("%s no longer", edge(e)) }, func(rules.Edge, rules.Edge) {})
	compare(before.Inventory.Containers, r.Inventory.Containers, func(c rules.Container) string { return c.Name },
		func(c rules.Container) { say("the container %s runs now", c.Name) },
		func(c rules.Container) { say("the container %s is gone", c.Name) },
		func(old, now rules.Container) {
			if now.Internet != old.Internet {
				say("%s %s", now.Name, map[bool]string{true: "may reach the internet now", false: "may reach the internet no longer"}[now.Internet])
			}
			if now.Behind() != old.Behind() {
				say("%s is behind %s now, and was behind %s", now.Name, cmp.Or(now.Behind(), "no tunnel"), cmp.Or(old.Behind(), "no tunnel"))
			}
			for _, path := range now.Machine {
				if !slices.Contains(old.Machine, path) {
					say("%s has %s of the machine now", now.Name, path)
				}
			}
			if now.User != old.User {
				say("%s runs as %s, and ran as %s", now.Name, now.User, old.User)
			}
		})
	compare(before.Rules, r.Rules, func(o Outcome) string { return o.ID }, func(Outcome) {}, func(Outcome) {}, func(old, now Outcome) {
		switch {
		case now.Status == rules.Failed && old.Status != rules.Failed:
			say("the rule %s is broken now", now.ID)
		case now.Status != rules.Failed && old.Status == rules.Failed:
			say("the rule %s is broken no longer", now.ID)
		}
	})
	slices.Sort(r.Changes)
}

// compare calls what fits for each element, by its key, in the order of the lists.
func compare[T any](before, now []T, key func(T) string, added, gone func(T), both func(old, now T)) {
	old := map[string]T{}
	for _, b := range before {
		old[key(b)] = b
	}
	kept := map[string]bool{}
	for _, n := range now {
		kept[key(n)] = true
		if b, ok := old[key(n)]; ok {
			both(b, n)
		} else {
			added(n)
		}
	}
	for _, b := range before {
		if !kept[key(b)] {
			gone(b)
		}
	}
}

// reach says who can enter a hostname.
func reach(h rules.Hostname) string {
	where := "on the tailnet"
	if h.Public {
		where = "from the internet"
	}
	if h.Exception != "" {
		where += " past Cloudflare, by an exception (" + h.Exception + "),"
	}
	switch {
	case h.Login == "native":
		return where + ", with the service's own login"
	case len(h.Groups) > 0:
		return where + " by group " + strings.Join(h.Groups, " and ") + " (" + strings.ReplaceAll(h.Login, "_", " ") + ")"
	}
	return where + " (" + strings.ReplaceAll(h.Login, "_", " ") + ")"
}

func compareHostname(old, now rules.Hostname, say func(string, ...any)) {
	if reach(old) != reach(now) {
		say("%s is reachable %s, and was %s", now.Name, reach(now), reach(old))
	}
	if old.Container != now.Container {
		say("%s leads to %s, and led to %s", now.Name, now.Container, old.Container)
	}
	for _, path := range now.Open {
		if !slices.Contains(old.Open, path) {
			say("%s asks nobody to log in for %s", now.Name, path)
		}
	}
	compare(old.Chain, now.Chain, func(e rules.Evidence) string { return e.Layer }, func(rules.Evidence) {}, func(rules.Evidence) {}, func(was, is rules.Evidence) {
		switch {
		case len(was.Resources) > 0 && len(is.Resources) == 0:
			say("%s lost its %s", now.Name, is.Layer)
		case len(was.Resources) == 0 && len(is.Resources) > 0:
			say("%s got its %s", now.Name, is.Layer)
		}
	})
}
