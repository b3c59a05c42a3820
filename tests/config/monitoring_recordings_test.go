//go:build chain

package config

import (
	"maps"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/internal/toolchain"
)

// What cAdvisor measured is recorded by container: once for each that runs, and for no other.
func TestContainersAreRecorded(t *testing.T) {
	const memory, cpu = "container_memory_working_set_bytes", "container_cpu_usage_seconds_total"
	replaced := func(labels map[string]string) string { return labelled("homelab_container_info", labels) }
	old, fresh := machine("service", "radarr", "layer", "service", "id", scope("old")), machine("service", "radarr", "layer", "service", "id", scope("new"))
	relabelled := maps.Clone(fresh)
	relabelled["layer"] = "test"
	sample := func(metric, service, layer string, value float64) unitSample {
		return unitSample{metric + `{host="homelab",layer="` + layer + `",service="` + service + `"}`, value}
	}
	const recordedMemory, recordedCPU = "homelab:container_memory_working_set_bytes", "homelab:container_cpu_usage_seconds:rate5m"
	values := func(expr, at string, expected ...unitSample) unitValues { return unitValues{expr, at, expected} }
	tests := []unitTest{{
		Name: "what runs",
		InputSeries: inputs(map[string]string{
			measures(memory, "jellyfin"): "1000x60", measures(memory, "caddy"): "2000x60", measures(memory, "somebodys"): "3000x60",
			measures(cpu, "jellyfin", "cpu", "total"): "0+30x60", measures(cpu, "caddy", "cpu", "cpu00"): "0+6x60", measures(cpu, "caddy", "cpu", "cpu01"): "0+6x60",
			isContainer("jellyfin"): "1x60", isContainer("caddy"): "1x60", isContainer("ended"): "1x60",
		}),
		Values: []unitValues{
			values(recordedMemory, "20m", sample(recordedMemory, "jellyfin", "test", 1000), sample(recordedMemory, "caddy", "test", 2000)),
			values(recordedCPU, "20m", sample(recordedCPU, "jellyfin", "test", 0.5), sample(recordedCPU, "caddy", "test", 0.2)),
		},
	}, {
		// The last values of the old one stay for five minutes, as nobody says that they have ended.
		Name: "one is replaced",
		InputSeries: inputs(map[string]string{
			measures(memory, "old"): "9000x10", measures(memory, "new"): "_x10 100x60",
			measures(cpu, "old", "cpu", "total"): "0+60x10", measures(cpu, "new", "cpu", "total"): "_x10 0+6x60",
			replaced(old): "1x10 stale", replaced(fresh): "_x11 1x60",
		}),
		Values: []unitValues{
			values(recordedMemory, "10m", sample(recordedMemory, "radarr", "service", 9000)),
			values("container_memory_working_set_bytes", "13m",
				unitSample{measures(memory, "old"), 9000}, unitSample{measures(memory, "new"), 100}),
			values(recordedMemory, "13m", sample(recordedMemory, "radarr", "service", 100)),
			values(recordedCPU, "30m", sample(recordedCPU, "radarr", "service", 0.1)),
		},
	}, {
		// The machine's program runs once a minute, so it may name the old one for some time.
		Name:        "the machine is late",
		InputSeries: inputs(map[string]string{measures(memory, "old"): "9000x10 stale", measures(memory, "new"): "_x10 100x60", replaced(old): "1x60"}),
		Values:      []unitValues{values(recordedMemory, "13m")},
	}, {
		// Two of a name, or two names of one, are no reason to evaluate nothing.
		Name: "the machine contradicts itself",
		InputSeries: inputs(map[string]string{
			measures(memory, "old"): "9000x60", measures(memory, "new"): "100x60", replaced(old): "1x60", replaced(fresh): "1x60", replaced(relabelled): "1x60",
		}),
		Values: []unitValues{values("max by (service) ("+recordedMemory+")", "20m", unitSample{`{service="radarr"}`, 9000})},
	}, {
		Name:        "nobody names them",
		InputSeries: inputs(map[string]string{measures(memory, "new"): "100x60"}),
		Values:      []unitValues{values(recordedMemory, "20m")},
	}}
	for i := range tests {
		tests[i].Interval = "1m"
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, recordings), monitoringGolden(t, "rules", recordings))
	doc, err := yaml.Marshal(unitTests{RuleFiles: []string{recordings}, EvaluationInterval: "1m", Tests: tests})
	require.NoError(t, err)
	path := filepath.Join(dir, "recordings.test.yml")
	write(t, path, string(doc))
	require.Contains(t, accepted(t, built(t, toolchain.PromtoolTool), "test", "rules", path), "SUCCESS")
}
