// Package watch describes what is monitored. It is made from the declarations of the services and
// of what guards them; the configuration of every program of the monitoring is rendered from it, so
// a service that is declared is scraped, alerted on, drawn, and found in the logs.
package watch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"homelab/components/internal/smtp"
	"homelab/components/internal/validate"
)

// Layer is the part of the system that something belongs to: a label of its series and log lines.
type Layer string

// The layers.
const (
	// Gateway is what guards: proxy, detection, portal, session store.
	Gateway Layer = "gateway"
	// Service is what people come for, and what connects it.
	Service Layer = "service"
	// VPN is the tunnel.
	VPN Layer = "vpn"
	// Monitoring is what measures.
	Monitoring Layer = "monitoring"
	// Machine is the machine itself, below the containers.
	Machine Layer = "machine"
)

// Layers returns every layer, from the outside in.
func Layers() []Layer { return []Layer{Gateway, Service, VPN, Monitoring, Machine} }

// MachineName is the service label of what the machine itself says, such as its journal.
const MachineName = "machine"

// Model is everything that the monitoring is told. Lists are sorted by name.
type Model struct {
	// Host is the machine's name: the label host.
	Host string
	// Domain is the zone's apex.
	Domain string
	// Timezone is an IANA name.
	Timezone string
	// Subjects are the containers, sorted by name; names are unique.
	Subjects []Subject
	// Receivers are who hears of an alert.
	Receivers Receivers
	// Retention is how much is kept.
	Retention Retention
	// Shipper is the program that sends the logs.
	Shipper Shipper
	// Probes are the TLS listeners of the proxy, as host:port, by what is measured there: the
	// certificates that the origin shows, not those of the edge.
	Probes []Probe
}

// Subject is a container that is watched.
type Subject struct {
	// Name is the container's name, by which others find it on their network: the label service.
	Name string
	// Title is what people call it.
	Title string
	// Summary is what it is for, in a few words, such as "Films and series"; empty for none.
	Summary string
	// Layer is the part of the system that it belongs to.
	Layer Layer
	// Hostname is the full host name by which people reach it; empty for none.
	Hostname string
	// Public means that the hostname can be reached from the internet.
	Public bool
	// Groups are the groups that the portal lets in; empty where the portal is not asked.
	Groups []string
	// Target is where its metrics are; the zero value for none.
	Target Target
	// NoMetrics says why it has none; empty exactly when it has a Target.
	NoMetrics string
	// Exporter is the name of the subject that measures it from outside: its series homelab_app_*
	// have this subject's name as the label app. Empty for none.
	Exporter string
	// MemoryMiB is its memory limit, in MiB.
	MemoryMiB int
	// Uses are the subjects that it may open connections to, sorted.
	Uses []string
	// Behind is the VPN tunnel whose network it has; empty for none.
	Behind string
	// Library means that it does not run without the media library.
	Library bool
	// LogFiles are logs that it writes into files, as the shipper finds them.
	LogFiles []string
}

// Target is where metrics are scraped.
type Target struct {
	// Port is the TCP port; 0 for no target.
	Port int
	// Path is the path of the URL.
	Path string
}

// Address is where the subject's metrics are, as host:port.
func (s Subject) Address() string { return fmt.Sprintf("%s:%d", s.Name, s.Target.Port) }

// Scraped reports whether the subject has metrics.
func (s Subject) Scraped() bool { return s.Target.Port != 0 }

// Probe is a listener whose certificate is measured for a hostname.
type Probe struct {
	// Hostname is the name that the certificate must hold.
	Hostname string
	// Address is host:port of the listener.
	Address string
}

// Shipper is the program that sends the logs to Loki.
type Shipper string

// The shippers.
const (
	// Alloy is Grafana Alloy.
	Alloy Shipper = "alloy"
	// Promtail is what Alloy came after; its last version is of 2026-03-02.
	Promtail Shipper = "promtail"
)

// Shippers returns every shipper, the default first.
func Shippers() []Shipper { return []Shipper{Alloy, Promtail} }

// Valid reports whether s is one of Shippers.
func (s Shipper) Valid() bool { return slices.Contains(Shippers(), s) }

// Retention is how much of what was measured and logged is kept.
type Retention struct {
	// MetricsDays is for how many days series are kept.
	MetricsDays int
	// MetricsGB is how much of the disk they may take, in GB; the older ones go first.
	MetricsGB int
	// LogsDays is for how many days log lines are kept.
	LogsDays int
}

// Format is what a webhook takes.
type Format string

// The formats.
const (
	// Ntfy is a message as ntfy takes it.
	Ntfy Format = "ntfy"
	// Alertmanager is Alertmanager's own JSON.
	Alertmanager Format = "alertmanager"
)

// Formats returns every format, the default first.
func Formats() []Format { return []Format{Ntfy, Alertmanager} }

// Valid reports whether f is one of Formats.
func (f Format) Valid() bool { return slices.Contains(Formats(), f) }

// Receivers are who hears of an alert. Secrets are not part of it: they are in files.
type Receivers struct {
	// Webhook is what the webhook takes; empty for no webhook.
	Webhook Format
	// Mail is where a mail goes; nil for none.
	Mail *Mail
	// DeadMansSwitch means that somebody outside is told, again and again, that all is well.
	DeadMansSwitch bool
}

// Mail is where a mail goes, and through which server.
type Mail struct {
	// Server is the mail server.
	Server smtp.Server
	// Recipient is who gets it.
	Recipient string
}

// Subject returns the subject of this name.
func (m Model) Subject(name string) (Subject, bool) {
	at := slices.IndexFunc(m.Subjects, func(s Subject) bool { return s.Name == name })
	if at < 0 {
		return Subject{}, false
	}
	return m.Subjects[at], true
}

// Has reports whether a subject of this name is there.
func (m Model) Has(name string) bool {
	_, ok := m.Subject(name)
	return ok
}

// Of returns the subjects of a layer, sorted by name.
func (m Model) Of(l Layer) []Subject {
	var out []Subject
	for _, s := range m.Subjects {
		if s.Layer == l {
			out = append(out, s)
		}
	}
	return out
}

// Validate returns everything wrong with the model, or nil.
func (m Model) Validate() error {
	p := validate.Of("monitoring")
	p.Require(m.Host != "" && m.Domain != "" && m.Timezone != "", "the machine's name, the domain and the timezone are required")
	p.Require(m.Shipper.Valid(), "%q is not a log shipper", string(m.Shipper))
	p.Require(m.Retention.MetricsDays > 0 && m.Retention.MetricsGB > 0 && m.Retention.LogsDays > 0, "nothing would be kept")
	p.Require(slices.IsSortedFunc(m.Subjects, func(a, b Subject) int { return cmp.Compare(a.Name, b.Name) }), "the subjects are not sorted by name")
	for i, s := range m.Subjects {
		p.Require(i == 0 || m.Subjects[i-1].Name != s.Name, "two subjects are called %s", s.Name)
		p.Require(s.Name != "" && s.Title != "", "subject %q has no name or no title", s.Name)
		p.Require(slices.Contains(Layers(), s.Layer) && s.Layer != Machine, "%s: %q is not a container's layer", s.Name, string(s.Layer))
		p.Require(s.Scraped() == (s.NoMetrics == ""), "%s: it has either metrics or a reason for none", s.Name)
		p.Require(!s.Scraped() || strings.HasPrefix(s.Target.Path, "/"), "%s: its metrics have no path", s.Name)
		p.Require(s.MemoryMiB > 0, "%s: no memory limit", s.Name)
		for _, used := range s.Uses {
			p.Require(m.Has(used), "%s uses %s, which is not there", s.Name, used)
		}
		p.Require(s.Behind == "" || m.Has(s.Behind), "%s is behind %s, which is not there", s.Name, s.Behind)
		p.Require(s.Exporter == "" || m.Has(s.Exporter), "%s is measured by %s, which is not there", s.Name, s.Exporter)
	}
	return p.Err()
}
