package media

import (
	"slices"

	"homelab/components/internal/memory"
	"homelab/components/internal/watch"
	"homelab/components/workload"
)

// WiringName is the container of what connects the services with each other, and measures them.
const WiringName = "wire"

// measuredByWiring is why an application has no metrics that are scraped.
const measuredByWiring = "the application has no metrics endpoint; the wiring asks it, and has some"

// wiringMetrics is where it says how the services are.
var wiringMetrics = workload.Scrape(9797, "/metrics")

// WatchedWiring is what connects the services as the monitoring sees it.
func WatchedWiring(services []string) watch.Subject {
	return watch.Subject{
		Name: WiringName, Title: "Wiring", Layer: watch.Service, MemoryMiB: memory.Wiring, Uses: slices.Sorted(slices.Values(services)),
		Target: watch.Target{Port: wiringMetrics.Port(), Path: wiringMetrics.Path()},
	}
}
