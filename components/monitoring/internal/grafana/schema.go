package grafana

import (
	"bytes"
	"encoding/json"
)

// The classic schema of dashboards (v1), as far as it is used here: provisioning by file takes no
// other (grafana/grafana issue 127928). tests/dashboards reads the result back with the types of
// Grafana's own SDK.

type dashboard struct {
	UID           string      `json:"uid"`
	Title         string      `json:"title"`
	Description   string      `json:"description"`
	Tags          []string    `json:"tags"`
	Timezone      string      `json:"timezone"`
	Editable      bool        `json:"editable"`
	GraphTooltip  int         `json:"graphTooltip"`
	SchemaVersion int         `json:"schemaVersion"`
	Refresh       string      `json:"refresh"`
	Time          timeRange   `json:"time"`
	Templating    variables   `json:"templating"`
	Annotations   annotations `json:"annotations"`
	Links         []link      `json:"links"`
	Panels        []panel     `json:"panels"`
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type variables struct {
	List []variable `json:"list"`
}

// annotations is empty: the list is required.
type annotations struct {
	List []struct{} `json:"list"`
}

// variable is a choice at the top of a dashboard.
type variable struct {
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Label      string     `json:"label"`
	Datasource *sourceRef `json:"datasource,omitempty"`
	Query      any        `json:"query"`
	Multi      bool       `json:"multi"`
	IncludeAll bool       `json:"includeAll"`
	AllValue   string     `json:"allValue,omitempty"`
	Current    *option    `json:"current,omitempty"`
	// Refresh 2 asks again when the time changes.
	Refresh int `json:"refresh,omitempty"`
	// Sort 1 is by name.
	Sort int `json:"sort,omitempty"`
}

type option struct {
	Selected bool `json:"selected"`
	Text     any  `json:"text"`
	Value    any  `json:"value"`
}

// labelValues asks Loki for the values of a label.
type labelValues struct {
	Label  string `json:"label"`
	RefID  string `json:"refId"`
	Stream string `json:"stream"`
	// Type 1 is: values of a label.
	Type int `json:"type"`
}

// link leads from one dashboard to the others of a tag.
type link struct {
	Title       string   `json:"title"`
	Type        string   `json:"type"`
	Icon        string   `json:"icon"`
	Tooltip     string   `json:"tooltip"`
	Tags        []string `json:"tags"`
	AsDropdown  bool     `json:"asDropdown"`
	TargetBlank bool     `json:"targetBlank"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
}

type sourceRef struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// panel is a panel, or a row's head: then Collapsed and Panels are there and nothing else of a
// panel.
type panel struct {
	ID              int              `json:"id"`
	Type            string           `json:"type"`
	Title           string           `json:"title"`
	Description     string           `json:"description,omitempty"`
	GridPos         gridPos          `json:"gridPos"`
	Collapsed       *bool            `json:"collapsed,omitempty"`
	Panels          *[]panel         `json:"panels,omitempty"`
	Datasource      *sourceRef       `json:"datasource,omitempty"`
	Targets         []target         `json:"targets,omitempty"`
	Transformations []transformation `json:"transformations,omitempty"`
	Options         any              `json:"options,omitempty"`
	FieldConfig     *fieldConfig     `json:"fieldConfig,omitempty"`
}

type gridPos struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// target is one query of a panel.
type target struct {
	RefID        string    `json:"refId"`
	Datasource   sourceRef `json:"datasource"`
	Expr         string    `json:"expr"`
	LegendFormat string    `json:"legendFormat,omitempty"`
	// QueryType is for Loki: range or instant.
	QueryType string `json:"queryType,omitempty"`
	// Instant, Range and Format are for Prometheus.
	Instant *bool  `json:"instant,omitempty"`
	Range   *bool  `json:"range,omitempty"`
	Format  string `json:"format,omitempty"`
}

type transformation struct {
	ID      string   `json:"id"`
	Options organize `json:"options"`
}

// organize renames and hides the columns of a table.
type organize struct {
	Exclude map[string]bool   `json:"excludeByName"`
	Rename  map[string]string `json:"renameByName"`
}

type fieldConfig struct {
	Defaults  fieldDefaults `json:"defaults"`
	Overrides []override    `json:"overrides"`
}

type fieldDefaults struct {
	Unit       string      `json:"unit,omitempty"`
	Decimals   *int        `json:"decimals,omitempty"`
	Min        *float64    `json:"min,omitempty"`
	Max        *float64    `json:"max,omitempty"`
	NoValue    string      `json:"noValue,omitempty"`
	Mappings   []mapping   `json:"mappings,omitempty"`
	Thresholds *thresholds `json:"thresholds,omitempty"`
	Color      *fieldColor `json:"color,omitempty"`
	Custom     any         `json:"custom,omitempty"`
}

type override struct {
	Matcher    matcher    `json:"matcher"`
	Properties []property `json:"properties"`
}

type matcher struct {
	ID      string `json:"id"`
	Options string `json:"options"`
}

type property struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}

// mapping shows values as words.
type mapping struct {
	Type    string                   `json:"type"`
	Options map[string]mappingResult `json:"options"`
}

type mappingResult struct {
	Text  string `json:"text"`
	Color string `json:"color"`
	Index int    `json:"index"`
}

type thresholds struct {
	Mode  string `json:"mode"`
	Steps []step `json:"steps"`
}

// step is the colour from a value on; the first one has no value.
type step struct {
	Value *float64 `json:"value"`
	Color string   `json:"color"`
}

type fieldColor struct {
	Mode string `json:"mode"`
}

// encode renders a dashboard with one key per line, so that a change of one is a change of a line.
func encode(d dashboard) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
