// Package attempt tries to mount the engine's socket by its path.
package attempt

import (
	"homelab/components/workload"
)

// want: unknown field Source
var _ = workload.Mount{Source: "/var/run/docker.sock"}
