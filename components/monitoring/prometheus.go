package monitoring

import (
	"fmt"
	"path"

	"homelab/components/images"
	"homelab/components/monitoring/internal/prometheus"
	"homelab/components/monitoring/internal/rules"
	"homelab/components/service"
)

// Prometheus measures, and says when something is wrong. It reaches everything that has metrics,
// which the stack lets it once all of it runs; only what shows the measurements reaches it.
func Prometheus() service.Definition {
	d := program("prometheus", "Prometheus", "Prometheus", 9090, prometheusSlot, 768)
	d.Image = images.Prometheus
	d.Command = prometheus.Arguments()
	d.Health = service.Health{Path: "/-/ready"}
	d.Folders = []service.Folder{{Base: "data", Target: prometheus.DataFolder, Keeps: keptHere}}
	d.Uses = []service.Use{service.On(Alertmanager)}
	d.Derived = func(given service.Given) ([]service.File, error) {
		config, err := prometheus.Config(given.Watch)
		if err != nil {
			return nil, fmt.Errorf("rendering prometheus.yml: %w", err)
		}
		alerts, err := rules.Files(given.Watch)
		if err != nil {
			return nil, fmt.Errorf("rendering the rules: %w", err)
		}
		out := []service.File{reread(prometheus.ConfigFile, config)}
		for _, f := range alerts {
			out = append(out, reread(path.Join(path.Dir(prometheus.RuleFiles), f.Name), f.Content))
		}
		return out, nil
	}
	return d
}

// reread is a file that its program reads again by itself when it changes.
func reread(target string, content []byte) service.File {
	out := service.Text(target, content)
	out.Reread = true
	return out
}
