// Package attempt tries to give the proxy other sites than the portal has.
package attempt

import (
	"homelab/components/gateway"
)

// want: unknown field Sites
var _ = gateway.ProxyArgs{Sites: nil}
