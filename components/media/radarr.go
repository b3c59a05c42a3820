package media

import (
	"homelab/components/images"
	"homelab/components/service"
)

// Radarr looks after films: it searches for what is wanted, and files it in the library.
func Radarr() service.Definition {
	return importer(arr("radarr", "Radarr", "Films: what is wanted, and where it is", images.Radarr, 7878, 34))
}
