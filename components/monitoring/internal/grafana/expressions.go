package grafana

import (
	"slices"
	"strings"

	"homelab/components/internal/watch"
)

// Expressions returns every expression that the dashboards ask Prometheus, sorted, each once. They
// hold no variable of Grafana's, so that Prometheus understands them as they are.
func Expressions(m watch.Model) []string { return asked(m, prometheusUID) }

// LogQueries returns every query that the dashboards ask Loki, sorted, each once, with Grafana's
// variables replaced by values that they can have.
func LogQueries(m watch.Model) []string {
	replace := strings.NewReplacer("$__auto", "1m", "$layer", ".+", "$service", ".+", "$search", "")
	out := asked(m, lokiUID)
	for i := range out {
		out[i] = replace.Replace(out[i])
	}
	return out
}

func asked(m watch.Model, source string) []string {
	var out []string
	for _, d := range dashboards(m) {
		for _, p := range d.Panels {
			for _, t := range p.Targets {
				if t.Datasource.UID == source {
					out = append(out, t.Expr)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
