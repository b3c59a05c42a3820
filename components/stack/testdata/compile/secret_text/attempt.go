// Package attempt tries to read a secret's text.
package attempt

import (
	"homelab/components/settings"
)

// want: value undefined
var _ = settings.Secret{}.value
