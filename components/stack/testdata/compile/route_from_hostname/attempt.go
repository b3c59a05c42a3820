// Package attempt tries to publish a hostname instead of a route.
package attempt

import (
	"homelab/components/exposure"
)

// want: cannot use "jellyfin.example.com" .* as gateway.Route value
var _ = exposure.Args{Route: "jellyfin.example.com"}
