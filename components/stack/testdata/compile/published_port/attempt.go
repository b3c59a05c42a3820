// Package attempt tries to publish a port from a service.
package attempt

import (
	"homelab/components/workload"
)

// want: unknown field Ports
var _ = workload.Spec{Ports: []int{8096}}
