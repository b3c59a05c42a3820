package monitoring

import (
	"path"

	"homelab/components/internal/access"
	"homelab/components/monitoring/internal/homepage"
	"homelab/components/service"
	"homelab/components/workload"
)

// pageFile is where the start page's program finds what it shows.
const pageFile = "/etc/home/page.json"

// Home is the start page: every service that its visitor may use, and for administrators what is
// wrong.
func Home() service.Definition {
	d := program(homepage.Name, "Home", "Start page", 8080, homeSlot, 64)
	d.Internal = false
	d.BuiltFrom = path.Join("images", "home")
	d.Metrics = workload.Scrape(9798, "/metrics")
	d.Health = service.Health{Command: []string{"/usr/bin/homelab-home", "healthy"}}
	d.Command = []string{"serve", "--page", pageFile}
	d.Uses = []service.Use{service.On(Alertmanager), service.On(Prometheus)}
	d.Derived = func(given service.Given) ([]service.File, error) {
		config, err := homepage.Config(given.Watch)
		if err != nil {
			return nil, err
		}
		return []service.File{service.Text(pageFile, config)}, nil
	}
	d.Default = service.Default{
		Hostname: homepage.Name, Visibility: access.Tailnet, MemoryMiB: 64,
		Access: access.Access{Policy: access.TwoFactor, Groups: []string{homepage.Admins, "users"}},
	}
	return d
}
