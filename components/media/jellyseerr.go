package media

import (
	"homelab/components/images"
	"homelab/components/internal/access"
	"homelab/components/service"
	"homelab/components/workload"
)

// Jellyseerr takes requests for media. It knows its users from Jellyfin.
func Jellyseerr() service.Definition {
	return service.Definition{
		Name:    "jellyseerr",
		Type:    "homelab:media:Jellyseerr",
		Summary: "Ask for films and series",
		Image:   images.Jellyseerr,
		Port:    5055,
		Health:  service.Health{Path: "/api/v1/settings/public"}, // its status asks GitHub at every call,
		Metrics: workload.NoMetrics(measuredByWiring),
		Folders: []service.Folder{
			{Base: "config", Target: "/app/config", Keeps: workload.Databases("db/db.sqlite3")},
		},
		Scratch: map[string]int{"/tmp": 64},
		Wired:   true,
		Slot:    33,
		Uses:    []service.Use{service.On(Jellyfin), service.OnIfThere(Radarr), service.OnIfThere(Sonarr)},
		WayOut:  workload.Internet, // what it knows of films and series
		Default: service.Default{
			Hostname:   "requests",
			Visibility: access.Public,
			Access:     access.Access{Policy: access.TwoFactor, Groups: []string{"users"}},
			MemoryMiB:  512,
		},
	}
}
