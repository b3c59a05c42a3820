// Package attempt tries to name the machine instead of passing it.
package attempt

import (
	"homelab/components/media"
)

// want: cannot use "homelab" .* as \*host.Host value
var _ = media.Args{Host: "homelab"}
