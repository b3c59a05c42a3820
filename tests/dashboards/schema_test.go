// Package dashboards checks the dashboards and the alert rules against what they are for: Grafana's
// own types of a dashboard, and the series of the running programs. It is a module of its own for
// the sake of Grafana's SDK and of Prometheus' parser, which nothing else here needs.
package dashboards

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The goldens of the packages that render, which this module cannot import.
const (
	grafanaGoldens    = "../../components/monitoring/internal/grafana/testdata"
	rulesGoldens      = "../../components/monitoring/internal/rules/testdata"
	prometheusGoldens = "../../components/monitoring/internal/prometheus/testdata"
)

// goldens returns the contents of the files of that pattern, by name.
func goldens(t *testing.T, folder, pattern string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no %s in %s", pattern, folder)
	out := map[string][]byte{}
	for _, file := range files {
		out[filepath.Base(file)], err = os.ReadFile(file)
		require.NoError(t, err)
	}
	return out
}

func boards(t *testing.T) map[string][]byte {
	t.Helper()
	return goldens(t, grafanaGoldens, "dashboards-*.json.golden")
}

func TestMain(m *testing.M) {
	// The types of the panels' options and of the data sources' queries: without them both would be
	// taken unread.
	plugins.RegisterDefaultPlugins()
	os.Exit(m.Run())
}

// strict reads JSON with a type of the SDK, which refuses what it does not know, and what lacks
// something that is required.
// Without a problem the SDK returns a list of none, which is an error that is not nil.
func strict(data []byte, into interface{ UnmarshalJSONStrict([]byte) error }) error {
	var problems cog.BuildErrors
	if err := into.UnmarshalJSONStrict(data); err != nil && (!errors.As(err, &problems) || len(problems) > 0) {
		return err
	}
	return nil
}

// read checks a dashboard and returns its panels. Read strictly the SDK drops what is in a panel,
// because of the lists of none, and does not look into its fieldConfig: so each is read by itself,
// and once more for what it says.
func read(data []byte) ([]dashboard.Panel, error) {
	//lint:ignore SA1019 Grafana takes no other from files (grafana/grafana issue 127928)
	var d dashboard.Dashboard
	if err := strict(data, &d); err != nil {
		return nil, err
	}
	var raw struct {
		Panels []json.RawMessage `json:"panels"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	var out []dashboard.Panel
	for _, text := range raw.Panels {
		var head struct {
			Type        string          `json:"type"`
			FieldConfig json.RawMessage `json:"fieldConfig"`
		}
		if err := json.Unmarshal(text, &head); err != nil {
			return nil, err
		}
		if head.Type == "row" {
			if err := strict(text, &dashboard.RowPanel{}); err != nil {
				return nil, err
			}
			continue
		}
		var p dashboard.Panel
		if err := errors.Join(strict(text, &p), strict(head.FieldConfig, &dashboard.FieldConfigSource{})); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, err
		}
		if err := p.Validate(); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, d.Validate()
}

func TestDashboardsAreOfTheClassicSchema(t *testing.T) {
	for name, data := range boards(t) {
		t.Run(name, func(t *testing.T) {
			panels, err := read(data)
			require.NoError(t, err)
			asking := 0
			for _, p := range panels {
				require.NotNil(t, p.Options, "%s", *p.Title)
				assert.IsNotType(t, map[string]any{}, p.Options, "%s: its options were not read", *p.Title)
				for _, q := range p.Targets {
					assert.Contains(t, []string{"prometheus", "loki"}, q.DataqueryType(), "%s: its query was not read", *p.Title)
					asking++
				}
			}
			assert.Positive(t, asking)
		})
	}
}

// What the check is worth: each of these mistakes fails.
func TestMistakesAreNotOfTheSchema(t *testing.T) {
	var good map[string]any
	require.NoError(t, json.Unmarshal(boards(t)["dashboards-homelab-machine.json.golden"], &good))
	good["panels"] = panelsOf(t, good, "stat", "timeseries", "table")
	for name, mistake := range map[string]func(d map[string]any, panel map[string]any){
		"an unknown field of the dashboard": func(d, _ map[string]any) { d["spec"] = map[string]any{} },
		"an unknown field of a panel":       func(_, p map[string]any) { p["vizConfig"] = 1 },
		"an unknown option":                 func(_, p map[string]any) { p["options"].(map[string]any)["colour"] = "red" },
		"a missing option":                  func(_, p map[string]any) { delete(p["options"].(map[string]any), "reduceOptions") },
		"an option of another type":         func(_, p map[string]any) { p["options"].(map[string]any)["wideLayout"] = "yes" },
		"an unknown field of a query":       func(_, p map[string]any) { p["targets"].([]any)[0].(map[string]any)["query"] = "up" },
		"a query without an expression":     func(_, p map[string]any) { delete(p["targets"].([]any)[0].(map[string]any), "expr") },
		"a threshold without a colour": func(_, p map[string]any) {
			p["fieldConfig"].(map[string]any)["defaults"] = map[string]any{"thresholds": map[string]any{"mode": "absolute", "steps": []any{map[string]any{"value": nil}}}}
		},
		"no number of the schema": func(d, _ map[string]any) { delete(d, "schemaVersion") },
		"a place without a width": func(_, p map[string]any) { delete(p["gridPos"].(map[string]any), "w") },
	} {
		t.Run(name, func(t *testing.T) {
			var d map[string]any
			data, err := json.Marshal(good)
			require.NoError(t, err)
			_, err = read(data)
			require.NoError(t, err, "it was good before")
			require.NoError(t, json.Unmarshal(data, &d))
			mistake(d, d["panels"].([]any)[0].(map[string]any))
			data, err = json.Marshal(d)
			require.NoError(t, err)
			_, err = read(data)
			require.Error(t, err)
		})
	}
}

// panelsOf returns the first panel of each of these types.
func panelsOf(t *testing.T, d map[string]any, types ...string) []any {
	t.Helper()
	var out []any
	for _, want := range types {
		for _, p := range d["panels"].([]any) {
			if p.(map[string]any)["type"] == want {
				out = append(out, p)
				break
			}
		}
	}
	require.Len(t, out, len(types))
	return out
}

// Provisioning by file takes no dashboard of the second schema, and an identifier for one dashboard
// only.
func TestDashboardsCanBeProvisioned(t *testing.T) {
	uids := map[string]string{}
	for name, data := range boards(t) {
		var d struct {
			UID        string `json:"uid"`
			Title      string `json:"title"`
			APIVersion string `json:"apiVersion"`
			ID         *int   `json:"id"`
		}
		require.NoError(t, json.Unmarshal(data, &d))
		assert.Regexp(t, regexp.MustCompile(`^[a-zA-Z0-9_-]{1,40}$`), d.UID)
		assert.Equal(t, "dashboards-"+d.UID+".json.golden", name)
		assert.Empty(t, d.APIVersion)
		assert.Nil(t, d.ID)
		assert.Empty(t, uids[d.Title], "two dashboards are called %s", d.Title)
		uids[d.Title] = d.UID
	}
}
