// Package attempt tries to invent an upstream.
package attempt

import (
	"homelab/components/gateway"
	"homelab/components/workload"
)

// want: cannot refer to unexported field port
var _ = gateway.Site{Upstream: workload.Endpoint{port: 80}}
