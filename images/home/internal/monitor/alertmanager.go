package monitor

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Severity is how bad an alert is.
type Severity string

// The severities. An alert without one, such as the heartbeat of the dead man's switch, is none
// for people.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
)

// Alert is something that Alertmanager has been told.
type Alert struct {
	// Name is the name of its rule.
	Name string
	// Service is the container that it is about, or "machine"; empty if it does not say.
	Service string
	// Severity is how bad it is. Other severities than those of this package are shown as they are.
	Severity Severity
	// Since is when it began.
	Since time.Time
	// Summary is one sentence about it.
	Summary string
	// Silenced means that somebody has said that he knows.
	Silenced bool
}

// questions are the parameters of the question: an alert that another one explains, or that was
// not yet looked at, is not shown.
func questions() url.Values {
	return url.Values{"active": {"true"}, "silenced": {"true"}, "inhibited": {"false"}, "unprocessed": {"false"}}
}

// askAlertmanager asks for the open alerts: the critical ones first, then the newest.
// https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
func (m *Monitor) askAlertmanager(ctx context.Context) ([]Alert, error) {
	var answer []struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    time.Time         `json:"startsAt"`
		Status      struct {
			State       string   `json:"state"`
			SilencedBy  []string `json:"silencedBy"`
			InhibitedBy []string `json:"inhibitedBy"`
			MutedBy     []string `json:"mutedBy"` // a time interval of the route
		} `json:"status"`
	}
	if err := m.ask(ctx, m.page.Alertmanager, "/api/v2/alerts", questions(), &answer); err != nil {
		return nil, err
	}
	if answer == nil {
		return nil, fmt.Errorf("asking for alerts: null: %w", errAnswer)
	}
	alerts := []Alert{}
	for _, a := range answer {
		if a.Status.State == "" || a.Labels["alertname"] == "" {
			return nil, fmt.Errorf("asking for alerts: one without state or name: %w", errAnswer)
		}
		severity := Severity(a.Labels["severity"])
		if severity == "" || severity == "none" {
			continue
		}
		alerts = append(alerts, Alert{
			Name: a.Labels["alertname"], Service: a.Labels["service"], Severity: severity, Since: a.StartsAt,
			Summary:  cmp.Or(a.Annotations["summary"], a.Annotations["description"]),
			Silenced: len(a.Status.SilencedBy) > 0 || len(a.Status.MutedBy) > 0,
		})
	}
	slices.SortStableFunc(alerts, func(a, b Alert) int {
		return cmp.Or(rank(a)-rank(b), b.Since.Compare(a.Since), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Service, b.Service))
	})
	return alerts, nil
}

func rank(a Alert) int {
	if a.Severity == Critical {
		return 0
	}
	return 1
}
