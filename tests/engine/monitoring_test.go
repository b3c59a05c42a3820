package engine

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/components/monitoring"
	"homelab/components/stack"
	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

func monitored(o *workspace.Options) { o.Program = stack.From }

// written are the files that the deployment wrote, by the name of their resource.
func written(all []apitype.ResourceV3) map[string]string {
	out := map[string]string{}
	for _, r := range all {
		if text, ok := r.Inputs["stdin"].(string); ok {
			out[r.URN.Name()] = text
		}
	}
	return out
}

// targets are the addresses that Prometheus scrapes, by job.
func targets(t *testing.T, config string) map[string]string {
	t.Helper()
	var parsed struct {
		Jobs []struct {
			Name    string `yaml:"job_name"`
			Targets []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(config), &parsed))
	out := map[string]string{}
	for _, j := range parsed.Jobs {
		for _, s := range j.Targets {
			for _, address := range s.Targets {
				out[address] = j.Name
			}
		}
	}
	return out
}

const prometheusConfig = "prometheus-files-etc-prometheus-prometheus.yml"

// Everything that says it has metrics is scraped, and Prometheus may reach all of it, through the
// monitoring's network and no other. A second deployment changes nothing.
func TestWhatHasMetricsIsScraped(t *testing.T) {
	w := open(t, monitored)
	up(t, w)
	all := state(t, w)
	files := written(all)
	scraped := targets(t, files[prometheusConfig])
	ways := files["prometheus-reach"] + files["prometheus-later-reach"]
	measured := 0
	for _, c := range containers(all) {
		name, label := c.URN.Name(), labelOf(t, c, "homelab.metrics")
		address := addressIn(t, c, "grafana-monitoring")
		port, _, has := strings.Cut(label, "/")
		if !has || strings.HasPrefix(label, "none: ") {
			assert.True(t, strings.HasPrefix(label, "none: "), "%s has neither metrics nor a reason: %q", name, label)
			continue
		}
		measured++
		assert.Contains(t, scraped, name+":"+port)
		if name != "prometheus" {
			assert.Contains(t, ways, " "+address+" . "+port, "Prometheus may not reach %s", name)
		}
	}
	assert.Greater(t, measured, 12)
	everyGroupOfAlerts(t, files["prometheus-files-etc-prometheus-rules-chain.yml"])
	// Nobody of those whom it measures may open a connection to it.
	own := addressIn(t, container(t, w, "prometheus"), "grafana-monitoring")
	for _, c := range containers(all) {
		name := c.URN.Name()
		reaches := strings.Contains(files[name+"-reach"]+files[name+"-later-reach"], " . "+own+" . ")
		assert.Equal(t, name == "grafana" || name == "home", reaches, "%s reaches Prometheus: %v", name, reaches)
	}
	for _, d := range monitoring.Catalog() {
		reach := files[d.Name+"-reach"]
		assert.Equal(t, d.Name == "alertmanager", strings.Contains(reach, "internet {"), "%s has a way out", d.Name)
	}

	again := up(t, w)
	assert.Equal(t, map[string]int{"same": again.Changes["same"]}, again.Changes, "%s", logOf(again))
}

// everyGroupOfAlerts holds the deployed alerts about the whole system to those of the model from
// which the alerts' own tests are made. Alerts exist where the parts that they are about are found,
// some by their names; a part that got another name would take its alerts away.
func everyGroupOfAlerts(t *testing.T, deployed string) {
	t.Helper()
	names := func(text string) []string {
		var file struct {
			Groups []struct {
				Rules []struct {
					Alert string `yaml:"alert"`
				} `yaml:"rules"`
			} `yaml:"groups"`
		}
		require.NoError(t, yaml.Unmarshal([]byte(text), &file))
		require.Len(t, file.Groups, 1)
		var out []string
		for _, r := range file.Groups[0].Rules {
			out = append(out, r.Alert)
		}
		return out
	}
	all, err := os.ReadFile("../../components/monitoring/internal/rules/testdata/chain.yml.golden")
	require.NoError(t, err)
	assert.Equal(t, names(string(all)), names(deployed))
}

// A service more adds its target, its rules, its dashboard's row, its entry on the start page and
// its certificate, and nothing else of the monitoring changes. Without it, all of that is gone.
func TestAServiceMoreIsMonitored(t *testing.T) {
	photos := map[string]any{
		"image": "ghcr.io/example/photos:v3@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"port":  2342, "user": "2002:2002", "memoryMiB": 128, "health": map[string]any{"path": "/api/v1/status"},
	}
	w := open(t, monitored)
	up(t, w)
	before := written(state(t, w))
	require.NoError(t, w.SetConfig(map[string]any{"homelab:customServices": map[string]any{"photos": photos}}))
	up(t, w)
	with := written(state(t, w))
	var changed, added []string
	for _, name := range slices.Sorted(maps.Keys(with)) {
		ofMonitoring := slices.ContainsFunc(monitoring.Catalog(), func(d definition) bool { return strings.HasPrefix(name, d.Name+"-") })
		switch old, was := before[name]; {
		case !ofMonitoring:
		case !was:
			added = append(added, name)
		case old != with[name]:
			changed = append(changed, name)
			assert.Contains(t, with[name], "photos", "%s changed for another reason", name)
		}
	}
	assert.Equal(t, []string{"prometheus-files-etc-prometheus-rules-service-custom-photos.yml"}, added)
	for _, name := range []string{prometheusConfig, "home-files-etc-home-page.json", "blackbox-files-etc-blackbox-blackbox.yml", "alloy-files-etc-alloy-config.alloy"} {
		assert.Contains(t, changed, name)
	}
	require.NoError(t, w.SetConfig(map[string]any{"homelab:customServices": map[string]any{}}))
	up(t, w)
	assert.Equal(t, before, written(state(t, w)))
}

// Without monitoring nothing of it is there, the services stay as they were, and the machine still
// tells of units that fail.
func TestMonitoringOff(t *testing.T) {
	w := open(t, monitored)
	up(t, w)
	ids := map[string]string{}
	for _, c := range containers(state(t, w)) {
		ids[c.URN.Name()] = string(c.ID)
	}
	require.NoError(t, w.SetConfig(map[string]any{"homelab:monitoring": map[string]any{"enabled": false}}))
	up(t, w)
	left := map[string]string{}
	for _, c := range containers(state(t, w)) {
		left[c.URN.Name()] = string(c.ID)
	}
	for _, d := range monitoring.Catalog() {
		assert.NotContains(t, left, d.Name)
		delete(ids, d.Name)
	}
	// Portal and detection no longer know the hostnames that went.
	for _, name := range []string{"authelia", "crowdsec"} {
		assert.NotEmpty(t, left[name])
		delete(ids, name)
		delete(left, name)
	}
	assert.Equal(t, ids, left, "another container was replaced")
	assert.NotContains(t, w.World().PublicHostnames(), "grafana.example.com")
	named(t, state(t, w), "alerts-homelab-alert-deployed.service-started")
}

// Promtail in the place of Alloy: it runs, Alloy does not, and Prometheus measures it.
func TestTheOtherShipper(t *testing.T) {
	w := open(t, monitored, func(o *workspace.Options) {
		o.Config = map[string]any{"homelab:monitoring": map[string]any{"shipper": "promtail"}}
	})
	up(t, w)
	assert.NotEmpty(t, container(t, w, "promtail").ID)
	assert.Empty(t, container(t, w, "alloy").ID)
	assert.Contains(t, targets(t, written(state(t, w))[prometheusConfig]), "promtail:9080")
}

// A test message that does not arrive fails the deployment, and takes no hostname away: it is the
// last step.
func TestAMessageThatDoesNotArrive(t *testing.T) {
	w := open(t, monitored)
	w.World().Inject(simcloud.Fault{Type: typeCommand, Name: "alertmanager-test-notification", Operation: simcloud.OpCreate, Times: 1})
	_, err := w.Up(t.Context())
	require.Error(t, err)
	assert.Equal(t, publicHostnames(), w.World().PublicHostnames())
	again := up(t, w)
	assert.Equal(t, 1, again.Changes["create"], "%s", logOf(again))
}

func labelOf(t *testing.T, c apitype.ResourceV3, name string) string {
	t.Helper()
	list, _ := c.Inputs["labels"].([]any)
	for _, l := range list {
		if entry, _ := l.(map[string]any); entry["label"] == name {
			value, _ := entry["value"].(string)
			return value
		}
	}
	text, err := json.Marshal(c.Inputs["labels"])
	require.NoError(t, err)
	require.Fail(t, "no label", "%s of %s: %s", name, c.URN.Name(), text)
	return ""
}

func addressIn(t *testing.T, c apitype.ResourceV3, network string) string {
	t.Helper()
	list, _ := c.Inputs["networksAdvanced"].([]any)
	for _, n := range list {
		entry, _ := n.(map[string]any)
		if entry["name"] == network {
			address, _ := entry["ipv4Address"].(string)
			return address
		}
	}
	return ""
}
