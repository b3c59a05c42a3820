// Package attempt tries to claim that attacks are detected.
package attempt

import (
	"homelab/components/gateway"
)

// want: cannot refer to unexported field container
var _ = gateway.Detection{container: nil}
