package vpn

import (
	"homelab/components/internal/memory"
	"homelab/components/internal/watch"
	"homelab/components/workload"
)

// tunnelMetrics is why the tunnel's container has no metrics; the machine measures whether it works.
var tunnelMetrics = workload.NoMetrics("Gluetun has no metrics endpoint")

// Watched is the tunnel as the monitoring sees it.
func Watched() watch.Subject {
	return watch.Subject{Name: Name, Title: "VPN", Layer: watch.VPN, NoMetrics: tunnelMetrics.Reason(), MemoryMiB: memory.VPN}
}
