// Package attempt tries to run an image by its tag.
package attempt

import (
	"homelab/components/workload"
)

// want: cannot use "jellyfin/jellyfin:latest" .* as images.Image value
var _ = workload.Spec{Image: "jellyfin/jellyfin:latest"}
