// Package attempt tries to write a route by hand instead of getting it from a proxy.
package attempt

import (
	"homelab/components/gateway"
)

// want: cannot refer to unexported field hostname
var _ = gateway.Route{hostname: "jellyfin.example.com"}
