// Package blackbox renders what the blackbox exporter measures: the certificate of each hostname, at
// the proxy and not at the edge.
package blackbox

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"

	"homelab/components/internal/validate"
	"homelab/components/internal/watch"
)

// header stands at the top of the file.
const header = "# Rendered by homelab: an edit here is lost at the next deployment.\n"

// ConfigFile is where the container finds the configuration.
const ConfigFile = "/etc/blackbox/blackbox.yml"

type config struct {
	Modules map[string]module `yaml:"modules"`
}

type module struct {
	Prober  string `yaml:"prober"`
	Timeout string `yaml:"timeout"`
	TCP     tcp    `yaml:"tcp"`
}

type tcp struct {
	Protocol string    `yaml:"preferred_ip_protocol"`
	TLS      bool      `yaml:"tls"`
	Config   tlsConfig `yaml:"tls_config"`
}

type tlsConfig struct {
	ServerName string `yaml:"server_name"`
	MinVersion string `yaml:"min_version"`
}

// Config renders blackbox.yml. Each hostname has a module of its name, which opens a connection and
// asks for nothing: in TLS 1.3 it has the proxy's certificate before the proxy misses a client's.
//
// The certificate is verified as a browser does it, by the name and by the authorities that the
// image knows. One that is not valid is a probe without success, and one that is about to expire is
// seen while it is still valid; so nothing is gained by accepting every certificate.
func Config(m watch.Model) ([]byte, error) {
	if err := check(m); err != nil {
		return nil, fmt.Errorf("rendering blackbox.yml: %w", err)
	}
	c := config{Modules: map[string]module{}}
	for _, probe := range m.Probes {
		c.Modules[probe.Hostname] = module{Prober: "tcp", Timeout: "5s", TCP: tcp{
			Protocol: "ip4", TLS: true, Config: tlsConfig{ServerName: probe.Hostname, MinVersion: "TLS13"},
		}}
	}
	var out bytes.Buffer
	out.WriteString(header)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("rendering blackbox.yml: %w", err)
	}
	return out.Bytes(), enc.Close()
}

func check(m watch.Model) error {
	p := validate.Of("blackbox")
	p.Merge(m.Validate())
	seen := map[string]bool{}
	for _, probe := range m.Probes {
		p.Require(probe.Hostname != "" && probe.Address != "", "a probe has no hostname or no address: %+v", probe)
		p.Require(!seen[probe.Hostname], "%s is to be measured twice", probe.Hostname)
		seen[probe.Hostname] = true
	}
	return p.Err()
}
