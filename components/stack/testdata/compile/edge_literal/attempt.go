package attempt

import "homelab/components/service"

// Use makes the use of a service without a definition.
// want: unknown field definition|unexported field
var Use = service.Use{definition: nil}
