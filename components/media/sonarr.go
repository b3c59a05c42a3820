package media

import (
	"homelab/components/images"
	"homelab/components/service"
)

// Sonarr looks after series, as Radarr does after films.
func Sonarr() service.Definition {
	return importer(arr("sonarr", "Sonarr", "Series: what is wanted, and where it is", images.Sonarr, 8989, 35))
}
