package monitoring

import (
	"fmt"
	"strings"

	"homelab/components/images"
	"homelab/components/internal/watch"
	"homelab/components/monitoring/internal/shipper"
	"homelab/components/service"
	"homelab/components/workload"
)

// engineQuestions are the paths of Docker's API that may be asked with GET: what the log shipper
// needs to find containers and read what they print. What a container's files hold is not among
// them, as it is behind a proxy that lets everything below /containers through.
var engineQuestions = []string{
	"_ping", "version", "networks", "containers/json", "containers/[a-f0-9]{12,64}/(json|logs)",
}

// DockerAPI stands before Docker's socket, and lets few questions through to it. It is the only
// container that has the socket. The log shipper alone may reach it, by its edge; the program
// itself admits nobody else either.
func DockerAPI() service.Definition {
	d := program(shipper.DockerAPI, "DockerAPI", "Docker API", shipper.DockerAPIPort, dockerAPISlot, 64)
	d.Image = images.DockerAPI
	d.Metrics = workload.NoMetrics("the program has no metrics endpoint")
	d.Health = service.Health{Command: []string{"/healthcheck"}}
	d.User, d.RootReason = "0:0", "Docker's socket belongs to root; it has no capability"
	d.Views = []workload.View{workload.EngineSocket("the log shipper finds containers and their output there")}
	d.Arguments = func(m watch.Model) []string {
		return []string{"-allowfrom=" + string(m.Shipper)}
	}
	d.Command = []string{
		"-listenip=0.0.0.0", fmt.Sprintf("-proxyport=%d", shipper.DockerAPIPort), "-loglevel=warn", "-allowhealthcheck", "-watchdoginterval=300", "-stoponwatchdog",
		"-allowHEAD=/_ping",
		"-allowGET=(/v1\\.[0-9]{1,2})?/(" + strings.Join(engineQuestions, "|") + ")",
	}
	return d
}
