package rules

import (
	"fmt"
	"slices"
	"time"

	"homelab/components/internal/watch"
)

// wire is the container that connects the services with each other.
const wire = "wire"

// tunnel is about the VPN.
func tunnel(m watch.Model) []Alert {
	tunnels := m.Of(watch.VPN)
	if len(tunnels) == 0 {
		return nil
	}
	out := []Alert{{
		Name: VPNDown, Severity: Critical, For: 2 * time.Minute, KeepFiring: restarted + settled,
		Expr:    "homelab_vpn_up == 0",
		Summary: "The VPN has no connection",
		Description: fmt.Sprintf("What is behind it has no network until it is back, and leaks nothing. `docker logs %s` says whether the server does not answer "+
			"or refuses the key. If the provider took the server away, name another one in the settings.", tunnels[0].Name),
	}, {
		Name: VPNLeaking, Severity: Critical, For: time.Minute,
		Expr:    "homelab_vpn_leaking == 1",
		Summary: "The VPN shows the server's own address",
		Description: fmt.Sprintf("What is behind the VPN is seen with the address of the server. Stop it now, and look for the cause afterwards: "+
			"`docker stop %s`.", behind(m, tunnels[0].Name)),
	}, {
		Name: "ForwardedPortDiffers", Severity: Warning, For: 10 * time.Minute,
		Expr:    "homelab_vpn_forwarded_port > 0 and homelab_vpn_forwarded_port != homelab_torrent_listening_port",
		Summary: "The torrent client does not listen on the port that the VPN forwards",
		Description: "Nobody can connect to the torrent client from outside, so it is slow and shares little. The wiring sets the port when it changes: " +
			"see whether `wire` is healthy. It may be set by hand in the torrent client's settings.",
	}}
	for i := range out {
		out[i].Service, out[i].Layer = tunnels[0].Name, watch.VPN
	}
	return out
}

// behind returns the names of what is behind a tunnel, and the tunnel's own.
func behind(m watch.Model, name string) string {
	var out string
	for _, s := range m.Subjects {
		if s.Behind == name {
			out += s.Name + " "
		}
	}
	return out + name
}

// wiring is about what connects the services with each other.
func wiring(m watch.Model) []Alert {
	if !m.Has(wire) {
		return nil
	}
	out := []Alert{{
		// An application that is down cannot be connected either.
		Name: WiringFailed, Severity: Warning, For: 30 * time.Minute, ServiceLabel: "app",
		Expr:    "homelab_wire_up == 0",
		Summary: "{{ $labels.app }} cannot be connected with the other services",
		Description: "`docker logs wire` says what its API answered. Until that is gone, requests and downloads may stop half way. " +
			"After an update of the app, its API may have changed.",
	}, {
		Name: "WiringDrift", Severity: Warning, For: 15 * time.Minute,
		Expr:        "homelab_wire_drift > 0",
		Summary:     "{{ $value }} settings of {{ $labels.app }} were changed by hand",
		Description: "They differ from what the deployment set. `docker logs wire` lists them. Put them back in the app, or let the deployment own them in the settings.",
	}, {
		Name: "IndexersFail", Severity: Warning, For: 6 * time.Hour,
		// The wiring finds it when it sets an indexer up, Prowlarr when it searches with one.
		Expr:        "max by (app) (homelab_wire_warnings or " + series("homelab_app_indexers", "state", "failing") + ") > 0",
		Summary:     "{{ $value }} indexers of {{ $labels.app }} do not work",
		Description: "Searches miss what only these have. `docker logs wire` or Prowlarr's page of indexers names them; a site that is gone for good is best removed from the settings.",
	}}
	for i := range out {
		out[i].Service, out[i].Layer = wire, watch.Service
	}
	return out
}

// measuring fills in that an alert is about a container of the monitoring.
func measuring(service string, alerts ...Alert) []Alert {
	for i := range alerts {
		alerts[i].Service, alerts[i].Layer = service, watch.Monitoring
	}
	return alerts
}

// metrics is about Prometheus.
func metrics(m watch.Model) []Alert {
	if !m.Has("prometheus") {
		return nil
	}
	return measuring("prometheus", Alert{
		Name: "PrometheusReloadFailed", Severity: Critical, For: 5 * time.Minute,
		Expr:        "prometheus_config_last_reload_successful == 0",
		Summary:     "Prometheus refused its new configuration",
		Description: "It still runs with the old one: what the last deployment changed is not measured, and no alert fires for it. `docker logs prometheus` has the reason.",
	}, Alert{
		Name: "RuleEvaluationFails", Severity: Critical,
		Expr:        "sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total[15m])) > 0",
		Summary:     "Alerts of {{ $labels.rule_group }} cannot be evaluated",
		Description: "These alerts cannot fire. `docker logs prometheus` names the rule and the reason; two series where one is expected are the usual one.",
	}, Alert{
		Name: "NotificationsNotSent", Severity: Critical, For: 5 * time.Minute,
		Expr: "sum(increase(prometheus_notifications_errors_total[10m])) > 0 or sum(increase(prometheus_notifications_dropped_total[10m])) > 0 or " +
			"max(prometheus_notifications_alertmanagers_discovered) == 0",
		Summary:     "Prometheus cannot hand alerts to Alertmanager",
		Description: "Alerts may not reach you: do not rely on silence. See whether alertmanager runs; `docker logs prometheus` says what it answered.",
	}, Alert{
		Name: "MetricsStorageFull", Severity: Warning, For: 6 * time.Hour,
		Expr:        "prometheus_tsdb_storage_blocks_bytes > 0.95 * prometheus_tsdb_retention_limit_bytes and prometheus_tsdb_retention_limit_bytes > 0",
		Summary:     "Metrics are kept for fewer days than they should be",
		Description: "What is stored has reached the limit of its size, and the oldest is removed before its time. Give it more of the disk in the settings, or keep fewer days.",
	})
}

// notifications is about Alertmanager. What it cannot send one way it may still send another one.
func notifications(m watch.Model) []Alert {
	if !m.Has("alertmanager") {
		return nil
	}
	return measuring("alertmanager", Alert{
		Name: "DeliveryFails", Severity: Critical, For: 5 * time.Minute,
		Expr:    "sum by (integration) (increase(alertmanager_notifications_failed_total[15m])) > 0",
		Summary: "Alertmanager cannot deliver messages by {{ $labels.integration }}",
		Description: "The receiver refuses them or cannot be reached; the dead man's switch counts as a webhook. `docker logs alertmanager` says what it answered. " +
			"An expired token and a full mailbox are the usual causes.",
	}, Alert{
		Name: "AlertmanagerReloadFailed", Severity: Critical, For: 5 * time.Minute,
		Expr:        "alertmanager_config_last_reload_successful == 0",
		Summary:     "Alertmanager refused its new configuration",
		Description: "It still runs with the old one: a new receiver hears nothing. `docker logs alertmanager` has the reason.",
	})
}

// shippersSeries are, by log shipper, how many lines it read from the journal.
var shippersSeries = map[watch.Shipper]string{
	watch.Alloy:    "loki_source_journal_target_lines_total",
	watch.Promtail: "promtail_journal_target_lines_total",
}

// logs is about Loki and what sends to it. A shipper that may not read the journal says nothing,
// and sends nothing; so nothing is what is looked for. The machine writes several lines a minute.
func logs(m watch.Model) []Alert {
	shipper := string(m.Shipper)
	if !m.Has("loki") || !m.Has(shipper) {
		return nil
	}
	none := func(counter string) string {
		return fmt.Sprintf("sum(increase(%[1]s[30m])) == 0 or absent(%[1]s)", counter)
	}
	return slices.Concat(measuring("loki", Alert{
		Name: "LogsNotStored", Severity: Critical, For: 10 * time.Minute,
		Expr: `sum(increase(loki_request_duration_seconds_count{route="loki_api_v1_push",status_code=~"5.."}[10m])) > 5 or ` +
			"sum(increase(loki_ingester_wal_disk_full_failures_total[10m])) > 0",
		Summary:     "Loki cannot store log lines",
		Description: "The shipper keeps them for a while and tries again; after that they are lost. `docker logs loki` says why. A full disk is the usual cause.",
	}, Alert{
		Name: "LogsRejected", Severity: Warning, For: 15 * time.Minute,
		Expr:    "sum by (reason) (increase(loki_discarded_samples_total[15m])) > 1000",
		Summary: "Loki rejects log lines: {{ $labels.reason }}",
		Description: "rate_limited and per_stream_rate_limit mean that a program writes more than usual, and the logs in Grafana show which: the shipper sends the lines again later. " +
			"greater_than_max_sample_age and too_far_behind are lines that were sent again after a restart of the shipper, and no loss. " +
			"Lines that are rejected for any other reason are lost; `docker logs loki` may say more.",
	}), measuring(shipper, Alert{
		Name: "LogsSilent", Severity: Warning, For: 10 * time.Minute,
		Expr:        none("loki_distributor_lines_received_total"),
		Summary:     "No log lines arrive",
		Description: fmt.Sprintf("Loki has received nothing for half an hour. `docker logs %s` says whether it can reach Loki and Docker's API.", shipper),
	}, Alert{
		Name: "JournalSilent", Severity: Warning, For: 10 * time.Minute,
		Expr:    none(shippersSeries[m.Shipper]),
		Summary: "No lines of the machine's journal arrive",
		Description: "The shipper reads nothing, which it does without a word when there is nothing where it looks. See that /var/log/journal exists on the server " +
			"and is mounted into the shipper.",
	}))
}
