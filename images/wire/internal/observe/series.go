package observe

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// family is a metric. The first label of each is the app.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func newFamily(kind prometheus.ValueType, name, help string, labels ...string) *family {
	return &family{prometheus.NewDesc(name, help, append([]string{"app"}, labels...), nil), kind}
}

// The metrics. This is the closed list of what is said of the apps.
var (
	up = newFamily(prometheus.GaugeValue, "homelab_app_up",
		"1 if the app answers what is asked of it, and takes our key or password.")
	healthIssues = newFamily(prometheus.GaugeValue, "homelab_app_health_issues",
		"How many problems the app sees itself, by its own word for how bad they are.", "type")
	queue = newFamily(prometheus.GaugeValue, "homelab_app_queue",
		"How many films or episodes are on the way; total has those with errors and warnings too.", "state")
	missingMedia = newFamily(prometheus.GaugeValue, "homelab_app_missing",
		"How many films or episodes the app looks for; of films also those that are not out yet.")
	indexers = newFamily(prometheus.GaugeValue, "homelab_app_indexers",
		"How many indexers are switched on, and how many of these the app does not ask for now because they failed.", "state")
	torrents = newFamily(prometheus.GaugeValue, "homelab_app_torrents",
		"How many torrents there are by what they do; stalled are downloads that get nothing.", "state")
	transferred = newFamily(prometheus.CounterValue, "homelab_app_transfer_bytes_total",
		"Bytes of content that were loaded and given away since the app's start.", "direction")
	connected = newFamily(prometheus.GaugeValue, "homelab_app_connected",
		"1 if the app listens for others, whether or not any has connected yet.")
	listeningPort = newFamily(prometheus.GaugeValue, "homelab_app_listening_port",
		"The port on which the app is set to listen for others.")
	streams = newFamily(prometheus.GaugeValue, "homelab_app_streams",
		"How many people are watching or listening.")
	libraryItems = newFamily(prometheus.GaugeValue, "homelab_app_library_items",
		"How many films and episodes the library has.", "type")
	requests = newFamily(prometheus.GaugeValue, "homelab_app_requests",
		"How many requests there are by status; approved are those that are processing and those that are available.", "status")
)

func families() []*family {
	return []*family{up, healthIssues, queue, missingMedia, indexers, torrents, transferred, connected,
		listeningPort, streams, libraryItems, requests}
}

// sample is the value of one series. Its labels are those after the app.
type sample struct {
	family *family
	value  float64
	labels []string
}

func (s sample) metric(app string) prometheus.Metric {
	return prometheus.MustNewConstMetric(s.family.desc, s.family.kind, s.value, append([]string{app}, s.labels...)...)
}

// Describe sends the closed list of the metrics.
func (o *Observer) Describe(all chan<- *prometheus.Desc) {
	for _, f := range families() {
		all <- f.desc
	}
}

// Collect sends what the latest round found. Every app of the plan has homelab_app_up from the
// start.
func (o *Observer) Collect(all chan<- prometheus.Metric) {
	for _, s := range o.subjects {
		s.mutex.Lock()
		samples := append([]sample{{family: up, value: number(s.up)}}, s.samples...)
		s.mutex.Unlock()
		for _, one := range samples {
			all <- one.metric(string(s.name))
		}
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// missing is the error for an answer without a field.
func missing(field string) error { return errors.New("the answer has no " + field) }

// field is a number of an answer, and where it is kept.
type field struct {
	name   string
	value  *float64
	family *family
	labels []string
}

// keep keeps the numbers of an answer, and reports those that are not there.
func (l *look) keep(fields ...field) {
	for _, f := range fields {
		if f.value == nil {
			l.leave(f.name, missing(f.name))
			continue
		}
		l.set(f.family, *f.value, f.labels...)
	}
}

// set keeps a value.
func (l *look) set(f *family, value float64, labels ...string) {
	l.samples = append(l.samples, sample{f, value, labels})
}
