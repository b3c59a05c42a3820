package grafana

// Options of the panels' plugins.

type statOptions struct {
	GraphMode              string `json:"graphMode"`
	ColorMode              string `json:"colorMode"`
	JustifyMode            string `json:"justifyMode"`
	TextMode               string `json:"textMode"`
	WideLayout             bool   `json:"wideLayout"`
	ShowPercentChange      bool   `json:"showPercentChange"`
	PercentChangeColorMode string `json:"percentChangeColorMode"`
	Orientation            string `json:"orientation"`
	ReduceOptions          reduce `json:"reduceOptions"`
}

type reduce struct {
	Values bool     `json:"values"`
	Calcs  []string `json:"calcs"`
	Fields string   `json:"fields"`
}

type graphOptions struct {
	Legend  legend  `json:"legend"`
	Tooltip tooltip `json:"tooltip"`
}

type timelineOptions struct {
	ShowValue   string  `json:"showValue"`
	RowHeight   float64 `json:"rowHeight"`
	MergeValues bool    `json:"mergeValues"`
	Legend      legend  `json:"legend"`
	Tooltip     tooltip `json:"tooltip"`
}

type legend struct {
	DisplayMode string   `json:"displayMode"`
	Placement   string   `json:"placement"`
	ShowLegend  bool     `json:"showLegend"`
	Calcs       []string `json:"calcs"`
}

type tooltip struct {
	Mode string `json:"mode"`
	Sort string `json:"sort"`
}

type graphCustom struct {
	DrawStyle   string `json:"drawStyle"`
	LineWidth   int    `json:"lineWidth"`
	FillOpacity int    `json:"fillOpacity"`
	ShowPoints  string `json:"showPoints"`
	SpanNulls   bool   `json:"spanNulls"`
	Stacking    *stack `json:"stacking,omitempty"`
}

type timelineCustom struct {
	LineWidth   int `json:"lineWidth"`
	FillOpacity int `json:"fillOpacity"`
}

type stack struct {
	Mode  string `json:"mode"`
	Group string `json:"group"`
}

type tableOptions struct {
	FrameIndex int      `json:"frameIndex"`
	ShowHeader bool     `json:"showHeader"`
	CellHeight string   `json:"cellHeight"`
	SortBy     []sortBy `json:"sortBy,omitempty"`
}

type sortBy struct {
	DisplayName string `json:"displayName"`
	Desc        bool   `json:"desc"`
}

type tableCustom struct {
	Align      string `json:"align"`
	Inspect    bool   `json:"inspect"`
	Filterable bool   `json:"filterable"`
}

type textOptions struct {
	Mode    string `json:"mode"`
	Content string `json:"content"`
}

type logsOptions struct {
	ShowLabels           bool   `json:"showLabels"`
	ShowCommonLabels     bool   `json:"showCommonLabels"`
	ShowTime             bool   `json:"showTime"`
	ShowLogContextToggle bool   `json:"showLogContextToggle"`
	WrapLogMessage       bool   `json:"wrapLogMessage"`
	PrettifyLogMessage   bool   `json:"prettifyLogMessage"`
	EnableLogDetails     bool   `json:"enableLogDetails"`
	SortOrder            string `json:"sortOrder"`
	DedupStrategy        string `json:"dedupStrategy"`
}

// Units as Grafana names them.
const (
	short         = "short"
	fraction      = "percentunit"
	bytesUnit     = "bytes"
	bytesPerS     = "Bps"
	seconds       = "s"
	perSecond     = "reqps"
	occurrencesPS = "ops"
	dateTime      = "dateTimeFromNow"
)

// Colours as Grafana names them.
const (
	green  = "green"
	yellow = "yellow"
	red    = "red"
)

// query is an expression with the name of its series, a pattern of labels in two braces.
type query struct{ expr, legend string }

// look is how a stat shows its number.
type look struct {
	unit     string
	decimals int
	// steps are the colours by value; the first is below all of them.
	steps []step
	// words are shown instead of numbers.
	words map[string]mappingResult
	// none is shown when there is no series.
	none string
	// byName shows a number for each series with its name.
	byName bool
}

func ptr[T any](v T) *T { return &v }

// rising is green, then yellow from warn on and red from alarm on.
func rising(warn, alarm float64) []step {
	return []step{{nil, green}, {ptr(warn), yellow}, {ptr(alarm), red}}
}

// falling is red below alarm, yellow below warn, and green above.
func falling(alarm, warn float64) []step {
	return []step{{nil, red}, {ptr(alarm), yellow}, {ptr(warn), green}}
}

// none is green at zero and red above.
func zero() []step { return []step{{nil, green}, {ptr(1.0), red}} }

// plain is one colour.
func plain() []step { return []step{{nil, "text"}} }

// yesNo are the words of a series of 0 and 1, of which good is the good one.
func yesNo(one, nought string, good int) map[string]mappingResult {
	colors := []string{red, green}
	if good == 0 {
		colors = []string{green, red}
	}
	return map[string]mappingResult{"0": {nought, colors[0], 0}, "1": {one, colors[1], 1}}
}

func stat(title, description string, l look, queries ...query) panel {
	p := prometheusPanel("stat", title, description, instant, queries)
	mode := "auto"
	if l.byName {
		mode = "value_and_name"
	}
	p.Options = statOptions{
		GraphMode: "none", ColorMode: "value", JustifyMode: "auto", TextMode: mode, WideLayout: true,
		PercentChangeColorMode: "standard", Orientation: "auto", ReduceOptions: reduce{Calcs: []string{"lastNotNull"}},
	}
	p.FieldConfig = l.fields()
	return p
}

func (l look) fields() *fieldConfig {
	f := fieldDefaults{Unit: l.unit, Decimals: ptr(l.decimals), NoValue: l.none, Color: &fieldColor{"thresholds"}}
	if l.steps != nil {
		f.Thresholds = &thresholds{Mode: "absolute", Steps: l.steps}
	}
	if l.words != nil {
		f.Mappings = []mapping{{Type: "value", Options: l.words}}
	}
	return &fieldConfig{Defaults: f, Overrides: []override{}}
}

// graph draws series over time.
func graph(title, description, unit string, queries ...query) panel {
	p := prometheusPanel("timeseries", title, description, overTime, queries)
	p.Options = graphOptions{
		Legend:  legend{DisplayMode: "list", Placement: "bottom", ShowLegend: true, Calcs: []string{}},
		Tooltip: tooltip{Mode: "multi", Sort: "desc"},
	}
	p.FieldConfig = &fieldConfig{
		Defaults: fieldDefaults{
			Unit: unit, Min: ptr(0.0), Color: &fieldColor{"palette-classic"},
			Custom: graphCustom{DrawStyle: "line", LineWidth: 1, FillOpacity: 10, ShowPoints: "never"},
		},
		Overrides: []override{},
	}
	return p
}

// small draws few series without a legend.
func small(title, description, unit string, queries ...query) panel {
	p := graph(title, description, unit, queries...)
	o := p.Options.(graphOptions)
	o.Legend.ShowLegend = false
	p.Options = o
	return p
}

// stacked draws series on top of each other.
func stacked(title, description, unit string, queries ...query) panel {
	p := graph(title, description, unit, queries...)
	c := p.FieldConfig.Defaults.Custom.(graphCustom)
	c.FillOpacity, c.Stacking = 40, &stack{Mode: "normal", Group: "A"}
	p.FieldConfig.Defaults.Custom = c
	return p
}

// timeline draws when a series of 0 and 1 was which.
func timeline(title, description string, words map[string]mappingResult, queries ...query) panel {
	p := prometheusPanel("state-timeline", title, description, overTime, queries)
	p.Options = timelineOptions{
		ShowValue: "never", RowHeight: 0.8, MergeValues: true,
		Legend:  legend{DisplayMode: "list", Placement: "bottom", ShowLegend: false, Calcs: []string{}},
		Tooltip: tooltip{Mode: "single", Sort: "none"},
	}
	l := look{words: words, steps: plain()}
	p.FieldConfig = l.fields()
	p.FieldConfig.Defaults.Custom = timelineCustom{LineWidth: 0, FillOpacity: 80}
	return p
}

// table lists the series of one expression. Columns are what its labels are called there; labels
// that are not named are hidden.
func table(title, description string, l look, expr, value string, columns ...string) panel {
	p := prometheusPanel("table", title, description, instant, []query{{expr, ""}})
	p.Targets[0].Format = "table"
	p.Options = tableOptions{ShowHeader: true, CellHeight: "sm", SortBy: []sortBy{{DisplayName: value, Desc: true}}}
	hidden := map[string]bool{"Time": true}
	rename := map[string]string{"Value": value}
	for _, label := range []string{"__name__", "instance", "job", "service", "layer", "host"} {
		hidden[label] = true
	}
	for i := 0; i < len(columns); i += 2 {
		delete(hidden, columns[i])
		rename[columns[i]] = columns[i+1]
	}
	p.Transformations = []transformation{{"organize", organize{Exclude: hidden, Rename: rename}}}
	p.FieldConfig = l.fields()
	p.FieldConfig.Defaults.Color = nil
	p.FieldConfig.Defaults.Custom = tableCustom{Align: "auto"}
	return p
}

// text shows HTML, which Grafana sanitizes: of what is not text it keeps little more than tables
// and images.
func text(title, html string) panel {
	return panel{Type: "text", Title: title, Options: textOptions{Mode: "html", Content: html}}
}

// logs lists log lines.
func logs(title, description, expr string) panel {
	return panel{
		Type: "logs", Title: title, Description: description, Datasource: &sourceRef{"loki", lokiUID},
		Targets: []target{{RefID: "A", Datasource: sourceRef{"loki", lokiUID}, Expr: expr, QueryType: "range"}},
		Options: logsOptions{
			ShowLabels: true, ShowTime: true, WrapLogMessage: true, EnableLogDetails: true, SortOrder: "Descending", DedupStrategy: "none",
		},
	}
}

// logGraph draws numbers of log lines over time.
func logGraph(title, description, expr, name string) panel {
	p := stacked(title, description, short)
	p.Datasource = &sourceRef{"loki", lokiUID}
	p.Targets = []target{{RefID: "A", Datasource: sourceRef{"loki", lokiUID}, Expr: expr, LegendFormat: name, QueryType: "range"}}
	return p
}

type when bool

const (
	instant  when = true
	overTime when = false
)

func prometheusPanel(kind, title, description string, w when, queries []query) panel {
	source := sourceRef{"prometheus", prometheusUID}
	p := panel{Type: kind, Title: title, Description: description, Datasource: &source}
	for i, q := range queries {
		p.Targets = append(p.Targets, target{
			RefID: string(rune('A' + i)), Datasource: source, Expr: q.expr, LegendFormat: q.legend,
			Instant: ptr(bool(w)), Range: ptr(!bool(w)),
		})
	}
	return p
}
