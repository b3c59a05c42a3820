// Package media defines the services that people come for, one file each.
package media

import "homelab/components/service"

// Catalog returns the services that this program offers.
func Catalog() []service.Definition {
	return []service.Definition{
		Jackett(),
		Jellyfin(),
		Jellyseerr(),
		Prowlarr(),
		QBittorrent(),
		Radarr(),
		Sonarr(),
	}
}
