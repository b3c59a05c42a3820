// Package attempt tries to name the detection engine instead of passing it.
package attempt

import (
	"homelab/components/gateway"
)

// want: cannot use "crowdsec" .* as \*gateway.Detection value
var _ = gateway.IdentityArgs{Detection: "crowdsec"}
