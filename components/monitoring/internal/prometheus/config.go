// Package prometheus renders what Prometheus measures, and how it is started.
package prometheus

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"homelab/components/internal/validate"
	"homelab/components/internal/watch"
)

// header stands at the top of the file.
const header = "# Rendered by homelab: an edit here is lost at the next deployment.\n"

// Where things are in the container. The folder of the configuration is mounted as a whole.
const (
	// ConfigFile is the configuration.
	ConfigFile = "/etc/prometheus/prometheus.yml"
	// RuleFiles are the alerts' files.
	RuleFiles = "/etc/prometheus/rules/*.yml"
	// DataFolder is where it keeps what it measured, the only folder that it writes to.
	DataFolder = "/prometheus"
)

// How often everything is measured and evaluated, and how long a target may take.
const (
	interval = "30s"
	timeout  = "10s"
)

// Certificates is the name of the job that measures the certificates of the proxy's listeners.
const Certificates = "certificates"

// The subjects that are not scraped alike, by name.
const (
	alertmanager = "alertmanager"
	blackbox     = "blackbox"
	cadvisor     = "cadvisor"
	caddy        = "caddy"
	home         = "home"
	nodeExporter = "node-exporter"
	wire         = "wire"
)

type config struct {
	Global    global    `yaml:"global"`
	Storage   storage   `yaml:"storage"`
	RuleFiles []string  `yaml:"rule_files"`
	Alerting  *alerting `yaml:"alerting,omitempty"`
	Jobs      []job     `yaml:"scrape_configs"`
}

type global struct {
	ScrapeInterval     string            `yaml:"scrape_interval"`
	ScrapeTimeout      string            `yaml:"scrape_timeout"`
	EvaluationInterval string            `yaml:"evaluation_interval"`
	ExternalLabels     map[string]string `yaml:"external_labels"`
	// SampleLimit and BodySizeLimit bound what one scrape brings: a target that serves more counts as
	// down, instead of filling the memory that all others are measured with.
	SampleLimit   int    `yaml:"sample_limit"`
	BodySizeLimit string `yaml:"body_size_limit"`
}

type storage struct {
	TSDB struct {
		Retention retention `yaml:"retention"`
	} `yaml:"tsdb"`
}

type retention struct {
	Time string `yaml:"time"`
	Size string `yaml:"size"`
}

type alerting struct {
	Alertmanagers []alertmanagers `yaml:"alertmanagers"`
}

type alertmanagers struct {
	StaticConfigs []static `yaml:"static_configs"`
}

type job struct {
	Name           string    `yaml:"job_name"`
	MetricsPath    string    `yaml:"metrics_path,omitempty"`
	StaticConfigs  []static  `yaml:"static_configs"`
	Relabel        []relabel `yaml:"relabel_configs,omitempty"`
	MetricsRelabel []relabel `yaml:"metric_relabel_configs,omitempty"`
}

type static struct {
	Targets []string          `yaml:"targets"`
	Labels  map[string]string `yaml:"labels,omitempty"`
}

type relabel struct {
	Source      []string `yaml:"source_labels,omitempty,flow"`
	Regex       string   `yaml:"regex,omitempty"`
	Target      string   `yaml:"target_label,omitempty"`
	Replacement string   `yaml:"replacement,omitempty"`
	Action      string   `yaml:"action,omitempty"`
}

// Config renders prometheus.yml.
func Config(m watch.Model) ([]byte, error) {
	if err := check(m); err != nil {
		return nil, fmt.Errorf("rendering prometheus.yml: %w", err)
	}
	c := config{
		Global: global{
			ScrapeInterval: interval, ScrapeTimeout: timeout, EvaluationInterval: interval, SampleLimit: 20_000, BodySizeLimit: "16MB",
			// On alerts that are made of no series, such as those about what is missing.
			ExternalLabels: map[string]string{"host": m.Host},
		},
		RuleFiles: []string{RuleFiles},
	}
	// Here and not among the arguments, where they are deprecated since 3.15: a change needs no
	// restart.
	c.Storage.TSDB.Retention = retention{Time: fmt.Sprintf("%dd", m.Retention.MetricsDays), Size: fmt.Sprintf("%dGB", m.Retention.MetricsGB)}
	if to, ok := m.Subject(alertmanager); ok {
		c.Alerting = &alerting{[]alertmanagers{{[]static{{Targets: []string{to.Address()}}}}}}
	}
	for _, s := range m.Subjects {
		if s.Scraped() {
			c.Jobs = append(c.Jobs, scrape(m, s))
		}
	}
	if len(m.Probes) > 0 {
		c.Jobs = append(c.Jobs, probes(m))
	}
	var out bytes.Buffer
	out.WriteString(header)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("rendering prometheus.yml: %w", err)
	}
	return out.Bytes(), enc.Close()
}

// check returns everything that keeps the model from being measured.
func check(m watch.Model) error {
	p := validate.Of("prometheus")
	p.Merge(m.Validate())
	p.Require(!m.Has(Certificates), "no container may be called %s: a job is", Certificates)
	p.Require(len(m.Probes) == 0 || m.Has(blackbox), "certificates are to be measured, and %s is not there", blackbox)
	if to, ok := m.Subject(alertmanager); ok {
		p.Require(to.Scraped(), "%s has no port", alertmanager)
	}
	return p.Err()
}

// labels are what every series of a subject has, and its log lines.
func labels(m watch.Model, service string, layer watch.Layer) map[string]string {
	return map[string]string{"service": service, "layer": string(layer), "host": m.Host}
}

// scrape is the job of one subject.
func scrape(m watch.Model, s watch.Subject) job {
	j := job{Name: s.Name, StaticConfigs: []static{{Targets: []string{s.Address()}, Labels: labels(m, s.Name, s.Layer)}}}
	if s.Target.Path != "/metrics" {
		j.MetricsPath = s.Target.Path
	}
	switch s.Name {
	case cadvisor:
		j.MetricsRelabel = containers()
	case nodeExporter:
		j.MetricsRelabel = machine(m)
	case caddy:
		j.MetricsRelabel = append(ownOnly("guard"), hostnames()...)
	case wire:
		j.MetricsRelabel = ownOnly("app", "wire")
	case home:
		j.MetricsRelabel = ownOnly("home")
	default:
		j.MetricsRelabel = ownOnly()
	}
	return j
}

// ownOnly drops those series of this program's own that are another target's: a target that somebody
// has taken over must not say that there is a backup. The parts are what follows homelab_ in the names
// of the target's own series.
func ownOnly(parts ...string) []relabel {
	const foreign = "__tmp_foreign"
	name := []string{"__name__"}
	if len(parts) == 0 {
		return []relabel{{Source: name, Regex: "homelab_.+", Action: "drop"}}
	}
	out := []relabel{{Source: name, Regex: "homelab_.+", Target: foreign, Replacement: "yes"}}
	for _, part := range parts {
		// Without a replacement it is the first group of the expression: nothing, which removes the label.
		out = append(out, relabel{Source: name, Regex: "homelab_" + part + "_.+", Target: foreign})
	}
	return append(out, relabel{Source: []string{foreign}, Regex: "yes", Action: "drop"})
}

// containers keeps cAdvisor's series about containers. They tell a container by its control group,
// in the label id, and nothing else: that cAdvisor has measured it says nothing of which one it is.
// A rule records them with its name (rules.Recordings).
func containers() []relabel {
	return []relabel{
		{Source: []string{"__name__", "id"}, Regex: "(" + strings.Join(ContainerSeries(), "|") + `);/system\.slice/docker-[0-9a-f]{64}\.scope`, Action: "keep"},
		{Regex: "service|layer", Action: "labeldrop"},
	}
}

// machine makes the series of the machine's exporter those of the machine, or of the containers
// that they are about: its own name says only where they were read.
func machine(m watch.Model) []relabel {
	return append([]relabel{
		{Source: []string{"__name__"}, Regex: "homelab_.+|" + strings.Join(MachineSeries(), "|"), Action: "keep"},
		{Target: "service", Replacement: watch.MachineName},
		{Target: "layer", Replacement: string(watch.Machine)},
		{Source: []string{"container"}, Regex: "(.+)", Target: "service"},
	}, append(layers(m), relabel{Regex: "container", Action: "labeldrop"})...)
}

// layers sets the label layer by the name of a container. A container is a service unless it is
// named here, so that another service changes nothing.
func layers(m watch.Model) []relabel {
	of := []string{"container"}
	out := []relabel{{Source: of, Regex: ".+", Target: "layer", Replacement: string(watch.Service)}}
	for _, s := range m.Subjects {
		if s.Layer != watch.Service {
			out = append(out, relabel{Source: of, Regex: regexp.QuoteMeta(s.Name), Target: "layer", Replacement: string(s.Layer)})
		}
	}
	return out
}

// hostnames renames the label host of the proxy's series, which is the name that a visitor asked
// for; host is the machine. Prometheus has put exported_ before it.
func hostnames() []relabel {
	return []relabel{
		{Source: []string{"exported_host"}, Regex: "(.+)", Target: "hostname"},
		{Regex: "exported_host", Action: "labeldrop"},
	}
}

// probes is the job that measures certificates: one target for each hostname, which the blackbox
// exporter opens a connection to by the module of that hostname.
func probes(m watch.Model) job {
	exporter, _ := m.Subject(blackbox)
	j := job{Name: Certificates, MetricsPath: "/probe", Relabel: []relabel{
		{Source: []string{"__address__"}, Target: "__param_target"},
		{Source: []string{"hostname"}, Target: "__param_module"},
		{Source: []string{"hostname"}, Target: "instance"},
		{Target: "__address__", Replacement: exporter.Address()},
	}, MetricsRelabel: []relabel{
		{Source: []string{"__name__"}, Regex: strings.Join(ProbeSeries(), "|"), Action: "keep"},
	}}
	for _, probe := range m.Probes {
		service, layer := caddy, watch.Gateway
		for _, s := range m.Subjects {
			if s.Hostname == probe.Hostname {
				service, layer = s.Name, s.Layer
			}
		}
		l := labels(m, service, layer)
		l["hostname"] = probe.Hostname
		j.StaticConfigs = append(j.StaticConfigs, static{Targets: []string{probe.Address}, Labels: l})
	}
	return j
}

// Arguments returns the program's arguments. Its API is read-only: what removes series and what
// reloads or ends the program are off by default and stay so; the configuration and the rules are
// reloaded when a file changes. How much is kept is part of the configuration.
func Arguments() []string {
	return []string{
		"--config.file=" + ConfigFile,
		"--config.auto-reload",
		"--config.auto-reload-interval=10s",
		"--storage.tsdb.path=" + DataFolder,
		// A question that would need more memory than there is fails, and not Prometheus.
		"--query.max-concurrency=4",
		"--query.max-samples=5000000",
		"--no-web.enable-admin-api",
		"--no-web.enable-lifecycle",
	}
}
