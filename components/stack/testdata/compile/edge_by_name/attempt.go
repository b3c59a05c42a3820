package attempt

import "homelab/components/service"

// Uses names a service by a text: only a function of the catalogue is one.
// want: cannot use "jellyfin"
var Uses = []service.Use{service.On("jellyfin")}
