// Package attempt tries to invent a way out.
package attempt

import (
	"homelab/components/workload"
)

// want: cannot refer to unexported field internet
var _ = workload.WayOut{internet: true}
