// Package attempt tries to name the machine instead of passing it.
package attempt

import (
	"homelab/components/service"
)

// want: cannot use "homelab" .* as \*host.Host value
var _ = service.Args{Host: "homelab"}
