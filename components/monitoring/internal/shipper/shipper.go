// Package shipper renders the configuration of the program that sends log lines to Loki: Grafana
// Alloy, or Promtail, which Alloy came after. Both do the same: they read what the containers
// print, the machine's journal and the log files, remove what is secret, and send each line with
// the labels service, layer and host, and no other.
package shipper

import (
	"fmt"
	"slices"

	"homelab/components/internal/watch"
)

// File is a file of the shipper's configuration.
type File struct {
	// Path is where the container finds it.
	Path string
	// Content is what it holds; nothing in it is secret.
	Content []byte
}

const (
	// DockerAPI is the container that Docker is asked through.
	DockerAPI = "docker-api"
	// DockerAPIPort is its port.
	DockerAPIPort = 2375
	// JournalPath is the machine's journal, on the machine and in the container.
	JournalPath = "/var/log/journal"
)

// dockerHost is where Docker is asked: for the containers (GET /containers/json, /networks), the
// state of one (/containers/ID/json) and what it printed (/containers/ID/logs), and nothing else
// (/_ping and /version agree on a version).
func dockerHost() string { return fmt.Sprintf("tcp://%s:%d", DockerAPI, DockerAPIPort) }

// program is one of the two shippers.
type program struct {
	// port is where metrics (/metrics) and the state (ready) are.
	port  int
	ready string
	// config is the configuration's path in the container.
	config string
	// state is the folder of what was already sent. It must outlive the container.
	state     string
	arguments []string
	render    func(pipeline) ([]byte, error)
}

// programs are the shippers by name.
var programs = map[watch.Shipper]program{
	watch.Alloy: {
		port: alloyPort, ready: "/-/ready", config: alloyConfig, state: alloyState, render: alloy,
		arguments: []string{
			"run", fmt.Sprintf("--server.http.listen-addr=0.0.0.0:%d", alloyPort), "--storage.path=" + alloyState, "--disable-reporting",
			// Nobody asks for them here, and they show what goes through the program.
			"--server.http.enable-pprof=false", "--server.http.disable-support-bundle", alloyConfig,
		},
	},
	watch.Promtail: {
		port: promtailPort, ready: "/ready", config: promtailConfig, state: promtailState, render: promtail,
		arguments: []string{"-config.file=" + promtailConfig},
	},
}

// Files renders the configuration of the model's shipper.
func Files(m watch.Model) ([]File, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("rendering the configuration of the log shipper: %w", err)
	}
	p, err := pipelineOf(m)
	if err != nil {
		return nil, fmt.Errorf("rendering the configuration of the log shipper: %w", err)
	}
	of := programs[m.Shipper]
	content, err := of.render(p)
	if err != nil {
		return nil, fmt.Errorf("rendering the configuration of %s: %w", m.Shipper, err)
	}
	return []File{{Path: of.config, Content: content}}, nil
}

// Arguments are the arguments of the model's shipper.
func Arguments(m watch.Model) []string { return slices.Clone(programs[m.Shipper].arguments) }

// Port is where the model's shipper shows its metrics.
func Port(m watch.Model) int { return programs[m.Shipper].port }

// StatePath is the folder in which the model's shipper notes what it has sent. Without it, it sends
// everything again that Docker and the journal still hold.
func StatePath(m watch.Model) string { return programs[m.Shipper].state }

// Health is the command of the health check. Both images have Bash, and nothing that speaks HTTP.
func Health(m watch.Model) []string {
	p := programs[m.Shipper]
	script := fmt.Sprintf(`exec 3<>/dev/tcp/127.0.0.1/%d && printf 'GET %s HTTP/1.0\r\n\r\n' >&3 && read -r -t 3 _ status _ <&3 && [ "$status" = 200 ]`, p.port, p.ready)
	return []string{"/bin/bash", "-c", script}
}
