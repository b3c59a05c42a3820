// Package attempt tries to run a privileged container.
package attempt

import (
	"homelab/components/workload"
)

// want: unknown field Privileged
var _ = workload.Spec{Privileged: true}
