package attempt

import "homelab/components/workload"

// Disk gives a container a disk of the machine.
// want: unknown field path|unexported field
var Disk = workload.Device{path: "/dev/sda", reason: "files"}
