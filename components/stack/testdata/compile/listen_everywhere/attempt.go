// Package attempt tries to listen on every address of the machine.
package attempt

import (
	"homelab/components/host"
	"homelab/components/workload"
)

// want: cannot refer to unexported field address
var _ = workload.Publication{Listener: host.Listener{address: "0.0.0.0"}, Port: 8443}
