// Package attempt tries to let everybody in.
package attempt

import (
	"homelab/components/gateway"
	"homelab/components/internal/access"
)

// want: undefined: access.None
var _ = gateway.Site{Access: access.Access{Policy: access.None}}
