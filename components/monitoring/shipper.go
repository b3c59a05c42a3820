package monitoring

import (
	"homelab/components/images"
	"homelab/components/internal/watch"
	"homelab/components/monitoring/internal/shipper"
	"homelab/components/service"
	"homelab/components/workload"
)

// Alloy sends the logs of the containers and of the machine to Loki.
func Alloy() service.Definition { return logShipper(watch.Alloy, "Alloy", images.Alloy) }

// Promtail does what Alloy does; its maintainers have stopped.
func Promtail() service.Definition {
	d := logShipper(watch.Promtail, "Promtail", images.Promtail)
	d.Default.Off = true
	return d
}

func logShipper(kind watch.Shipper, title string, image images.Image) service.Definition {
	of := watch.Model{Shipper: kind}
	d := program(string(kind), title, title, shipper.Port(of), shipperSlot, 256)
	d.Image = image
	d.Command = shipper.Arguments(of)
	d.Health = service.Health{Command: shipper.Health(of)}
	d.User, d.RootReason = "0:0", "the journal and the log files are root's to read; it has no capability"
	d.Views = []workload.View{workload.Journal("its lines are shipped")}
	d.Shares = []service.Share{service.GatewayLogs}
	d.Folders = []service.Folder{{Base: "state", Target: shipper.StatePath(of), Keeps: keptHere}}
	d.Scratch = map[string]int{"/tmp": 16}
	d.Uses = []service.Use{service.On(DockerAPI), service.On(Loki)}
	d.Derived = func(given service.Given) ([]service.File, error) {
		files, err := shipper.Files(given.Watch)
		if err != nil {
			return nil, err
		}
		var out []service.File
		for _, f := range files {
			out = append(out, service.Text(f.Path, f.Content))
		}
		return out, nil
	}
	return d
}
