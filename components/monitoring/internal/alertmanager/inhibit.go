package alertmanager

import (
	"strconv"
	"strings"

	"homelab/components/internal/watch"
	"homelab/components/monitoring/internal/rules"
)

// matcher writes a condition for a label in Alertmanager's syntax, which quotes values as Go does.
func matcher(label, op, value string) string { return label + op + strconv.Quote(value) }

// named writes the condition that an alert has one of these names.
func named(names ...string) string {
	return matcher("alertname", "=~", strings.Join(names, "|"))
}

// inhibitions decides which alert says it for others: one cause, one message. None of them depends
// on which services there are, so another service changes nothing here.
func inhibitions(m watch.Model) []inhibit {
	out := []inhibit{{
		// The labels tell apart what one alert says of several things.
		Name:   "critical-says-it-for-warning",
		Source: []string{matcher("severity", "=", string(rules.Critical))},
		Target: []string{matcher("severity", "=", string(rules.Warning))},
		Equal:  []string{"alertname", "service", "hostname", "app", "jail", "unit"},
	}, {
		// A leak is no consequence of an unhealthy tunnel, and what is sent for the sake of being
		// sent of nothing.
		Name:   "container-says-it-for-its-service",
		Source: []string{matcher("alertname", "=", rules.ServiceDown)},
		Target: []string{matcher("alertname", "!~", strings.Join([]string{rules.ServiceDown, rules.VPNLeaking, rules.Watchdog, TestAlert}, "|"))},
		Equal:  []string{"service"},
	}, {
		// What does not answer cannot be connected either.
		Name:   "application-says-it-for-its-wiring",
		Source: []string{matcher("alertname", "=", rules.ServiceNotAnswering)},
		Target: []string{matcher("alertname", "=", rules.WiringFailed)},
		Equal:  []string{"service"},
	}, {
		// Who downloads with the torrent client reports that it is away.
		Name:   "torrents-say-it-for-who-downloads-with-them",
		Source: []string{named(rules.ServiceDown, rules.ServiceNotAnswering), matcher(rules.BehindLabel, "!=", "")},
		Target: []string{named(rules.ServiceReportsErrors, rules.QueueFails)},
	}, {
		Name:   "library-says-it-for-who-needs-it",
		Source: []string{matcher("alertname", "=", rules.MediaMissing)},
		Target: []string{named(consequences()...), matcher(rules.LibraryLabel, "=", "true")},
	}, {
		// Without one of them no request is answered.
		Name:   "chain-says-it-for-the-hostnames",
		Source: []string{matcher("alertname", "=", rules.ServiceDown), matcher("layer", "=", string(watch.Gateway))},
		Target: []string{named(rules.ServiceSlow, rules.ServiceErrors, rules.ProxyErrors)},
	}, {
		Name:   "all-hostnames-say-it-for-each",
		Source: []string{matcher("alertname", "=", rules.ProxyErrors)},
		Target: []string{matcher("alertname", "=", rules.ServiceErrors)},
	}}
	for _, tunnel := range m.Of(watch.VPN) {
		behind := []string{named(consequences()...), matcher(rules.BehindLabel, "=", tunnel.Name)}
		out = append(out, inhibit{
			Name: tunnel.Name + "-says-it-for-what-is-behind", Source: []string{matcher("alertname", "=", rules.VPNDown)}, Target: behind,
		}, inhibit{
			Name:   tunnel.Name + "-says-it-for-who-downloads-through-it",
			Source: []string{matcher("alertname", "=", rules.VPNDown)},
			Target: []string{named(rules.ServiceReportsErrors, rules.QueueFails)},
		}, inhibit{
			Name:   tunnel.Name + "-container-says-it-for-what-is-behind",
			Source: []string{matcher("alertname", "=", rules.ServiceDown), matcher("service", "=", tunnel.Name)}, Target: behind,
		})
	}
	return out
}

// consequences are what a service shows when something that it needs is not there.
func consequences() []string {
	return []string{rules.ServiceDown, rules.TargetDown, rules.ServiceNotAnswering, rules.ServiceSlow, rules.ServiceErrors}
}
