// Package monitoring defines the programs that measure everything, keep what was logged, draw it
// and tell people. What they are told follows from the declarations of what is monitored, see
// package watch; so a service that is declared is monitored.
package monitoring

import (
	"homelab/components/internal/watch"
	"homelab/components/service"
	"homelab/components/workload"
)

// Catalog returns the programs of the monitoring. Of the two log shippers one runs; see Runs.
func Catalog() []service.Definition {
	return []service.Definition{
		Alertmanager(),
		Alloy(),
		Blackbox(),
		CAdvisor(),
		DockerAPI(),
		Grafana(),
		Home(),
		Loki(),
		NodeExporter(),
		Prometheus(),
		Promtail(),
	}
}

// Runs reports whether a program of the catalogue runs with this log shipper.
func Runs(name string, shipper watch.Shipper) bool {
	return name == string(shipper) || name != string(watch.Alloy) && name != string(watch.Promtail)
}

// The numbers of the programs in the ranges of their networks; see workload.Spec.Slot.
const (
	prometheusSlot = iota + 21
	alertmanagerSlot
	lokiSlot
	shipperSlot
	grafanaSlot
	nodeExporterSlot
	cadvisorSlot
	blackboxSlot
	dockerAPISlot
	homeSlot
)

// program is what the programs of the monitoring have in common.
func program(name, kind, title string, port, slot, memoryMiB int) service.Definition {
	return service.Definition{
		Name: name, Type: "homelab:monitoring:" + kind, Title: title, Layer: watch.Monitoring, Monitored: true, Internal: true,
		Port: port, Slot: slot, Metrics: workload.Scrape(port, "/metrics"), Default: service.Default{MemoryMiB: memoryMiB},
		Go: true,
	}
}

// keptHere is what a backup makes of measurements and log lines.
var keptHere = workload.Disposable("what was measured and logged on a machine that is gone is no part of a new one")
