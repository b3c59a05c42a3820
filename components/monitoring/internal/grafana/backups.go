package grafana

// backups shows whether what would be lost is safe.
func backups() dashboard {
	b := newBoard(backupsUID, "Backups", "Whether what would be lost with the server is safe.", "now-30d")
	b.row("Backup")
	b.add(6, 5,
		backupAge(),
		failedResult("Latest backup", "How the latest backup ended.", "homelab_backup_failed"),
		drillAge(),
		failedResult("Latest drill", "How the latest restore drill ended.", "homelab_drill_failed"),
	)
	b.add(24, 8, graph("Age", "How old the newest backup and the newest drill are. A backup that succeeds brings its line to nought.", seconds,
		query{since("homelab_backup_last_success_timestamp_seconds"), "backup"}, query{since("homelab_drill_last_success_timestamp_seconds"), "drill"}))
	b.row("Results")
	b.add(24, 5, timeline("Result", "When the latest backup or drill had failed.", yesNo("failed", "succeeded", 0),
		query{"homelab_backup_failed", "backup"}, query{"homelab_drill_failed", "drill"}))
	b.row("Log")
	b.add(24, 12, logs("Backup and drill", "What the machine's journal says of them.", `{service="machine"} |~ "(?i)borg|backup|drill"`))
	return b.dashboard
}
