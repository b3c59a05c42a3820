package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"homelab/components/internal/watch"
)

// onMachine fills in that an alert is about the machine itself.
func onMachine(alerts ...Alert) []Alert {
	for i := range alerts {
		alerts[i].Service, alerts[i].Layer = watch.MachineName, watch.Machine
	}
	return alerts
}

const day = 24 * time.Hour

// pattern is a regular expression of exactly these names, in which only the point has a meaning.
func pattern(texts []string) string {
	return strings.ReplaceAll(strings.Join(texts, "|"), ".", `\.`)
}

// filter is about what the packet filter drops: a container that asks for what was not declared.
func filter() []Alert {
	// What is sent to everybody is no connection: programs look for others of their kind so.
	const dropped = "homelab_filter_dropped_packets_total{to!~`(22[4-9]|23[0-9]|255)\\..+|.+\\.255`}"
	return onMachine(Alert{
		// A pair that is new has no past that it could have increased from, and a burst is over before
		// anything that waits has waited.
		Name: "FilterDropsMany", Severity: Critical, KeepFiring: 15 * time.Minute,
		Expr:    fmt.Sprintf("sum by (from) (%[1]s) - (sum by (from) (%[1]s offset 15m) or sum by (from) (%[1]s) * 0) > 100", dropped),
		Summary: "{{ $labels.from }} tries many connections that nobody declared",
		Description: "The packet filter has dropped all of them. A program that looks around like this was taken over, or is broken. `docker logs` with its name says what it does; " +
			"stop it (`docker stop`) until that is known.",
	}, Alert{
		Name: "FilterDrops", Severity: Warning, For: 15 * time.Minute,
		Expr:    fmt.Sprintf("sum by (from, to) (increase(%s[15m])) > 20", dropped),
		Summary: "The packet filter drops what {{ $labels.from }} sends to {{ $labels.to }}",
		Description: "No declared edge allows this connection. If the program is to have it, name it in its definition. If not, it does what it should not: " +
			"find out why before anything else.",
	})
}

// tailnet is about the only way to the server.
func tailnet() []Alert {
	return onMachine(append([]Alert{{
		Name: "TailnetDisconnected", Severity: Critical, For: 5 * time.Minute,
		Expr:    "homelab_tailnet_connected == 0",
		Summary: "The server is not connected to the tailnet",
		Description: "Private services cannot be reached, nor the server itself. The tailnet's admin page says whether the node was removed or its key " +
			"has expired. If it does not come back, open the other way in: set homelab:server.breakGlass with your own address and a reason, and run `bin/homelab up`. " +
			"Then log in as `deploy` at the stack's output publicIpv4, with the key in its output recoveryKey; `tailscale status` says why it is away. " +
			"Hetzner's console is none, as nobody has a password.",
	}}, both(Alert{
		Name: "TailnetKeyExpires", For: time.Hour,
		Summary: "The server's key for the tailnet expires in {{ $value | printf \"%.0f\" }} days",
		Description: "After that day nobody reaches the server or a private service. Switch off the key's expiry on the machine's page of the tailnet's admin console, " +
			"or log the node in again.",
	}, func(days int) string { return daysLeft("homelab_tailnet_key_expiry_timestamp_seconds", days) }, TailnetKeyWarning, TailnetKeyCritical)...)...)
}

// backups is about the archives and whether they can be restored.
func backups() []Alert {
	const backup, drill = "homelab_backup_last_success_timestamp_seconds", "homelab_drill_last_success_timestamp_seconds"
	return onMachine(Alert{
		Name: "BackupTooOld", Severity: Critical,
		Expr:    fmt.Sprintf("time() - %s > %d * 3600", backup, BackupHours),
		Summary: "The newest backup is {{ $value | humanizeDuration }} old",
		Description: fmt.Sprintf("Backups are made every day, and there was none for %d hours. `journalctl -u homelab-backup` says why; "+
			"`sudo homelab-unit start homelab-backup.service` makes one now.", BackupHours),
	}, Alert{
		Name: "BackupMissing", Severity: Critical, For: BackupHours * time.Hour,
		Expr:    missing(backup),
		Summary: "There is no backup",
		Description: fmt.Sprintf("The machine has known of no archive for %d hours. `journalctl -u homelab-backup` says why; "+
			"`sudo homelab-unit start homelab-backup.service` makes one now.", BackupHours),
	}, Alert{
		Name: "BackupFailed", Severity: Critical,
		Expr:    "homelab_backup_failed == 1",
		Summary: "The last backup failed",
		Description: "Older archives are still there. `journalctl -u homelab-backup` says what failed; `sudo homelab-unit start homelab-backup.service` tries again, " +
			"and this ends when it succeeds.",
	}, Alert{
		Name: "DrillFailed", Severity: Critical,
		Expr:    "homelab_drill_failed == 1",
		Summary: "The restore drill failed",
		Description: "An archive could not be restored, or differs from the files it was made of. Do not trust the backups until " +
			"`journalctl -u homelab-restore-drill` says why.",
	}, Alert{
		Name: "DrillTooOld", Severity: Warning,
		Expr:    fmt.Sprintf("time() - %s > %d * 86400", drill, DrillDays),
		Summary: "No restore was tried for {{ $value | humanizeDuration }}",
		Description: "A restore is tried every month, and was not. `systemctl list-timers homelab-restore-drill.timer` says when it runs; " +
			"`sudo homelab-unit start homelab-restore-drill.service` runs it now.",
	})
}

// disks is about the library's mount and what is full.
func disks(m watch.Model) []Alert {
	var out []Alert
	free := func(mount string) func(int) string {
		by := []string{"mount", mount}
		return func(percent int) string {
			return fmt.Sprintf("100 * %s / %s < %d", series("homelab_filesystem_avail_bytes", by...), series("homelab_filesystem_size_bytes", by...), percent)
		}
	}
	if library(m) {
		out = append(out, Alert{
			Name: MediaMissing, Severity: Critical, For: 2 * time.Minute, KeepFiring: restarted + settled,
			Expr:    "homelab_media_mounted == 0",
			Summary: "The media library is not mounted",
			Description: "Services that need the library wait until it is back. `systemctl status homelab-media.service` and `journalctl -u homelab-media` say why; " +
				"see whether the Storage Box is in order on Hetzner's page. It is tried again by itself.",
		}, Alert{
			Name: "MediaNearlyFull", Severity: Warning, For: time.Hour, Expr: free("media")(FreeWarning),
			Summary: "{{ $value | printf \"%.0f\" }} % of the media library's Storage Box are free",
			Description: "When the box is full, no new film or episode is imported, and downloads stay where they are. Remove what nobody watches, " +
				"or order a larger box in the settings.",
		})
	}
	out = append(out, both(Alert{
		Name: "DiskNearlyFull", For: 10 * time.Minute,
		Summary: "{{ $value | printf \"%.0f\" }} % of the server's disk are free",
		Description: "On a full disk containers cannot write, and databases may break. `docker system df -v` shows what images and containers take, " +
			"`journalctl --disk-usage` the journal; `docker image prune -a` removes images that nothing uses.",
	}, free("/"), FreeWarning, FreeCritical)...)
	if slices.ContainsFunc(m.Subjects, func(s watch.Subject) bool { return s.Behind != "" }) {
		out = append(out, Alert{
			Name: "DownloadsNearlyFull", Severity: Warning, For: 30 * time.Minute, Expr: free("downloads")(FreeWarning),
			Summary: "{{ $value | printf \"%.0f\" }} % of the downloads' disk are free",
			Description: "Downloads stop when it is full; nothing else does. Remove finished torrents in the torrent client, and see whether finished downloads are imported, " +
				"or make the disk larger in the settings.",
		})
	}
	return onMachine(out...)
}

// library reports whether something needs the media library.
func library(m watch.Model) bool {
	return slices.ContainsFunc(m.Subjects, func(s watch.Subject) bool { return s.Library })
}

// toldAlready are the units that have an alert of their own, which says more of their failure.
func toldAlready(m watch.Model) []string {
	out := []string{
		"homelab-backup.service",        // BackupFailed
		"homelab-backup-watch.service",  // BackupTooOld
		"homelab-metrics-watch.service", // MachineSilent
		"homelab-restore-drill.service", // DrillFailed
	}
	if library(m) {
		out = append(out, "homelab-media.service", "mnt-storagebox.mount") // MediaMissing
	}
	return out
}

// machine is about the machine itself.
func machine(m watch.Model) []Alert {
	return onMachine(Alert{
		Name: MachineSilent, Severity: Critical, For: 5 * time.Minute, KeepFiring: 5 * time.Minute,
		Expr: fmt.Sprintf("time() - homelab_metrics_last_run_timestamp_seconds > %d or node_textfile_scrape_error > 0 or ", SilentSeconds) +
			`(absent(homelab_metrics_last_run_timestamp_seconds) and on() up{job="node-exporter"} == 1)`,
		Summary: "The machine no longer says how it is",
		Description: "The program that measures mounts, backups, containers, packet filter and VPN has not written for ten minutes, or what it wrote cannot be read: " +
			"alerts about these show what was. `systemctl list-timers 'homelab-*'` and `systemctl --failed` say why.",
	}, Alert{
		Name: "MachinePartUnknown", Severity: Warning, For: 30 * time.Minute,
		Expr:        "homelab_metrics_part_failed == 1",
		Summary:     "The machine cannot say how this is: {{ $labels.part }}",
		Description: "Alerts about it cannot fire. `journalctl -u homelab-metrics` says what did not answer.",
	}, Alert{
		Name: "UnitFailed", Severity: Warning, For: 5 * time.Minute,
		Expr:        fmt.Sprintf("homelab_unit_failed{unit!~%q} == 1", pattern(toldAlready(m))),
		Summary:     "The unit {{ $labels.unit }} has failed",
		Description: "A program of the machine ended with an error. `systemctl status` and `journalctl -u` with the unit's name say why.",
	}, Alert{
		Name: "RebootPending", Severity: Warning, For: 3 * day,
		Expr:    "homelab_reboot_required == 1",
		Summary: "The server waits for a restart",
		Description: "An update, usually of the kernel, is in force only after a restart. The server restarts by itself at night, and did not: " +
			"`journalctl -u apt-daily-upgrade` says why. It can be restarted on Hetzner's page, and everything comes back by itself.",
	}, Alert{
		Name: "SecurityUpdatesPending", Severity: Warning, For: 2 * day,
		Expr:    `homelab_packages_pending{kind="security"} > 0`,
		Summary: "{{ $value }} security updates are not installed",
		Description: "They install themselves every day, and did not for two days. `journalctl -u apt-daily-upgrade` and " +
			"/var/log/unattended-upgrades say why; a full disk and a held package are the usual causes.",
	}, Alert{
		Name: "ClockNotSynchronised", Severity: Warning, For: 10 * time.Minute,
		Expr:    "min_over_time(node_timex_sync_status[5m]) == 0 and node_timex_maxerror_seconds >= 16",
		Summary: "The server's clock is not synchronised",
		Description: "Codes of the second factor depend on it: when it is half a minute off, nobody logs in. `timedatectl timesync-status` says which time server it asks, " +
			"and what it answers.",
	}, Alert{
		Name: "MemoryNearlyFull", Severity: Warning, For: 10 * time.Minute,
		Expr:    "100 * node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 8",
		Summary: "{{ $value | printf \"%.0f\" }} % of the server's memory are available",
		Description: "When nothing is left, the kernel ends programs. `docker stats --no-stream` shows who uses it. Lower a service's memory in the settings, " +
			"switch one off, or take a larger server.",
	}, Alert{
		Name: "OutOfMemory", Severity: Warning,
		Expr:    "increase(node_vmstat_oom_kill[15m]) > 0",
		Summary: "The kernel ended a program for want of memory",
		Description: "`journalctl -k --grep 'Killed process'` names it, and the container it was in. If that container reached its own limit, give it more, where the settings have one; " +
			"if the machine was full, see who uses it with `docker stats --no-stream`.",
	})
}
