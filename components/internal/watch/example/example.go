// Package example is one model of a small system, from which the goldens of everything that is
// rendered from models are made.
package example

import (
	"homelab/components/internal/smtp"
	"homelab/components/internal/watch"
)

// Model returns a system with a service of each kind: public and on the tailnet, with metrics,
// measured by another one and without, behind the VPN, on the library.
func Model() watch.Model {
	return watch.Model{
		Host: "homelab", Domain: "example.com", Timezone: "Europe/Berlin", Shipper: watch.Alloy,
		Retention: watch.Retention{MetricsDays: 30, MetricsGB: 5, LogsDays: 14},
		Receivers: watch.Receivers{Webhook: watch.Ntfy, DeadMansSwitch: true, Mail: &watch.Mail{
			Server: smtp.Server{
				Host: "smtp.example.com", Port: 587, TLS: smtp.StartTLS, Username: "homelab@example.com", Sender: "homelab@example.com",
			},
			Recipient: "admin@example.com",
		}},
		Subjects: []watch.Subject{
			{Name: "alertmanager", Title: "Alertmanager", Layer: watch.Monitoring, Target: watch.Target{Port: 9093, Path: "/metrics"}, MemoryMiB: 128},
			{Name: "alloy", Title: "Alloy", Layer: watch.Monitoring, Target: watch.Target{Port: 12345, Path: "/metrics"}, MemoryMiB: 256, Uses: []string{"docker-api", "loki"}},
			{
				Name: "authelia", Title: "Authelia", Summary: "Password, second factor, sign out", Layer: watch.Gateway, Hostname: "auth.example.com", Public: true,
				Target: watch.Target{Port: 9959, Path: "/metrics"}, MemoryMiB: 512, Uses: []string{"authelia-store"},
			},
			{Name: "authelia-store", Title: "Session store", Layer: watch.Gateway, NoMetrics: "the session store is on a network of its own", MemoryMiB: 128},
			{Name: "blackbox", Title: "Blackbox exporter", Layer: watch.Monitoring, Target: watch.Target{Port: 9115, Path: "/metrics"}, MemoryMiB: 64, Uses: []string{"caddy"}},
			{
				Name: "caddy", Title: "Caddy", Layer: watch.Gateway, Target: watch.Target{Port: 9180, Path: "/metrics"}, MemoryMiB: 512,
				Uses:     []string{"authelia", "crowdsec", "gluetun", "grafana", "jellyfin", "jellyseerr", "radarr"},
				LogFiles: []string{"/logs/caddy/access.log", "/logs/caddy/known/access.log"},
			},
			{Name: "cadvisor", Title: "cAdvisor", Layer: watch.Monitoring, Target: watch.Target{Port: 8080, Path: "/metrics"}, MemoryMiB: 256},
			{Name: "crowdsec", Title: "CrowdSec", Layer: watch.Gateway, Target: watch.Target{Port: 6060, Path: "/metrics"}, MemoryMiB: 512},
			{Name: "docker-api", Title: "Docker API", Layer: watch.Monitoring, NoMetrics: "the program has no metrics endpoint", MemoryMiB: 64},
			{Name: "gluetun", Title: "Gluetun", Layer: watch.VPN, NoMetrics: "Gluetun has no metrics endpoint", MemoryMiB: 256},
			{
				Name: "grafana", Title: "Grafana", Summary: "Dashboards and logs", Layer: watch.Monitoring, Hostname: "grafana.example.com", Groups: []string{"admins"},
				Target: watch.Target{Port: 3000, Path: "/metrics"}, MemoryMiB: 512, Uses: []string{"alertmanager", "loki", "prometheus"},
			},
			{
				Name: "jellyfin", Title: "Jellyfin", Summary: "Films and series", Layer: watch.Service, Hostname: "jellyfin.example.com", Exporter: "wire",
				NoMetrics: "Jellyfin's metrics endpoint has no access control of its own", MemoryMiB: 4096, Library: true,
			},
			{
				Name: "jellyseerr", Title: "Jellyseerr", Layer: watch.Service, Hostname: "requests.example.com", Public: true, Groups: []string{"users"}, Exporter: "wire",
				NoMetrics: "the application has no metrics endpoint", MemoryMiB: 512, Uses: []string{"jellyfin", "radarr"},
			},
			{Name: "loki", Title: "Loki", Layer: watch.Monitoring, Target: watch.Target{Port: 3100, Path: "/metrics"}, MemoryMiB: 512},
			{Name: "node-exporter", Title: "Node exporter", Layer: watch.Monitoring, Target: watch.Target{Port: 9100, Path: "/metrics"}, MemoryMiB: 64},
			{
				Name: "prometheus", Title: "Prometheus", Layer: watch.Monitoring, Target: watch.Target{Port: 9090, Path: "/metrics"}, MemoryMiB: 768,
				Uses: []string{"alertmanager", "alloy", "authelia", "blackbox", "caddy", "cadvisor", "crowdsec", "grafana", "loki", "node-exporter", "wire"},
			},
			{
				Name: "qbittorrent", Title: "qBittorrent", Layer: watch.Service, Hostname: "qbittorrent.example.com", Groups: []string{"admins"}, Exporter: "wire",
				NoMetrics: "the application has no metrics endpoint", MemoryMiB: 1024, Behind: "gluetun",
			},
			{
				Name: "radarr", Title: "Radarr", Layer: watch.Service, Hostname: "radarr.example.com", Groups: []string{"admins"}, Exporter: "wire",
				NoMetrics: "the application has no metrics endpoint", MemoryMiB: 768, Uses: []string{"gluetun", "jellyfin"}, Library: true,
			},
			{Name: "wire", Title: "Wiring", Layer: watch.Service, Target: watch.Target{Port: 9797, Path: "/metrics"}, MemoryMiB: 128, Uses: []string{"gluetun", "jellyfin", "jellyseerr", "radarr"}},
		},
		Probes: []watch.Probe{
			{Hostname: "auth.example.com", Address: "caddy:8443"}, {Hostname: "grafana.example.com", Address: "caddy:9443"},
			{Hostname: "jellyfin.example.com", Address: "caddy:9443"}, {Hostname: "requests.example.com", Address: "caddy:8443"},
		},
	}
}
