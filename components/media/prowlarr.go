package media

import (
	"homelab/components/images"
	"homelab/components/service"
	"homelab/components/workload"
)

// Prowlarr gives Radarr and Sonarr their indexers: its own, and those of Jackett.
func Prowlarr() service.Definition {
	d := arr("prowlarr", "Prowlarr", "The indexers of Radarr and Sonarr", images.Prowlarr, 9696, 36)
	d.Uses = []service.Use{service.OnIfThere(Radarr), service.OnIfThere(Sonarr), service.OnIfThere(Jackett)}
	d.WayOut = workload.Internet // the indexers
	d.Default.MemoryMiB = 512
	return d
}
