// Package attempt tries to make sites that nobody has checked.
package attempt

import (
	"homelab/components/gateway"
)

// want: cannot refer to unexported field list
var _ = gateway.Sites{list: nil}
