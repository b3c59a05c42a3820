package attempt

import "homelab/components/service"

// Definition runs whatever a tag says.
// want: cannot use "nginx:latest"
var Definition = service.Definition{Image: "nginx:latest"}
