package shipper

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"homelab/components/internal/watch"
	"homelab/components/monitoring/internal/loki"
)

// Names of the labels, and of what comes with a line without being one.
const (
	labelHost    = "host"
	labelLayer   = "layer"
	labelService = "service"
	// metadataUnit is the unit that wrote a line of the journal. There are hundreds, so it is
	// structured metadata, which makes no stream.
	metadataUnit = "unit"
)

// unknownLayer is the layer of a container that the model does not know: one that somebody started
// by hand.
const unknownLayer = "unknown"

// pipeline is what both programs are told.
type pipeline struct {
	// host is the label of every line.
	host string
	// layers say which containers belong to which layer, from the outside in.
	layers []layer
	// files are the log files, in order of their services.
	files []logFile
	// machine are the labels of the journal.
	machine map[string]string
}

type layer struct {
	name watch.Layer
	// services matches the names of its containers, and no other text.
	services string
}

type logFile struct {
	path    string
	service string
	layer   watch.Layer
}

func pipelineOf(m watch.Model) (pipeline, error) {
	out := pipeline{host: m.Host, machine: map[string]string{labelHost: m.Host, labelService: watch.MachineName, labelLayer: string(watch.Machine)}}
	for _, l := range watch.Layers() {
		var names []string
		for _, s := range m.Of(l) {
			names = append(names, regexp.QuoteMeta(s.Name))
		}
		if len(names) > 0 {
			out.layers = append(out.layers, layer{l, strings.Join(names, "|")})
		}
	}
	owner := map[string]string{}
	for _, s := range m.Subjects {
		for _, file := range s.LogFiles {
			if !path.IsAbs(file) || path.Clean(file) != file || strings.ContainsAny(file, `*?[]{}\`) {
				return pipeline{}, fmt.Errorf("%s: log file %q is not a clean absolute path without wildcards", s.Name, file)
			}
			if other, taken := owner[file]; taken {
				return pipeline{}, fmt.Errorf("%s and %s: both write the log file %s", other, s.Name, file)
			}
			owner[file] = s.Name
			out.files = append(out.files, logFile{file, s.Name, s.Layer})
		}
	}
	return out, nil
}

// labels are the labels of a log file's lines.
func (f logFile) labels(host string) map[string]string {
	return map[string]string{labelHost: host, labelLayer: string(f.layer), labelService: f.service}
}

// rule is a relabelling rule, as Prometheus and both shippers know it. An empty field is the
// default: the whole value, replaced by itself.
type rule struct {
	sources     []string
	regex       string
	target      string
	replacement string
	action      string
}

// containerRules turn what Docker says of a container into its labels, and drop the rest.
//
// The rest would also be part of the key under which Alloy notes how far it has read: a container
// that gets another address would be read from its beginning again.
func (p pipeline) containerRules() []rule {
	rules := []rule{
		{sources: []string{"__meta_docker_container_name"}, regex: "/(.*)", target: labelService},
		{target: labelHost, replacement: p.host},
		{target: labelLayer, replacement: unknownLayer},
	}
	for _, l := range p.layers {
		rules = append(rules, rule{sources: []string{labelService}, regex: l.services, target: labelLayer, replacement: string(l.name)})
	}
	keep := append([]string{"__meta_docker_container_id"}, loki.Labels()...)
	return append(rules, rule{action: "labelkeep", regex: strings.Join(keep, "|")})
}

// journalRules keep the name of the unit.
func journalRules() []rule {
	return []rule{{sources: []string{"__journal__systemd_unit"}, target: metadataUnit}}
}
