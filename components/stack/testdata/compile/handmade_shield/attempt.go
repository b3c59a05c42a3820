// Package attempt tries to claim that the zone is protected.
package attempt

import (
	"homelab/components/edge"
)

// want: cannot refer to unexported field guards
var _ = edge.Shield{guards: nil}
