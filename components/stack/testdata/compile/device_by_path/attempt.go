package attempt

import "homelab/components/workload"

// Devices names a device by its path.
// want: cannot use "/dev/sda"
var Devices = []workload.Device{"/dev/sda"}
