package monitoring

import (
	"homelab/components/images"
	"homelab/components/monitoring/internal/loki"
	"homelab/components/service"
)

// Loki keeps log lines. The shipper sends them, and Grafana asks for them.
func Loki() service.Definition {
	d := program("loki", "Loki", "Loki", loki.Port, lokiSlot, 512)
	d.Image = images.Loki
	d.Command = loki.Arguments()
	d.Health = service.Health{Command: loki.Health()}
	d.Folders = []service.Folder{{Base: "data", Target: loki.DataPath, Keeps: keptHere}}
	d.Scratch = map[string]int{"/tmp": 64}
	d.Derived = func(given service.Given) ([]service.File, error) {
		config, err := loki.Config(given.Watch)
		if err != nil {
			return nil, err
		}
		return []service.File{service.Text(loki.ConfigPath, config)}, nil
	}
	return d
}
