package rules

import (
	"fmt"
	"time"

	"homelab/components/internal/watch"
)

// says are the alerts about what an application says of itself, by the subject's name: only of
// those that say it. docs/wiring.md lists the series.
var says = map[string][]func(watch.Subject) Alert{
	"prowlarr": {reportsErrors},
	"radarr":   {reportsErrors, queueFails},
	"sonarr":   {reportsErrors, queueFails},
}

// measured is about a subject that another one measures. When that one is down, there are no series
// and no alerts.
func measured(s watch.Subject) []Alert {
	out := []Alert{notAnswering(s)}
	for _, of := range says[s.Name] {
		out = append(out, of(s))
	}
	return out
}

// notAnswering is about an application that does not answer although its container may be healthy.
func notAnswering(s watch.Subject) Alert {
	return about(s, Alert{
		Name: ServiceNotAnswering, Severity: Warning, For: 10 * time.Minute,
		Expr:    series("homelab_app_up", "app", s.Name) + " == 0",
		Summary: fmt.Sprintf("%s does not answer", s.Title),
		Description: fmt.Sprintf("%[1]s asks it every minute, and gets no answer, an error, or is refused. `docker logs %[1]s` says which. "+
			"A key or password that is refused was changed in the application: deploy again, or put its folder and the setting back from the same backup.", s.Exporter),
	})
}

// reportsErrors is about what the application itself finds wrong.
func reportsErrors(s watch.Subject) Alert {
	return about(s, Alert{
		Name: ServiceReportsErrors, Severity: Warning, For: time.Hour,
		Expr:    series("homelab_app_health_issues", "app", s.Name, "type", "error") + " > 0",
		Summary: fmt.Sprintf("%s reports {{ $value }} errors of its own", s.Title),
		Description: "Its page *System*, *Status* lists them, each with a link to what to do. Usual ones are a folder or a download client that it cannot reach, " +
			"and that no indexer works.",
	})
}

// queueFails is about downloads that need somebody.
func queueFails(s watch.Subject) Alert {
	return about(s, Alert{
		Name: QueueFails, Severity: Warning, For: time.Hour,
		Expr:    series("homelab_app_queue", "app", s.Name, "state", "errors") + " > 0",
		Summary: fmt.Sprintf("{{ $value }} downloads of %s have failed", s.Title),
		Description: "Its page *Activity*, *Queue* says of each what is wrong. Usual ones are a torrent whose files are gone, and a file that cannot be imported. " +
			"Removing it there with a search for another release gets the next one.",
	})
}
