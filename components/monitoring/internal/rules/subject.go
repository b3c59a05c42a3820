package rules

import (
	"fmt"
	"time"

	"homelab/components/internal/watch"
)

// What a request must have met to be counted: the listeners that people reach. The proxy's others
// answer its own health check and Prometheus.
const listeners = "~public|tailnet"

// answers is the histogram of our proxy's module of how long answers take to begin, by listener,
// site and class of the status (images/caddy/guard/measure.go).
const answers = "homelab_guard_response_duration_seconds"

// The limits of what a service may do before somebody is told.
const (
	// restartsPerHour is how often a container may start again within an hour.
	restartsPerHour = 3
	// slowSeconds is how long nine of ten answers may take to begin.
	slowSeconds = 5
	// errorShare is the part of a service's answers that may be errors of the server.
	errorShare = 0.05
	// fewRequests is below how many requests nothing is concluded from them.
	fewRequests = 20
	// settled is how long something that is over may still show: in what is looked at over ten minutes,
	// and in an alert that outlasts that. An alert that says it for such others goes on for so long.
	settled = 13 * time.Minute
	// restarted is how long what waited for something may take to be healthy once that is back.
	restarted = 5 * time.Minute
)

// subject returns a subject's own alerts.
func subject(s watch.Subject) []Alert {
	out := []Alert{down(s), restarts(s), memory(s)}
	if s.Scraped() {
		out = append(out, target(s))
	}
	if s.Exporter != "" {
		out = append(out, measured(s)...)
	}
	if s.Hostname != "" {
		out = append(out, slow(s), failing(s))
	}
	return out
}

// about fills in what all of a subject's alerts have in common.
func about(s watch.Subject, a Alert) Alert {
	a.Service, a.Layer = s.Name, s.Layer
	if a.Labels == nil {
		a.Labels = map[string]string{}
	}
	if s.Library {
		a.Labels[LibraryLabel] = "true"
	}
	if s.Behind != "" {
		a.Labels[BehindLabel] = s.Behind
	}
	return a
}

// down is about a container that does not run or is not healthy. A container that was removed has
// no series, while the machine still reports.
func down(s watch.Subject) Alert {
	healthy, running := series("homelab_container_healthy", "service", s.Name), series("homelab_container_running", "service", s.Name)
	a := about(s, Alert{
		Name: ServiceDown, Severity: Critical, For: 3 * time.Minute, KeepFiring: settled,
		Expr:    fmt.Sprintf("min(%s) == 0 or min(%s) == 0 or %s", running, healthy, missing(running)),
		Summary: fmt.Sprintf("%s is down", s.Title),
		Description: fmt.Sprintf("The container %[1]s does not run, or fails its health check. On the server, `docker ps -a` says which, `docker logs --tail 50 %[1]s` "+
			"why, and `systemctl status homelab-containers` what it waits for.", s.Name),
	})
	if s.Layer == watch.Monitoring {
		a.Severity = Warning
	}
	return a
}

// restarts is about a container that ends again and again.
func restarts(s watch.Subject) Alert {
	return about(s, Alert{
		Name: "ServiceRestarts", Severity: Warning,
		Expr:    fmt.Sprintf("increase(%s[1h]) >= %d", series("homelab_container_restarts_total", "service", s.Name), restartsPerHour),
		Summary: fmt.Sprintf("%s restarts again and again", s.Title),
		Description: fmt.Sprintf("The container %[1]s has ended at least %[2]d times within an hour. `docker logs %[1]s` shows how it ends; "+
			"`docker inspect %[1]s` says whether it ran out of memory (OOMKilled).", s.Name, restartsPerHour),
	})
}

// memory is about a container that is close to its limit. The working set is what cannot be given
// back; at the limit the kernel ends a process.
func memory(s watch.Subject) Alert {
	remedy := "Give it more memory in the settings, or find out what it does."
	if s.Hostname == "" || s.Layer == watch.Gateway {
		remedy = "The limit is this program's own, and no setting changes it: restart the container if it has to go on, and report that the limit is too low."
	}
	return about(s, Alert{
		Name: "ServiceMemory", Severity: Warning, For: 15 * time.Minute,
		Expr:    fmt.Sprintf("%s > %g * %d * 1024 * 1024", series(ContainerMemory, "service", s.Name), MemoryShare, s.MemoryMiB),
		Summary: fmt.Sprintf("%s needs nearly all of its memory", s.Title),
		Description: fmt.Sprintf("The container %s uses more than %.0f %% of its limit of %d MiB. At the limit the kernel ends it. %s",
			s.Name, 100*MemoryShare, s.MemoryMiB, remedy),
	})
}

// target is about metrics that cannot be fetched.
func target(s watch.Subject) Alert {
	return about(s, Alert{
		Name: TargetDown, Severity: Warning, For: 10 * time.Minute,
		Expr:    series("up", "job", s.Name) + " == 0",
		Summary: fmt.Sprintf("Nothing is measured of %s", s.Title),
		Description: fmt.Sprintf("Prometheus cannot fetch %s%s, so alerts about %s cannot fire. "+
			"`docker exec prometheus wget -qO- 'http://127.0.0.1:9090/api/v1/targets?state=active'` gives the reason as lastError; the packet filter drops what is no declared edge.", s.Address(), s.Target.Path, s.Name),
	})
}

// slow is about answers that take long to begin. What counts is the time to the first byte: a film
// is sent for hours.
func slow(s watch.Subject) Alert {
	by := []string{"hostname", s.Hostname, "server", listeners}
	return about(s, Alert{
		Name: ServiceSlow, Severity: Warning, For: 10 * time.Minute,
		Expr: fmt.Sprintf("histogram_quantile(0.9, sum by (le) (rate(%s[10m]))) > %d and on() sum(increase(%s[10m])) > %d",
			series(answers+"_bucket", by...), slowSeconds,
			series(answers+"_count", by...), fewRequests),
		Summary: fmt.Sprintf("%s answers slowly", s.Title),
		Description: fmt.Sprintf("One of ten answers of https://%s takes more than %d seconds to begin, as the proxy sees it. "+
			"The dashboards show whether the machine is busy, or only %s.", s.Hostname, slowSeconds, s.Name),
	})
}

// failing is about answers that are errors of the server.
func failing(s watch.Subject) Alert {
	by := []string{"hostname", s.Hostname, "server", listeners}
	all := series(answers+"_count", by...)
	failed := series(answers+"_count", append(by, "code", "5xx")...)
	return about(s, Alert{
		Name: ServiceErrors, Severity: Warning, For: 5 * time.Minute,
		Expr: fmt.Sprintf("sum(rate(%[1]s[10m])) / sum(rate(%[2]s[10m])) > %[3]g and on() sum(increase(%[2]s[10m])) > %[4]d",
			failed, all, errorShare, fewRequests),
		Summary: fmt.Sprintf("%s answers with errors", s.Title),
		Description: fmt.Sprintf("More than %.0f %% of the answers of https://%[2]s are errors of the server (5xx). `docker logs %[3]s` and the proxy's access log say more.",
			100*errorShare, s.Hostname, s.Name),
	})
}
