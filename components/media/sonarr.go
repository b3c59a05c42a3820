package media

import (
	"homelab/components/images"
	"homelab/components/service"
)

// Sonarr looks after series, as Radarr does after films.
func Sonarr() service.Definition {
	return importer(arr("sonarr", "Sonarr", images.Sonarr, 8989, 35))
}
