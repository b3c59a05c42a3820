package grafana

import "homelab/components/monitoring/internal/rules"

const (
	cpuUsed    = `1 - avg(rate(node_cpu_seconds_total{mode="idle"}[5m]))`
	memoryUsed = "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"
)

// machine shows what the machine does, and which container keeps it busy.
func machine() dashboard {
	b := newBoard(machineUID, "Machine", "What the machine does, and which container keeps it busy.", "now-6h")
	b.row("State")
	b.add(4, 4,
		stat("Uptime", "Time since the machine started.", look{unit: seconds, steps: plain()}, query{since("node_boot_time_seconds"), ""}),
		stat("Reboot", "Whether an update waits for a reboot.", look{words: yesNo("required", "not needed", 0), steps: plain(), none: "unknown"},
			query{"homelab_reboot_required", ""}),
		updates(),
		stat("Other updates", "Packages with another update that is not installed.", look{unit: short, steps: plain(), none: "0"},
			query{series("homelab_packages_pending", "kind", "other"), ""}),
		stat("Failed units", "Units of systemd that have failed.", counted(), query{orZero("count(homelab_unit_failed == 1)"), ""}),
		tailnetConnected(),
	)
	b.add(12, 4, freeSpace())
	b.add(12, 4, table("Failed units", "Their names: `systemctl status NAME` says more.", look{}, "homelab_unit_failed == 1", "Failed", "unit", "Unit"))
	b.row("Machine")
	b.add(12, 8,
		stacked("CPU", "Where the processors' time goes.", fraction,
			query{`sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[5m])) / on() group_left() count(node_cpu_seconds_total{mode="idle"})`, "{{mode}}"}),
		stacked("Memory", "What the memory is used for.", bytesUnit,
			query{"node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes", "used"}, query{"node_memory_MemAvailable_bytes", "available"}),
		graph("Pressure", "The part of the time in which something waits for processor, memory or disk.", fraction,
			query{rate("node_pressure_cpu_waiting_seconds_total"), "CPU"}, query{rate("node_pressure_memory_waiting_seconds_total"), "memory"},
			query{rate("node_pressure_io_waiting_seconds_total"), "disk"}),
		graph("Load", "Processes that run or wait, over 1 and 15 minutes.", short, query{"node_load1", "1 minute"}, query{"node_load15", "15 minutes"}),
		graph("Disks", "What the disks read and write.", bytesPerS,
			query{sum(rate("node_disk_read_bytes_total"), "device"), "{{device}} read"}, query{sum(rate("node_disk_written_bytes_total"), "device"), "{{device}} written"}),
		graph("Disks busy", "The part of the time in which a disk works.", fraction, query{rate("node_disk_io_time_seconds_total"), "{{device}}"}),
		graph("Network", "What each device receives and sends.", bytesPerS,
			query{rate("homelab_network_receive_bytes_total"), "{{device}} in"}, query{rate("homelab_network_transmit_bytes_total"), "{{device}} out"}),
		graph("Used space", "What is used of each file system.", bytesUnit,
			query{"homelab_filesystem_size_bytes - homelab_filesystem_avail_bytes", "{{mount}}"}),
	)
	b.row("Containers")
	b.add(12, 10,
		stacked("CPU", "Processors in use, by container.", short, query{rules.ContainerCPU, "{{service}}"}),
		stacked("Memory", "What cannot be given back, by container.", bytesUnit, query{rules.ContainerMemory, "{{service}}"}),
		graph("Out of memory", "Processes that the kernel ended for want of memory, the machine's or a container's, within a day.", short,
			query{increase("node_vmstat_oom_kill", "1d"), "processes"}),
		table("Restarts", "How often each container was started again in the last week.", look{unit: short},
			sum(increase("homelab_container_restarts_total", "7d"), "service")+" > 0", "Restarts", "service", "Container"),
	)
	return b.dashboard
}
