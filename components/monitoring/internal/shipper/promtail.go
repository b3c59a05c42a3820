package shipper

import (
	"bytes"

	"gopkg.in/yaml.v3"

	"homelab/components/monitoring/internal/loki"
)

// Where Promtail is, and where its files are.
const (
	promtailPort   = 9080
	promtailConfig = "/etc/promtail/promtail.yaml"
	promtailState  = "/var/lib/promtail"
)

// promtailHeader stands at the top of the file.
const promtailHeader = "# Rendered by homelab: an edit here is lost at the next deployment.\n"

// promtailSettings is promtail.yaml: the keys that are used, as
// https://grafana.com/docs/loki/v3.6.x/send-data/promtail/configuration/ describes them.
type promtailSettings struct {
	Server    promtailServer    `yaml:"server"`
	Positions promtailPositions `yaml:"positions"`
	Clients   []promtailClient  `yaml:"clients"`
	Scrapes   []promtailScrape  `yaml:"scrape_configs"`
}

type promtailServer struct {
	HTTPListenPort    int    `yaml:"http_listen_port"`
	GRPCListenAddress string `yaml:"grpc_listen_address"`
	LogLevel          string `yaml:"log_level"`
}

type promtailPositions struct {
	Filename string `yaml:"filename"`
}

type promtailClient struct {
	URL     string          `yaml:"url"`
	Backoff promtailBackoff `yaml:"backoff_config"`
}

// promtailBackoff has 0 retries for no end, as in Alloy.
type promtailBackoff struct {
	MaxRetries int `yaml:"max_retries"`
}

// promtailScrape is one source; exactly one of Docker, Journal and Static is set.
type promtailScrape struct {
	JobName string           `yaml:"job_name"`
	Docker  []promtailDocker `yaml:"docker_sd_configs,omitempty"`
	Journal *promtailJournal `yaml:"journal,omitempty"`
	Static  []promtailStatic `yaml:"static_configs,omitempty"`
	Rules   []promtailRule   `yaml:"relabel_configs,omitempty"`
	Stages  []promtailStage  `yaml:"pipeline_stages"`
}

type promtailDocker struct {
	Host            string `yaml:"host"`
	RefreshInterval string `yaml:"refresh_interval"`
}

type promtailJournal struct {
	Path   string            `yaml:"path"`
	MaxAge string            `yaml:"max_age"`
	Labels map[string]string `yaml:"labels"`
}

type promtailStatic struct {
	Labels map[string]string `yaml:"labels"`
}

type promtailRule struct {
	Action      string   `yaml:"action,omitempty"`
	Sources     []string `yaml:"source_labels,omitempty,flow"`
	Regex       string   `yaml:"regex,omitempty"`
	Target      string   `yaml:"target_label,omitempty"`
	Replacement string   `yaml:"replacement,omitempty"`
}

// promtailStage is one step; exactly one field is set.
type promtailStage struct {
	Replace            *promtailReplace  `yaml:"replace,omitempty"`
	StructuredMetadata map[string]string `yaml:"structured_metadata,omitempty"`
	LabelAllow         []string          `yaml:"labelallow,omitempty,flow"`
}

type promtailReplace struct {
	Expression string `yaml:"expression"`
	Replace    string `yaml:"replace"`
}

// promtail renders promtail.yaml.
func promtail(p pipeline) ([]byte, error) {
	stages := promtailStages()
	config := promtailSettings{
		Server:    promtailServer{HTTPListenPort: promtailPort, GRPCListenAddress: "127.0.0.1", LogLevel: "warn"},
		Positions: promtailPositions{Filename: promtailState + "/positions.yaml"},
		Clients:   []promtailClient{{URL: loki.PushURL()}},
		Scrapes: []promtailScrape{
			{JobName: containers, Docker: []promtailDocker{{Host: dockerHost(), RefreshInterval: "15s"}}, Rules: promtailRules(p.containerRules()), Stages: stages},
			{JobName: machine, Journal: &promtailJournal{Path: JournalPath, MaxAge: loki.OldestLine.String(), Labels: p.machine}, Rules: promtailRules(journalRules()), Stages: stages},
		},
	}
	if len(p.files) > 0 {
		source := promtailScrape{JobName: files, Stages: stages}
		for _, f := range p.files {
			labels := f.labels(p.host)
			labels["__path__"] = f.path
			source.Static = append(source.Static, promtailStatic{Labels: labels})
		}
		config.Scrapes = append(config.Scrapes, source)
	}
	var out bytes.Buffer
	out.WriteString(promtailHeader)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(config); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func promtailStages() []promtailStage {
	var out []promtailStage
	for _, pattern := range Patterns() {
		out = append(out, promtailStage{Replace: &promtailReplace{pattern.Expression, Redacted}})
	}
	return append(out, promtailStage{StructuredMetadata: map[string]string{metadataUnit: metadataUnit}}, promtailStage{LabelAllow: loki.Labels()})
}

func promtailRules(rules []rule) []promtailRule {
	out := make([]promtailRule, 0, len(rules))
	for _, r := range rules {
		out = append(out, promtailRule{Action: r.action, Sources: r.sources, Regex: r.regex, Target: r.target, Replacement: r.replacement})
	}
	return out
}
