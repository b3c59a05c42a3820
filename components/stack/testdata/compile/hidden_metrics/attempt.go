// Package attempt tries to skip the reason for having no metrics.
package attempt

import (
	"homelab/components/workload"
)

// want: cannot refer to unexported field reason
var _ = workload.Metrics{reason: ""}
