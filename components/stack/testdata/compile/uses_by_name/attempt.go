// Package attempt tries to open a way to a container by its name.
package attempt

import (
	"homelab/components/workload"
)

// want: cannot use "authelia:9091"
var _ = workload.Spec{Uses: []workload.Endpoint{"authelia:9091"}}
