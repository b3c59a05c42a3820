//go:build chain

package config

import "time"

// certificate is a target of the job that measures certificates.
func certificate() map[string]string {
	return map[string]string{
		"job": "certificates", "instance": "radarr.example.com", "hostname": "radarr.example.com", "host": "homelab", "service": "radarr", "layer": "service",
	}
}

// wires is a series of the program that connects the services.
func wires(app string, more ...string) map[string]string {
	return target("wire", 9797, append([]string{"app", app}, more...)...)
}

const (
	soon = 10 * time.Minute
	late = 40 * time.Minute
	hour = time.Hour
)

// failed is a unit of the machine that has failed.
func failed(unit string) map[string]string {
	return map[string]string{labelled("homelab_unit_failed", machine("unit", unit)): always(1)}
}

// drops is what the packet filter drops of a pair.
func drops(from, to string) map[string]string {
	return map[string]string{labelled("homelab_filter_dropped_packets_total", machine("from", from, "to", to)): grows(10)}
}

// burst is what the packet filter drops of many packets to Prometheus, as values of a series.
func burst(from, values string) map[string]string {
	return map[string]string{labelled("homelab_filter_dropped_packets_total", machine("from", from, "to", "prometheus")): values}
}

// ruleCases are what each alert is tried with: by its name, or by name and severity.
var ruleCases = map[string]func(ruleAlert) []ruleCase{
	"ServiceDown":     serviceDown,
	"ServiceRestarts": serviceRestarts,
	"ServiceMemory":   serviceMemory,
	"TargetDown":      targetDown,
	"ServiceSlow":     serviceSlow,
	"ServiceErrors":   serviceErrors,

	"ServiceNotAnswering":  application("homelab_app_up", 0, 1),
	"ServiceReportsErrors": application("homelab_app_health_issues", 2, 0, "type", "error", "warning"),
	"QueueFails":           application("homelab_app_queue", 2, 0, "state", "errors", "total"),

	"Watchdog": func(ruleAlert) []ruleCase { return []ruleCase{{at: soon}} },
	"ProxyErrors": pair(20*time.Minute, nil, "", requests("a.example.com", 50, 50),
		requests("a.example.com", 90, 10), requests("a.example.com", 1, 1)),
	"ProxyReloadFailed": gauge("caddy_config_last_reload_successful", target("caddy", 9180), 0, 1, soon, ""),
	"BouncerNotPulling": func(ruleAlert) []ruleCase {
		pull := labelled("homelab_guard_last_pull_timestamp_seconds", target("caddy", 9180))
		return []ruleCase{{
			firing: map[string]string{pull: always(0)}, quiet: map[string]string{pull: grows(60)}, at: soon, labels: kept(target("caddy", 9180)),
		}}
	},
	"AppSecNoVerdict": several(
		counter("homelab_guard_inspections_total", target("caddy", 9180, "verdict", "none"), 3, 0.5, soon, ""),
		pair(soon, nil, "", map[string]string{labelled("homelab_guard_inspections_total", target("caddy", 9180, "verdict", "none")): grows(3)},
			map[string]string{labelled("homelab_guard_inspections_total", target("caddy", 9180, "verdict", "pass")): grows(1000)})),
	"AppSecBlocksSpike": counter("homelab_guard_inspections_total", target("caddy", 9180, "verdict", "block"), 10, 2, late, ""),
	"DecisionsSpike": several(
		pair(90*time.Minute, nil, "", decisions("crowdsec", "0x70 100x3000"), decisions("CAPI", "0x70 5000x3000"), decisions("crowdsec", "100x3000")),
		pair(90*time.Minute, nil, "", decisions("crowdsec", "_x70 100x3000"), decisions("crowdsec", "_x70 20x3000"))),
	"LoginsFail":         counter("authelia_authn_duration_count", target("authelia", 9959, "success", "false"), 2, 1, late, ""),
	"Fail2banNotRunning": gone("homelab_fail2ban_banned", machine("jail", "sshd"), 20*time.Minute),
	"Fail2banBansSpike": pair(90*time.Minute, kept(machine("jail", "sshd")), "Fail2ban bans many addresses in the jail sshd",
		map[string]string{labelled("homelab_fail2ban_banned", machine("jail", "sshd")): "0x70 30x3000"},
		map[string]string{labelled("homelab_fail2ban_banned", machine("jail", "sshd")): "10x70 20x3000"}),

	"CertificateExpires warning":  expires("probe_ssl_earliest_cert_expiry", certificate(), 5, 30, "The certificate of radarr.example.com expires in 5 days"),
	"CertificateExpires critical": expires("probe_ssl_earliest_cert_expiry", certificate(), 2, 30, "The certificate of radarr.example.com expires in 2 days", "warning"),
	"CertificateInvalid":          gauge("probe_success", certificate(), 0, 1, 20*time.Minute, "The proxy shows no valid certificate for radarr.example.com"),
	"OriginPullCertificateExpires warning": expires("homelab_origin_pull_certificate_expiry_timestamp_seconds", machine(), 20, 60,
		"Cloudflare's client certificate expires in 20 days"),
	"OriginPullCertificateExpires critical": expires("homelab_origin_pull_certificate_expiry_timestamp_seconds", machine(), 5, 60,
		"Cloudflare's client certificate expires in 5 days", "warning"),

	"FilterDropsMany": several(
		pair(late, map[string]string{"from": "radarr"}, "radarr tries many connections that nobody declared", burst("radarr", "_x35 5000x30"),
			burst("radarr", "_x35 20x30"), burst("radarr", "5000x80")),
		pair(late, map[string]string{"from": "radarr"}, "radarr tries many connections that nobody declared", burst("radarr", "10x35 5000x30"),
			burst("radarr", "10x35 90x30")),
	),
	"FilterDrops": several(
		counter("homelab_filter_dropped_packets_total", machine("from", "radarr", "to", "203.0.113.7"), 2, 1, late,
			"The packet filter drops what radarr sends to 203.0.113.7", "from", "to"),
		pair(late, map[string]string{"from": "radarr", "to": "jellyfin"}, "The packet filter drops what radarr sends to jellyfin", drops("radarr", "jellyfin"),
			drops("jellyfin", "239.255.255.250"), drops("jellyfin", "172.30.1.255"))),
	"TailnetDisconnected":        gauge("homelab_tailnet_connected", machine(), 0, 1, soon, ""),
	"TailnetKeyExpires warning":  expires("homelab_tailnet_key_expiry_timestamp_seconds", machine(), 10, 60, "The server's key for the tailnet expires in 10 days"),
	"TailnetKeyExpires critical": expires("homelab_tailnet_key_expiry_timestamp_seconds", machine(), 2, 60, "The server's key for the tailnet expires in 2 days", "warning"),

	"BackupTooOld":  gauge("homelab_backup_last_success_timestamp_seconds", machine(), 0, 36000, 37*hour, "The newest backup is 1d 13h 0m 0s old"),
	"BackupMissing": gone("homelab_backup_last_success_timestamp_seconds", machine(), 40*hour),
	"BackupFailed":  gauge("homelab_backup_failed", machine(), 1, 0, soon, ""),
	"DrillFailed":   gauge("homelab_drill_failed", machine(), 1, 0, soon, ""),
	"DrillTooOld":   gauge("homelab_drill_last_success_timestamp_seconds", machine(), 0, 10*86400, 36*24*hour, "No restore was tried for 36d 0h 0m 0s"),

	"MediaMissing":            gauge("homelab_media_mounted", machine(), 0, 1, soon, ""),
	"MediaNearlyFull":         free("media", 5, 20, 2*hour, "5 % of the media library's Storage Box are free"),
	"DiskNearlyFull warning":  free("/", 8, 20, late, "8 % of the server's disk are free"),
	"DiskNearlyFull critical": free("/", 3, 20, late, "3 % of the server's disk are free", "warning"),
	"DownloadsNearlyFull":     free("downloads", 5, 20, late, "5 % of the downloads' disk are free"),

	"VPNDown":    gauge("homelab_vpn_up", machine(), 0, 1, soon, ""),
	"VPNLeaking": gauge("homelab_vpn_leaking", machine(), 1, 0, soon, ""),
	"ForwardedPortDiffers": pair(20*time.Minute, kept(machine()), "", ports(5000, 6881),
		ports(5000, 5000), ports(0, 6881)),

	// It is about the application, whose container may be down.
	"WiringFailed": pair(late, map[string]string{"job": "wire", "instance": "wire:9797", "host": "homelab", "app": "radarr", "service": "radarr"},
		"radarr cannot be connected with the other services",
		map[string]string{labelled("homelab_wire_up", wires("radarr")): always(0)}, map[string]string{labelled("homelab_wire_up", wires("radarr")): always(1)}),
	"WiringDrift": gauge("homelab_wire_drift", wires("radarr"), 2, 0, late, "2 settings of radarr were changed by hand"),
	"IndexersFail": several(
		// The same indexers in both: one message.
		pair(8*hour, map[string]string{"app": "prowlarr"}, "3 indexers of prowlarr do not work", indexers(3, 2), indexers(0, 0)),
		pair(8*hour, map[string]string{"app": "prowlarr"}, "2 indexers of prowlarr do not work", indexers(0, 2), indexers(0, 0)),
	),

	"MachineSilent": several(
		func(ruleAlert) []ruleCase {
			run := labelled("homelab_metrics_last_run_timestamp_seconds", machine())
			return []ruleCase{{firing: map[string]string{run: always(0)}, quiet: map[string]string{run: grows(60)}, at: late, labels: kept(machine())}}
		},
		gauge("node_textfile_scrape_error", machine(), 1, 0, soon, ""),
		pair(soon, nil, "", map[string]string{labelled("up", machine()): always(1)}, map[string]string{labelled("up", machine()): always(0)}),
	),
	"MachinePartUnknown": gauge("homelab_metrics_part_failed", machine("part", "media"), 1, 0, late, "The machine cannot say how this is: media"),
	"UnitFailed": several(
		gauge("homelab_unit_failed", machine("unit", "apt-daily.service"), 1, 0, soon, "The unit apt-daily.service has failed"),
		// What has an alert of its own is told once.
		pair(soon, kept(machine("unit", "docker.service")), "The unit docker.service has failed", failed("docker.service"),
			failed("homelab-backup.service"), failed("homelab-restore-drill.service"), failed("homelab-media.service")),
	),
	"RebootPending":          gauge("homelab_reboot_required", machine(), 1, 0, 74*hour, ""),
	"SecurityUpdatesPending": gauge("homelab_packages_pending", machine("kind", "security"), 3, 0, 50*hour, "3 security updates are not installed"),
	"ClockNotSynchronised": pair(20*time.Minute, kept(machine()), "", clock(0, 16),
		clock(1, 16), clock(0, 1)),
	"MemoryNearlyFull": pair(20*time.Minute, kept(machine()), "5 % of the server's memory are available", memory(50), memory(500)),
	"OutOfMemory": pair(20*time.Minute, kept(machine()), "", map[string]string{labelled("node_vmstat_oom_kill", machine()): "0x10 1x3000"},
		map[string]string{labelled("node_vmstat_oom_kill", machine()): always(3)}),

	"PrometheusReloadFailed": gauge("prometheus_config_last_reload_successful", target("prometheus", 9090), 0, 1, soon, ""),
	"RuleEvaluationFails": counter("prometheus_rule_evaluation_failures_total", target("prometheus", 9090, "rule_group", "chain.yml;chain"), 1, 0, late,
		"Alerts of chain.yml;chain cannot be evaluated", "rule_group"),
	"NotificationsNotSent": several(
		counter("prometheus_notifications_errors_total", target("prometheus", 9090, "alertmanager", "http://alertmanager:9093"), 1, 0, late, ""),
		counter("prometheus_notifications_dropped_total", target("prometheus", 9090), 1, 0, late, ""),
		pair(late, nil, "", map[string]string{labelled("prometheus_notifications_alertmanagers_discovered", target("prometheus", 9090)): always(0)},
			map[string]string{labelled("prometheus_notifications_alertmanagers_discovered", target("prometheus", 9090)): always(1)}),
	),
	"MetricsStorageFull": pair(7*hour, kept(target("prometheus", 9090)), "", storage(98, 100),
		storage(50, 100), storage(50, 0)),

	"ContainersNotMeasured": containersNotMeasured,

	"DeliveryFails": counter("alertmanager_notifications_failed_total", target("alertmanager", 9093, "integration", "webhook", "reason", "clientError"), 1, 0, late,
		"Alertmanager cannot deliver messages by webhook", "integration"),
	"AlertmanagerReloadFailed": gauge("alertmanager_config_last_reload_successful", target("alertmanager", 9093), 0, 1, soon, ""),

	"LogsNotStored": several(
		counter("loki_request_duration_seconds_count", target("loki", 3100, "route", "loki_api_v1_push", "status_code", "500"), 3, 0.1, late, ""),
		pair(late, nil, "", map[string]string{labelled("loki_request_duration_seconds_count", target("loki", 3100, "route", "loki_api_v1_push", "status_code", "503")): grows(3)},
			map[string]string{labelled("loki_request_duration_seconds_count", target("loki", 3100, "route", "loki_api_v1_push", "status_code", "204")): grows(100)}),
		counter("loki_ingester_wal_disk_full_failures_total", target("loki", 3100), 1, 0, late, ""),
	),
	"LogsRejected": counter("loki_discarded_samples_total", target("loki", 3100, "reason", "rate_limited", "tenant", "fake"), 100, 10, late,
		"Loki rejects log lines: rate_limited", "reason"),
	"LogsSilent":    silent("loki_distributor_lines_received_total", target("loki", 3100, "tenant", "fake"), hour),
	"JournalSilent": silent("loki_source_journal_target_lines_total", target("alloy", 12345), hour),
}
