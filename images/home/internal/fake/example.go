package fake

import (
	"strconv"
	"time"
)

// Healthy sets the series of a machine on which all is well at a moment, with the containers of
// the main module's example.
func (m *Monitoring) Healthy(now time.Time) {
	seconds := func(ago time.Duration) string { return strconv.FormatInt(now.Add(-ago).Unix(), 10) }
	for _, container := range []string{"authelia", "grafana", "jellyfin", "jellyseerr", "qbittorrent", "radarr", "caddy", "loki"} {
		m.Set("homelab_container_running", "1", "service="+container, "host=homelab")
		m.Set("homelab_container_healthy", "1", "service="+container, "host=homelab")
	}
	for mount, sizes := range map[string][2]string{"/": {"80e9", "46e9"}, "downloads": {"100e9", "71e9"}, "media": {"5e12", "1.9e12"}} {
		m.Set("homelab_filesystem_size_bytes", sizes[0], "mount="+mount)
		m.Set("homelab_filesystem_avail_bytes", sizes[1], "mount="+mount)
	}
	m.Set("homelab_media_mounted", "1")
	m.Set("homelab_backup_last_success_timestamp_seconds", seconds(9*time.Hour))
	m.Set("homelab_backup_failed", "0")
	m.Set("homelab_drill_last_success_timestamp_seconds", seconds(12*24*time.Hour))
	m.Set("homelab_drill_failed", "0")
	m.Set("homelab_vpn_up", "1")
	m.Set("homelab_vpn_leaking", "0")
	m.Set("homelab_vpn_forwarded_port", "51413")
	m.Set("homelab_torrent_listening_port", "51413")
	m.Set("homelab_reboot_required", "0")
	m.Set("homelab_metrics_last_run_timestamp_seconds", seconds(21*time.Second))
}
