package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity is how bad it is to break a rule.
type Severity string

// The severities, from the worst.
const (
	// Critical is open to whoever finds it.
	Critical Severity = "critical"
	// High takes a whole layer away, or loses data.
	High Severity = "high"
	// Medium takes away a part of a layer.
	Medium Severity = "medium"
	// Low makes the stack harder to keep.
	Low Severity = "low"
)

// Severities returns every severity, from the worst.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low} }

// AtLeast reports whether s is as bad as other, or worse.
func (s Severity) AtLeast(other Severity) bool {
	return slices.Index(Severities(), s) <= slices.Index(Severities(), other)
}

// Layer is the part of the security chain that a rule protects.
type Layer string

// The layers, in the order in which a request meets them, and what lies beside.
const (
	LayerEdge      Layer = "edge"
	LayerFirewall  Layer = "firewall"
	LayerProxy     Layer = "proxy"
	LayerDetection Layer = "detection"
	LayerPortal    Layer = "portal"
	LayerJails     Layer = "jails"
	LayerContainer Layer = "container"
	LayerNetwork   Layer = "network"
	LayerTailnet   Layer = "tailnet"
	LayerData      Layer = "data"
	// LayerMonitoring is what measures, keeps logs and tells people.
	LayerMonitoring Layer = "monitoring"
	LayerSecrets    Layer = "secrets"
	LayerProgram    Layer = "program"
)

// Rule is one thing that must hold.
type Rule struct {
	// ID names the rule: lower-case words with hyphens.
	ID string
	// Title is the rule as a sentence that holds where nobody breaks it.
	Title string
	// Severity is how bad it is to break it.
	Severity Severity
	// Layer is what it protects.
	Layer Layer
	// Remedy is what to do where it is broken.
	Remedy string
	// Unknown says what it does with values that a preview does not know.
	Unknown string

	check func(*Graph, *report)
}

// Status is how a rule came out.
type Status string

// What can come out.
const (
	// Passed is that the rule holds.
	Passed Status = "passed"
	// Failed is that it is broken.
	Failed Status = "failed"
	// NotApplicable is that the stack has nothing of what the rule is about.
	NotApplicable Status = "not applicable"
	// Undecided is that a value is unknown or encrypted.
	Undecided Status = "undecided"
)

// Finding is one place where a rule is broken, or could not be decided.
type Finding struct {
	// URN is the resource; empty where one is missing.
	URN string
	// Message says what is wrong. It holds no secret.
	Message string
}

// Verdict is how one rule came out.
type Verdict struct {
	// Rule is the rule.
	Rule *Rule
	// Status is how it came out.
	Status Status
	// Reason says why the rule is not applicable.
	Reason string
	// Findings are where it is broken; sorted.
	Findings []Finding
	// Open are where it could not be decided; sorted.
	Open []Finding
}

// report collects what a check finds.
type report struct {
	looked   bool
	reason   string
	findings []Finding
	open     []Finding
}

// absent says that there is nothing to judge.
func (r *report) absent(what string) { r.reason = "no " + what + " found" }

// look says that there is something to judge.
func (r *report) look() { r.looked = true }

func (r *report) fail(at *Resource, format string, arguments ...any) {
	r.look()
	r.findings = append(r.findings, finding(at, format, arguments...))
}

func (r *report) undecided(at *Resource, format string, arguments ...any) {
	r.look()
	r.open = append(r.open, finding(at, format, arguments...))
}

// require fails unless ok.
func (r *report) require(ok bool, at *Resource, format string, arguments ...any) {
	r.look()
	if !ok {
		r.fail(at, format, arguments...)
	}
}

func finding(at *Resource, format string, arguments ...any) Finding {
	f := Finding{Message: fmt.Sprintf(format, arguments...)}
	if at != nil {
		f.URN = at.URN
	}
	return f
}

// Judge returns what each rule says of the stack, in the rules' order.
func Judge(g *Graph) []Verdict {
	out := make([]Verdict, 0, len(catalog))
	for i := range catalog {
		out = append(out, catalog[i].Judge(g))
	}
	return out
}

// Judge returns what the rule says of the stack.
func (r *Rule) Judge(g *Graph) Verdict {
	var found report
	r.check(g, &found)
	for _, list := range [][]Finding{found.findings, found.open} {
		slices.SortFunc(list, func(a, b Finding) int {
			return cmp.Or(strings.Compare(a.URN, b.URN), strings.Compare(a.Message, b.Message))
		})
	}
	v := Verdict{Rule: r, Findings: slices.Compact(found.findings), Open: slices.Compact(found.open)}
	switch {
	case len(v.Findings) > 0:
		v.Status = Failed
	case len(v.Open) > 0:
		v.Status = Undecided
	case !found.looked:
		v.Status, v.Reason = NotApplicable, found.reason
	default:
		v.Status = Passed
	}
	return v
}

// All returns every rule, in the order of the layers.
func All() []*Rule {
	out := make([]*Rule, 0, len(catalog))
	for i := range catalog {
		out = append(out, &catalog[i])
	}
	return out
}
