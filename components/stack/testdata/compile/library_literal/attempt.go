package attempt

import "homelab/components/service"

// Library writes to the library without saying so.
// want: unknown field target|unexported field|cannot refer
var Library = service.Library{target: "/media", write: true}
