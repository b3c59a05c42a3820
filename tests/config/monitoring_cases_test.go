//go:build chain

package config

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// always is a value that stays, in promtool's notation.
func always(value any) string { return fmt.Sprintf("%vx3000", value) }

// grows is a counter that grows by this much at each step.
func grows(by any) string { return fmt.Sprintf("0+%vx3000", by) }

// labelled returns a selector of a series with these labels, which Prometheus adds when it scrapes.
func labelled(metric string, labels map[string]string) string {
	var parts []string
	for name, value := range labels {
		parts = append(parts, name+"="+strconv.Quote(value))
	}
	slices.Sort(parts)
	return metric + "{" + strings.Join(parts, ",") + "}"
}

// target returns the labels of a scraped target, and further pairs.
func target(name string, port int, more ...string) map[string]string {
	out := map[string]string{"job": name, "instance": fmt.Sprintf("%s:%d", name, port), "host": "homelab", "service": name, "layer": "test"}
	if name == "node-exporter" {
		out["service"], out["layer"] = "machine", "machine"
	}
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

// machine returns the labels of a series of the machine.
func machine(more ...string) map[string]string { return target("node-exporter", 9100, more...) }

// kept returns the labels that a rule does not set itself.
func kept(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	delete(out, "service")
	delete(out, "layer")
	return out
}

// gauge is a case of one series that has one value when something is wrong, and another one when
// not. The alert keeps its labels.
func gauge(metric string, labels map[string]string, wrong, well any, at time.Duration, summary string) func(ruleAlert) []ruleCase {
	return func(ruleAlert) []ruleCase {
		return []ruleCase{{
			firing: map[string]string{labelled(metric, labels): always(wrong)}, quiet: map[string]string{labelled(metric, labels): always(well)},
			at: at, labels: kept(labels), summary: summary,
		}}
	}
}

// gone is a case of a series of the machine that is missing while the machine reports.
func gone(metric string, labels map[string]string, at time.Duration) func(ruleAlert) []ruleCase {
	reports := labelled("homelab_metrics_last_run_timestamp_seconds", machine())
	return func(ruleAlert) []ruleCase {
		return []ruleCase{
			{firing: map[string]string{reports: always(0)}, quiet: map[string]string{reports: always(0), labelled(metric, labels): always(1)}, at: at},
			{firing: map[string]string{reports: always(0)}, quiet: map[string]string{labelled("up", machine()): always(1)}, at: at},
		}
	}
}

// counter is a case of a counter that grows too fast by the minute; the alert keeps the labels that
// are named.
func counter(metric string, labels map[string]string, wrong, well any, at time.Duration, summary string, keeps ...string) func(ruleAlert) []ruleCase {
	return func(ruleAlert) []ruleCase {
		left := map[string]string{}
		for _, name := range keeps {
			left[name] = labels[name]
		}
		return []ruleCase{{
			firing: map[string]string{labelled(metric, labels): grows(wrong)}, quiet: map[string]string{labelled(metric, labels): grows(well)},
			at: at, labels: left, summary: summary,
		}}
	}
}

// several joins cases of one alert.
func several(cases ...func(ruleAlert) []ruleCase) func(ruleAlert) []ruleCase {
	return func(a ruleAlert) []ruleCase {
		var out []ruleCase
		for _, c := range cases {
			out = append(out, c(a)...)
		}
		return out
	}
}

// expires is a case of a certificate or key: days are left at the time of the test.
func expires(metric string, labels map[string]string, days int, well int, summary string, too ...string) func(ruleAlert) []ruleCase {
	const at = 2 * time.Hour
	when := func(days int) string { return always(int(at.Seconds()) + days*86400) }
	return func(ruleAlert) []ruleCase {
		return []ruleCase{{
			firing: map[string]string{labelled(metric, labels): when(days)}, quiet: map[string]string{labelled(metric, labels): when(well)},
			at: at, labels: kept(labels), summary: summary, too: too,
		}}
	}
}

// free is a case of a file system with so many percent free.
func free(mount string, wrong, well int, at time.Duration, summary string, too ...string) func(ruleAlert) []ruleCase {
	labels := machine("mount", mount)
	size, avail := labelled("homelab_filesystem_size_bytes", labels), labelled("homelab_filesystem_avail_bytes", labels)
	return func(ruleAlert) []ruleCase {
		return []ruleCase{{
			firing: map[string]string{size: always(1000), avail: always(wrong * 10)}, quiet: map[string]string{size: always(1000), avail: always(well * 10)},
			at: at, labels: kept(labels), summary: summary, too: too,
		}}
	}
}

// silent is a case of a counter that stands still, or is not there.
func silent(metric string, labels map[string]string, at time.Duration) func(ruleAlert) []ruleCase {
	return func(ruleAlert) []ruleCase {
		one := labelled(metric, labels)
		return []ruleCase{
			{firing: map[string]string{one: always(7)}, quiet: map[string]string{one: grows(1)}, at: at},
			{firing: map[string]string{"other": always(1)}, quiet: map[string]string{one: grows(1)}, at: at},
		}
	}
}

var (
	hostnameOf = regexp.MustCompile(`hostname="([^"]+)"`)
	jobOf      = regexp.MustCompile(`job="([^"]+)"`)
	limitOf    = regexp.MustCompile(`\* (\d+) \* 1024`)
	appOf      = regexp.MustCompile(`app="([^"]+)"`)
)

// requests are the answers of a hostname that the proxy counts: so many a minute, and so many that
// are errors.
func requests(hostname string, ok, failed any) map[string]string {
	count := func(code, server string) string {
		return labelled("homelab_guard_response_duration_seconds_count", target("caddy", 9180, "hostname", hostname, "code", code, "server", server))
	}
	// What containers and the proxy's own checks ask are no requests of people.
	return map[string]string{count("2xx", "public"): grows(ok), count("5xx", "tailnet"): grows(failed), count("5xx", "inner"): grows(500)}
}

// firstBytes are the times until a hostname's answers begin: so many a minute, a part of them slow.
func firstBytes(hostname string, all, slow int) map[string]string {
	labels := func(more ...string) map[string]string {
		return target("caddy", 9180, append(more, "hostname", hostname, "server", "tailnet", "code", "2xx")...)
	}
	bucket := func(le string) string {
		return labelled("homelab_guard_response_duration_seconds_bucket", labels("le", le))
	}
	return map[string]string{
		bucket("0.5"): grows(all - slow), bucket("5"): grows(all - slow), bucket("10"): grows(all), bucket("+Inf"): grows(all),
		labelled("homelab_guard_response_duration_seconds_count", labels()): grows(all),
	}
}

// serviceDown has a case for each way in which a container can be down.
func serviceDown(a ruleAlert) []ruleCase {
	of := func(metric string) string {
		return labelled(metric, machine("service", a.Labels["service"], "layer", a.Labels["layer"]))
	}
	running, healthy := of("homelab_container_running"), of("homelab_container_healthy")
	reports := labelled("homelab_metrics_last_run_timestamp_seconds", machine())
	well := map[string]string{running: always(1), healthy: always(1), reports: always(0)}
	starting := "0x2 1x3000"
	return []ruleCase{
		{firing: map[string]string{running: always(0), healthy: always(0)}, quiet: well, at: 5 * time.Minute},
		{firing: map[string]string{running: always(1), healthy: always(0)}, quiet: map[string]string{running: always(1), healthy: starting}, at: 5 * time.Minute},
		{firing: map[string]string{reports: always(0)}, quiet: map[string]string{"other": always(1)}, at: 5 * time.Minute},
	}
}

func serviceMemory(a ruleAlert) []ruleCase {
	limit, _ := strconv.Atoi(limitOf.FindStringSubmatch(a.Expr)[1])
	of := func(service string, percent int) map[string]string {
		return map[string]string{
			measures("container_memory_working_set_bytes", service): always(limit * 1024 * 1024 * percent / 100), isContainer(service): always(1),
		}
	}
	firing := of(a.Labels["service"], 95)
	nameless := maps.Clone(firing)
	delete(nameless, isContainer(a.Labels["service"]))
	return pair(20*time.Minute, map[string]string{"host": "homelab"}, "", firing, of(a.Labels["service"], 85), of("other", 95), nameless)(a)
}

// containersNotMeasured has a case for each thing that can be missing; one that does not run uses
// nothing.
func containersNotMeasured(ruleAlert) []ruleCase {
	running := func(name string) string {
		return labelled("homelab_container_running", machine("service", name, "layer", "test"))
	}
	used := func(name string) string { return measures("container_memory_working_set_bytes", name) }
	up := labelled("up", target("cadvisor", 8080))
	well := map[string]string{
		up: always(1), running("radarr"): always(1), used("radarr"): always(1000), isContainer("radarr"): always(1), running("sonarr"): always(0),
	}
	var out []ruleCase
	for _, missing := range []string{used("radarr"), isContainer("radarr")} {
		firing, unreachable := maps.Clone(well), maps.Clone(well)
		delete(firing, missing)
		delete(unreachable, missing)
		unreachable[up] = always(0)
		out = append(out, pair(late, nil, "1 containers are not measured", firing, well, unreachable)(ruleAlert{})...)
	}
	return out
}

// scope is the control group of a container, for whose ID its name stands.
func scope(name string) string {
	return fmt.Sprintf("/system.slice/docker-%x.scope", sha256.Sum256([]byte(name)))
}

// measures returns a series of cAdvisor: of a control group, with no word of whose that is.
func measures(metric, name string, more ...string) string {
	labels := target("cadvisor", 8080, append(more, "id", scope(name))...)
	delete(labels, "service")
	delete(labels, "layer")
	return labelled(metric, labels)
}

// isContainer returns the series in which the machine says whose that is.
func isContainer(name string) string {
	return labelled("homelab_container_info", machine("service", name, "layer", "test", "id", scope(name)))
}

// targetDown looks at what is scraped.
func targetDown(a ruleAlert) []ruleCase {
	labels := target(jobOf.FindStringSubmatch(a.Expr)[1], 1)
	up := labelled("up", labels)
	return []ruleCase{{firing: map[string]string{up: always(0)}, quiet: map[string]string{up: always(1)}, at: 15 * time.Minute, labels: kept(labels)}}
}

// application is a case of a series that the wiring has of an application. kind is a label, its
// value that counts, and one that does not; none of another application counts.
func application(metric string, wrong, well int, kind ...string) func(ruleAlert) []ruleCase {
	return func(a ruleAlert) []ruleCase {
		app := appOf.FindStringSubmatch(a.Expr)[1]
		series := func(app string, kind ...string) string { return labelled(metric, wires(app, kind...)) }
		counts := kind[:min(2, len(kind))]
		quiet := []map[string]string{{series(app, counts...): always(well)}, {series("other", counts...): always(wrong)}, {labelled("up", wires(app)): always(0)}}
		if len(kind) > 2 {
			quiet = append(quiet, map[string]string{series(app, kind[0], kind[2]): always(wrong)})
		}
		firing := map[string]string{series(app, counts...): always(wrong)}
		summary := strings.Replace(a.Annotations["summary"], "{{ $value }}", strconv.Itoa(wrong), 1)
		return pair(2*time.Hour, kept(wires(app, counts...)), summary, firing, quiet...)(a)
	}
}

// indexers are those that the wiring cannot set up, and those that Prowlarr no longer asks.
func indexers(warnings, failing int) map[string]string {
	return map[string]string{
		labelled("homelab_wire_warnings", wires("prowlarr")):                    always(warnings),
		labelled("homelab_app_indexers", wires("prowlarr", "state", "failing")): always(failing),
		labelled("homelab_app_indexers", wires("prowlarr", "state", "enabled")): always(9),
	}
}

func serviceErrors(a ruleAlert) []ruleCase {
	name := hostnameOf.FindStringSubmatch(a.Expr)[1]
	return []ruleCase{
		{firing: requests(name, 90, 10), quiet: requests(name, 98, 2), at: 20 * time.Minute},
		{firing: requests(name, 90, 10), quiet: requests(name, 1, 0.5), at: 20 * time.Minute},
		{firing: requests(name, 90, 10), quiet: requests("other.example.com", 0, 100), at: 20 * time.Minute},
	}
}

func serviceSlow(a ruleAlert) []ruleCase {
	name := hostnameOf.FindStringSubmatch(a.Expr)[1]
	return []ruleCase{
		{firing: firstBytes(name, 10, 3), quiet: firstBytes(name, 100, 5), at: 30 * time.Minute},
		{firing: firstBytes(name, 10, 3), quiet: firstBytes(name, 1, 1), at: 30 * time.Minute},
	}
}

func serviceRestarts(a ruleAlert) []ruleCase {
	counted := labelled("homelab_container_restarts_total", machine("service", a.Labels["service"]))
	return []ruleCase{{
		firing: map[string]string{counted: "0x10 1x10 2x10 3x3000"}, quiet: map[string]string{counted: "0x10 1x3000"},
		at: 50 * time.Minute, labels: kept(machine()),
	}}
}

// pair is a case of series that fire, and of each of several that do not.
func pair(at time.Duration, labels map[string]string, summary string, firing map[string]string, quiet ...map[string]string) func(ruleAlert) []ruleCase {
	return func(ruleAlert) []ruleCase {
		var out []ruleCase
		for _, q := range quiet {
			out = append(out, ruleCase{firing: firing, quiet: q, at: at, labels: labels, summary: summary})
		}
		return out
	}
}

// The series of alerts that look at more than one.
func decisions(origin, values string) map[string]string {
	return map[string]string{labelled("cs_active_decisions", target("crowdsec", 6060, "origin", origin, "action", "ban")): values}
}

func ports(forwarded, listening int) map[string]string {
	return map[string]string{
		labelled("homelab_vpn_forwarded_port", machine()): always(forwarded), labelled("homelab_torrent_listening_port", machine()): always(listening),
	}
}

func clock(status, maxError int) map[string]string {
	return map[string]string{
		labelled("node_timex_sync_status", machine()): always(status), labelled("node_timex_maxerror_seconds", machine()): always(maxError),
	}
}

func memory(available int) map[string]string {
	return map[string]string{
		labelled("node_memory_MemAvailable_bytes", machine()): always(available), labelled("node_memory_MemTotal_bytes", machine()): always(1000),
	}
}

func storage(used, limit int) map[string]string {
	labels := target("prometheus", 9090)
	return map[string]string{
		labelled("prometheus_tsdb_storage_blocks_bytes", labels): always(used), labelled("prometheus_tsdb_retention_limit_bytes", labels): always(limit),
	}
}
