//go:build chain

package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/internal/toolchain"
)

// ruleFile is a rule file, as far as its alerts are concerned.
type ruleFile struct {
	Groups []struct {
		Rules []ruleAlert `yaml:"rules"`
	} `yaml:"groups"`
}

// ruleAlert is an alerting rule.
type ruleAlert struct {
	Name        string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// ruleCase is what makes an alert fire, and what does not.
type ruleCase struct {
	// firing and quiet are series and their values, in promtool's notation.
	firing, quiet map[string]string
	// at is when the alert must fire, and must be quiet.
	at time.Duration
	// labels are those of the result, besides the rule's.
	labels map[string]string
	// summary is what the summary says; empty where it holds no values.
	summary string
	// too are alerts of the same name that fire as well, by severity.
	too []string
}

// The format of promtool's unit tests.
type (
	unitTests struct {
		RuleFiles          []string   `yaml:"rule_files"`
		EvaluationInterval string     `yaml:"evaluation_interval"`
		Tests              []unitTest `yaml:"tests"`
	}
	unitTest struct {
		Name        string       `yaml:"name"`
		Interval    string       `yaml:"interval"`
		InputSeries []unitSeries `yaml:"input_series"`
		Alerts      []unitAlert  `yaml:"alert_rule_test,omitempty"`
		Values      []unitValues `yaml:"promql_expr_test,omitempty"`
	}
	unitSeries struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	unitAlert struct {
		EvalTime string      `yaml:"eval_time"`
		Name     string      `yaml:"alertname"`
		Expected []unitFired `yaml:"exp_alerts"`
	}
	unitFired struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	}
	unitValues struct {
		Expr     string       `yaml:"expr"`
		EvalTime string       `yaml:"eval_time"`
		Expected []unitSample `yaml:"exp_samples"`
	}
	unitSample struct {
		Labels string  `yaml:"labels"`
		Value  float64 `yaml:"value"`
	}
)

// recordings is the file of what is recorded, of which alerts are.
const recordings = "containers.yml"

// Every alert of the golden files fires when it should, after the time that it should wait, and
// says what it should; and it is quiet when all is well. An alert without a case fails the test.
func TestAlertsFire(t *testing.T) {
	promtool := built(t, toolchain.PromtoolTool)
	dir := t.TempDir()
	used := map[string]bool{}
	files := ruleFiles(t, dir)
	require.Contains(t, files, recordings)
	for _, file := range files {
		if file == recordings {
			continue // TestContainersAreRecorded
		}
		t.Run(file, func(t *testing.T) {
			for step, tests := range unitTestsOf(t, file, used) {
				doc, err := yaml.Marshal(unitTests{RuleFiles: []string{recordings, file}, EvaluationInterval: step, Tests: tests})
				require.NoError(t, err)
				path := filepath.Join(dir, file+"."+step+".test.yml")
				write(t, path, string(doc))
				assert.Contains(t, accepted(t, promtool, "test", "rules", path), "SUCCESS")
			}
		})
	}
	for name := range ruleCases {
		assert.True(t, used[name], "there is no alert %s: its case tests nothing", name)
	}
}

// unitTestsOf returns promtool's tests of a rule file, by how often the rules are evaluated.
func unitTestsOf(t *testing.T, file string, used map[string]bool) map[string][]unitTest {
	t.Helper()
	var rules ruleFile
	require.NoError(t, yaml.Unmarshal([]byte(monitoringGolden(t, "rules", file)), &rules))
	require.Len(t, rules.Groups, 1)
	alerts := rules.Groups[0].Rules
	require.NotEmpty(t, alerts)
	out := map[string][]unitTest{}
	for _, a := range alerts {
		name := a.Name
		if _, ok := ruleCases[name]; !ok {
			name += " " + a.Labels["severity"]
		}
		makeCase, ok := ruleCases[name]
		if !assert.True(t, ok, "the alert %s has no case: it may never fire", name) {
			continue
		}
		used[name] = true
		for i, c := range makeCase(a) {
			step := time.Minute
			if c.at > 4*time.Hour {
				step = time.Hour
			}
			tests := []unitTest{{Name: fmt.Sprintf("%s %d fires", name, i), InputSeries: inputs(c.firing), Alerts: firing(t, c, a, alerts, step)}}
			// The watchdog is never quiet; that is what it is for.
			if name != "Watchdog" {
				require.NotEmpty(t, c.quiet, "%s: nothing says when it is quiet", name)
				tests = append(tests, unitTest{
					Name: fmt.Sprintf("%s %d is quiet", name, i), InputSeries: inputs(c.quiet), Alerts: []unitAlert{{EvalTime: promDuration(c.at), Name: a.Name}},
				})
			}
			for _, test := range tests {
				test.Interval = promDuration(step)
				out[test.Interval] = append(out[test.Interval], test)
			}
		}
	}
	return out
}

// firing returns the checks that the alert fires at the time of its case, and that it does not
// before it has waited.
func firing(t *testing.T, c ruleCase, a ruleAlert, all []ruleAlert, step time.Duration) []unitAlert {
	t.Helper()
	fires := unitAlert{EvalTime: promDuration(c.at), Name: a.Name}
	for _, other := range all {
		if other.Name != a.Name || other.Labels["severity"] != a.Labels["severity"] && !slices.Contains(c.too, other.Labels["severity"]) {
			continue
		}
		labels, annotations := maps.Clone(other.Labels), maps.Clone(other.Annotations)
		maps.Copy(labels, c.labels)
		if c.summary != "" {
			annotations["summary"] = c.summary
		}
		require.NotContains(t, annotations["summary"], "{{", "%s: the case does not say what the summary says", a.Name)
		require.NotContains(t, annotations["description"], "{{", a.Name)
		fires.Expected = append(fires.Expected, unitFired{labels, annotations})
	}
	out := []unitAlert{fires}
	if a.For != "" {
		// Nothing can have been wrong for longer than one evaluation before this.
		early := unitAlert{EvalTime: promDuration(waits(t, a.For) - step), Name: a.Name}
		require.Less(t, waits(t, a.For), c.at, "%s: its case ends before it fires", a.Name)
		out = append([]unitAlert{early}, out...)
	}
	return out
}

// waits reads a duration as Prometheus writes it.
func waits(t *testing.T, text string) time.Duration {
	t.Helper()
	days, isDays := strings.CutSuffix(text, "d")
	if !isDays {
		d, err := time.ParseDuration(text)
		require.NoError(t, err)
		return d
	}
	n, err := strconv.Atoi(days)
	require.NoError(t, err)
	return time.Duration(n) * 24 * time.Hour
}

// promDuration writes whole minutes.
func promDuration(d time.Duration) string { return fmt.Sprintf("%dm", d/time.Minute) }

func inputs(series map[string]string) []unitSeries {
	var out []unitSeries
	for _, name := range slices.Sorted(maps.Keys(series)) {
		out = append(out, unitSeries{name, series[name]})
	}
	return out
}
