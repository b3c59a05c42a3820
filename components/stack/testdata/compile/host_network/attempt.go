// Package attempt tries to put a container on the machine's own network.
package attempt

import (
	"homelab/components/workload"
)

// want: unknown field NetworkMode
var _ = workload.Spec{NetworkMode: "host"}
