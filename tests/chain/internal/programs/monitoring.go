package programs

import (
	"context"
	"io"

	"homelab/internal/toolchain"
)

// Program is what a container of the monitoring runs in the place of its image.
type Program struct {
	// Path is where it is on this machine.
	Path string
	// Entrypoint is where its image has it.
	Entrypoint string
	// Scratch means that the image has nothing else.
	Scratch bool
}

// Monitoring builds the programs of the monitoring that run here, and returns them by container.
// Those of Loki, the log shippers and Grafana are AGPL and not built, cAdvisor measures the control
// groups of containers, and the wiring has nothing to connect.
func Monitoring(ctx context.Context, progress io.Writer) (map[string]Program, error) {
	out := map[string]Program{}
	for name, p := range map[string]struct {
		tool       toolchain.Tool
		entrypoint string
		scratch    bool
	}{
		"alertmanager":  {toolchain.AlertmanagerTool, "/bin/alertmanager", false},
		"blackbox":      {toolchain.BlackboxTool, "/bin/blackbox_exporter", false},
		"home":          {toolchain.Tool{Name: "home", Dir: "images/home", Package: ".", LDFlags: caddy.LDFlags}, "/usr/bin/homelab-home", true},
		"node-exporter": {toolchain.NodeExporterTool, "/bin/node_exporter", false},
		"prometheus":    {toolchain.PrometheusTool, "/bin/prometheus", false},
	} {
		path, err := toolchain.Build(ctx, p.tool, progress)
		if err != nil {
			return nil, err
		}
		out[name] = Program{path, p.entrypoint, p.scratch}
	}
	return out, nil
}
