package monitoring

import (
	"homelab/components/images"
	"homelab/components/monitoring/internal/blackbox"
	"homelab/components/service"
	"homelab/components/workload"
)

// NodeExporter measures the machine. It has nothing of it but one file, in which the machine says
// what a container does not see: processor, memory and disks are the same for all.
func NodeExporter() service.Definition {
	d := program("node-exporter", "NodeExporter", "Node exporter", 9100, nodeExporterSlot, 64)
	d.Image = images.NodeExporter
	d.Health = service.Health{Path: "/"}
	d.Shares = []service.Share{service.MachineMetrics}
	d.Command = []string{
		// Those whose numbers are the machine's and asked for. Others would show the container's own
		// namespaces.
		"--web.disable-exporter-metrics", "--collector.disable-defaults",
		"--collector.cpu", "--collector.diskstats", "--collector.loadavg", "--collector.meminfo", "--collector.pressure",
		"--collector.stat", "--collector.textfile", "--collector.textfile.directory=" + service.MachineMetricsFolder,
		"--collector.timex", "--collector.vmstat",
	}
	return d
}

// CAdvisor measures the containers. It reads what the kernel counts for each, and nothing else:
// which container that is, the machine says (homelab_container_info).
func CAdvisor() service.Definition {
	d := program("cadvisor", "CAdvisor", "cAdvisor", 8080, cadvisorSlot, 256)
	d.Image = images.CAdvisor
	d.Health = service.Health{Path: "/healthz"}
	d.Views = []workload.View{workload.ControlGroups("they are what it measures")}
	d.Command = []string{
		// The control groups that Docker has systemd make, as it does where that runs and the kernel
		// has control groups of version 2. Of all others only the machine's own is measured.
		"--raw_cgroup_prefix_whitelist=/system.slice/docker-",
		// Docker is not asked: it would tell names, but then cAdvisor also wants containerd's
		// socket or Docker's folder. Podman, containerd and CRI-O are looked for once, at the
		// start.
		"--docker=",
		"--enable_metrics=cpu,memory", "--housekeeping_interval=30s",
	}
	return d
}

// Blackbox asks as a client would: which certificate a listener of the proxy shows.
func Blackbox() service.Definition {
	d := program("blackbox", "Blackbox", "Blackbox exporter", 9115, blackboxSlot, 64)
	d.Image = images.Blackbox
	d.Health = service.Health{Path: "/-/healthy"}
	d.Command = []string{"--config.file=" + blackbox.ConfigFile}
	d.Derived = func(given service.Given) ([]service.File, error) {
		config, err := blackbox.Config(given.Watch)
		if err != nil {
			return nil, err
		}
		return []service.File{service.Text(blackbox.ConfigFile, config)}, nil
	}
	return d
}
