// Package attempt tries to pin an image outside the list of images.
package attempt

import (
	"homelab/components/images"
)

// want: implicit assignment to unexported field repository
var _ = images.Image{"docker.io/library/caddy", "latest", "sha256:0"}
