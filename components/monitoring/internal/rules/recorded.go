package rules

import (
	"fmt"
	"time"

	"homelab/components/internal/watch"
)

// RecordingsFile is the name of the file with what is recorded.
const RecordingsFile = "containers.yml"

// What is recorded, with the labels service, layer and host.
const (
	// ContainerMemory is the memory of a container that cannot be given back, in bytes.
	ContainerMemory = "homelab:container_memory_working_set_bytes"
	// ContainerCPU is how many processors a container uses, over five minutes.
	ContainerCPU = "homelab:container_cpu_usage_seconds:rate5m"
)

// The programs without which nothing is known of the containers.
const (
	cadvisor     = "cadvisor"
	nodeExporter = "node-exporter"
)

// Recording is one recording rule.
type Recording struct {
	// Name is the series that is recorded.
	Name string
	// Expr is the expression that its values are of.
	Expr string
}

// Recordings returns what is recorded: of each container what cAdvisor measured, under the name
// that the machine knows. cAdvisor tells only the control group.
func Recordings(m watch.Model) []Recording {
	if !m.Has(cadvisor) || !m.Has(nodeExporter) {
		return nil
	}
	return []Recording{
		{ContainerMemory, named("container_memory_working_set_bytes")},
		{ContainerCPU, named("sum by (host, id) (rate(container_cpu_usage_seconds_total[5m]))")},
	}
}

// containers is about what is recorded: that nothing is of a container would show nowhere.
func containers(m watch.Model) []Alert {
	if len(Recordings(m)) == 0 {
		return nil
	}
	return measuring(cadvisor, Alert{
		Name: "ContainersNotMeasured", Severity: Warning, For: 15 * time.Minute,
		Expr: fmt.Sprintf("count(homelab_container_running == 1 unless on (service) %s) > 0 and on() %s == 1",
			ContainerMemory, series("up", "job", cadvisor)),
		Summary: "{{ $value }} containers are not measured",
		Description: "What they use is not known, so alerts about their memory cannot fire. cAdvisor sees control groups called /system.slice/docker-ID.scope; " +
			"`docker info` must say that the cgroup driver is systemd and the version 2. `journalctl -u homelab-metrics` says whether the machine knows their names.",
	})
}

// named returns an expression of series that are told by the control group, by container. The last
// values of a container that has ended stay for some minutes, but the machine names only those that
// run; so a container that is replaced is there once. Should the machine say of a control group or
// of a name twice what it is, as while labels change, the alerts must be evaluated all the same.
func named(expr string) string {
	return fmt.Sprintf("max by (host, layer, service) (%s * on (id) group_left (service, layer) topk by (id) (1, homelab_container_info))", expr)
}
