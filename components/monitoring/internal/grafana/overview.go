package grafana

import (
	"homelab/components/internal/watch"
	"homelab/components/monitoring/internal/rules"
)

// Durations, in seconds.
const (
	hour = 3600.0
	day  = 24 * hour
)

// aged is how a time that has passed is shown: in a colour from a limit on.
func aged(limit float64, colour string) look {
	return look{unit: seconds, steps: []step{{nil, green}, {ptr(limit), colour}}, none: "never"}
}

// remaining is how a time is shown that must not run out, by limits in days.
func remaining(critical, warning float64, none string) look {
	return look{unit: seconds, steps: falling(critical*day, warning*day), none: none}
}

// counted is how a number of bad things is shown.
func counted() look { return look{unit: short, steps: zero(), none: "0"} }

// free is how the free part of a file system is shown. All have the limits of the machine's disk.
func free() look {
	return look{unit: fraction, steps: falling(rules.FreeCritical/100.0, rules.FreeWarning/100.0)}
}

func backupAge() panel {
	return stat("Last backup", "Time since the last backup that succeeded.", aged(rules.BackupHours*hour, red), query{since("homelab_backup_last_success_timestamp_seconds"), ""})
}

func drillAge() panel {
	return stat("Last restore drill", "Time since a backup was last restored and compared, as a test.", aged(rules.DrillDays*day, yellow), query{since("homelab_drill_last_success_timestamp_seconds"), ""})
}

func failedResult(title, description, metric string) panel {
	return stat(title, description, look{words: yesNo("failed", "succeeded", 0), steps: plain(), none: "unknown"}, query{metric, ""})
}

func freeSpace() panel {
	each := free()
	each.byName = true
	return stat("Free space", "The free part of each file system.", each,
		query{"homelab_filesystem_avail_bytes / homelab_filesystem_size_bytes", "{{mount}}"})
}

// overview answers at a glance: is everything well?
func overview(m watch.Model) dashboard {
	b := newBoard(overviewUID, "Overview", "Is everything well?", "now-6h")
	b.row("Now")
	b.add(4, 4,
		stat("Open alerts", "Alerts that fire. Alertmanager tells people of them.", counted(),
			query{orZero(`count(ALERTS{alertstate="firing",severity=~"critical|warning"})`), ""}),
		stat("Targets down", "Programs whose metrics cannot be fetched.", counted(), query{orZero("count(up == 0)"), ""}),
		stat("Unhealthy containers", "Containers that do not run, or fail their health check.", counted(),
			query{orZero("count(homelab_container_healthy == 0)"), ""}),
		backupAge(),
		stat("Certificates", "Until the first certificate that visitors see ends.", remaining(rules.CertificateCritical, rules.CertificateWarning, "unknown"),
			query{"min(" + until("probe_ssl_earliest_cert_expiry") + ")", ""}),
		stat("Measured", "Time since the machine last wrote its own numbers.", aged(rules.SilentSeconds, red), query{since("homelab_metrics_last_run_timestamp_seconds"), ""}),
	)
	b.add(8, 4, freeSpace())
	b.add(4, 4, mediaMounted(), tailnetConnected())
	if len(m.Of(watch.VPN)) > 0 {
		b.add(4, 4, vpnUp())
	}
	b.add(4, 4, updates(),
		stat("Not measured", "Parts of the machine that its own program could not measure.", counted(), query{orZero("count(homelab_metrics_part_failed == 1)"), ""}))
	b.add(24, 8, table("Alerts", "Alerts that fire, or will if it stays like this.", look{}, `ALERTS{severity=~"critical|warning"}`, "Since",
		"alertname", "Alert", "severity", "Severity", "alertstate", "State", "service", "Service", "layer", "Layer"))
	b.row("Containers")
	b.add(24, 14, timeline("Health", "When each container was healthy.", yesNo("healthy", "unhealthy", 1),
		query{"min by (service) (homelab_container_healthy)", "{{service}}"}))
	b.row("Traffic")
	b.add(12, 8,
		stacked("Requests", "Requests of people, by hostname.", perSecond,
			query{sum(rate(series(answers+"_count", visitors()...)), "hostname"), "{{hostname}}"}),
		graph("Network", "What the machine receives and sends.", bytesPerS,
			query{rate("homelab_network_receive_bytes_total"), "{{device}} in"}, query{rate("homelab_network_transmit_bytes_total"), "{{device}} out"}),
		graph("CPU", "The part of the processors in use.", fraction, query{cpuUsed, "used"}),
		graph("Memory", "The part of the memory in use.", fraction, query{memoryUsed, "used"}),
	)
	return b.dashboard
}

func mediaMounted() panel {
	return stat("Media library", "Whether the library is mounted.", look{words: yesNo("mounted", "missing", 1), steps: plain(), none: "unknown"},
		query{"homelab_media_mounted", ""})
}

func tailnetConnected() panel {
	return stat("Tailnet", "Whether the server is on the tailnet.", look{words: yesNo("connected", "disconnected", 1), steps: plain(), none: "unknown"},
		query{"homelab_tailnet_connected", ""})
}

func vpnUp() panel {
	return stat("VPN", "Whether the tunnel has a connection.", look{words: yesNo("up", "down", 1), steps: plain(), none: "unknown"}, query{"homelab_vpn_up", ""})
}

func updates() panel {
	return stat("Security updates", "Packages of the machine with a security update that is not installed.", counted(),
		query{series("homelab_packages_pending", "kind", "security"), ""})
}
