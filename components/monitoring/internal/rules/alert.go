// Package rules holds what the operator is told: the alerts of a system, each made from what the
// model says is there, as values for whoever lists or draws them, and as Prometheus' rule files.
package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"homelab/components/internal/watch"
)

// Severity is how urgent an alert is: its label severity.
type Severity string

// The severities.
const (
	// Critical means that something does not work or is not safe, and waits for the operator.
	Critical Severity = "critical"
	// Warning means that it works, and that it will not for long, or looks wrong.
	Warning Severity = "warning"
	// None is of Watchdog only, which fires while all is well.
	None Severity = "none"
)

// Names that others refer to: whoever routes and inhibits alerts.
const (
	// Watchdog always fires. Somebody outside expects it, and says so when it stops.
	Watchdog = "Watchdog"
	// ServiceDown means that a container does not run, or is not healthy.
	ServiceDown = "ServiceDown"
	// TargetDown means that a subject's metrics cannot be fetched.
	TargetDown = "TargetDown"
	// ServiceNotAnswering means that a service does not answer who measures it.
	ServiceNotAnswering = "ServiceNotAnswering"
	// ServiceReportsErrors and QueueFails are of what an application says of itself.
	ServiceReportsErrors = "ServiceReportsErrors"
	QueueFails           = "QueueFails"
	// WiringFailed means that an application could not be connected with the others.
	WiringFailed = "WiringFailed"
	// ServiceSlow and ServiceErrors are of what the proxy sees of a service.
	ServiceSlow   = "ServiceSlow"
	ServiceErrors = "ServiceErrors"
	// ProxyErrors are errors of all hostnames together.
	ProxyErrors = "ProxyErrors"
	// MediaMissing means that the library is not mounted.
	MediaMissing = "MediaMissing"
	// VPNDown means that the tunnel has no connection.
	VPNDown = "VPNDown"
	// VPNLeaking means that what is behind the tunnel shows the server's own address.
	VPNLeaking = "VPNLeaking"
	// MachineSilent means that the machine's own numbers are old or missing.
	MachineSilent = "MachineSilent"
)

// Labels of alerts, besides service and layer, by which one alert inhibits others.
const (
	// LibraryLabel is on what does not run without the media library.
	LibraryLabel = "library"
	// BehindLabel names the VPN tunnel whose network a container has.
	BehindLabel = "behind"
)

// Alert is one alerting rule.
type Alert struct {
	// Name is the label alertname. Alerts of several subjects, or severities, share one.
	Name string
	// Severity is how urgent it is.
	Severity Severity
	// Service is the name of the container that it is about, or watch.MachineName. Where
	// ServiceLabel is set, it is the one that says it of others.
	Service string
	// ServiceLabel is the label of the series that names the container which the alert is about,
	// where that is one of several.
	ServiceLabel string
	// Layer is the part of the system that it is about.
	Layer watch.Layer
	// Expr is the expression that has a value while something is wrong.
	Expr string
	// For is how long it must have one before the alert fires.
	For time.Duration
	// KeepFiring is how long the alert goes on when the expression has no value any more. It is set
	// where others are inhibited that recover later.
	KeepFiring time.Duration
	// Labels are further labels, by which alerts inhibit each other.
	Labels map[string]string
	// Summary is one line: what is wrong. It may hold the values of labels.
	Summary string
	// Description says what it means, and what to do.
	Description string
}

// service is the value of the label service, for which Prometheus takes the series' own labels.
func (a Alert) service() string {
	if a.ServiceLabel != "" {
		return "{{ $labels." + a.ServiceLabel + " }}"
	}
	return a.Service
}

// Alerts returns every alert of the system: the chain's, then those of each subject.
func Alerts(m watch.Model) []Alert {
	out := chain(m)
	for _, s := range m.Subjects {
		out = append(out, subject(s)...)
	}
	return out
}

// chain returns the alerts that are about the system as a whole.
func chain(m watch.Model) []Alert {
	return slices.Concat(
		watchdog(), proxy(m), detection(m), portal(m), jails(), certificates(m), filter(), tailnet(),
		backups(), disks(m), tunnel(m), wiring(m), machine(m), metrics(m), containers(m), notifications(m), logs(m),
	)
}

// watchdog is the alert that says that alerts arrive.
func watchdog() []Alert {
	return []Alert{{
		Name: Watchdog, Severity: None, Service: "prometheus", Layer: watch.Monitoring, Expr: "vector(1)",
		Summary:     "Alerts are evaluated and delivered",
		Description: "This alert always fires. It goes to the dead man's switch alone, which raises the alarm when it stops.",
	}}
}

// series returns a selector: a metric's name, and pairs of a label and its value. The value is an
// exact one, or a regular expression after "~".
func series(metric string, labels ...string) string {
	parts := make([]string, 0, len(labels)/2)
	for i := 0; i+1 < len(labels); i += 2 {
		value, isPattern := strings.CutPrefix(labels[i+1], "~")
		op := "="
		if isPattern {
			op = "=~"
		}
		parts = append(parts, labels[i]+op+strconv.Quote(value))
	}
	if len(parts) == 0 {
		return metric
	}
	return metric + "{" + strings.Join(parts, ",") + "}"
}

// reported is a condition for a series that is missing: the machine reports at all. Without it
// everything would be missing whenever the machine is silent, which has an alert of its own.
const reported = " and on() homelab_metrics_last_run_timestamp_seconds"

// missing returns an expression that has a value while the machine reports, but not this.
func missing(selector string) string { return "absent(" + selector + ")" + reported }

// daysLeft returns an expression of the days until a time, where that is below a number.
func daysLeft(timestamp string, days int) string {
	return fmt.Sprintf("(%s - time()) / 86400 < %d", timestamp, days)
}

// both returns two alerts that differ in their limit: a warning, and a critical one.
func both(a Alert, expr func(limit int) string, warning, critical int) []Alert {
	first, second := a, a
	first.Severity, first.Expr = Warning, expr(warning)
	second.Severity, second.Expr = Critical, expr(critical)
	return []Alert{first, second}
}
