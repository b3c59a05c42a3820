// Package attempt tries to render the gateway's files outside the gateway.
package attempt

import (
	"homelab/components/gateway/internal/caddyfile"
)

// want: use of internal package homelab/components/gateway/internal/caddyfile not allowed
var _ = caddyfile.Model{}
