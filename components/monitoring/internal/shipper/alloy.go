package shipper

import (
	"bytes"
	"fmt"
	"path"

	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/printer"
	"github.com/grafana/alloy/syntax/token"
	"github.com/grafana/alloy/syntax/token/builder"

	"homelab/components/monitoring/internal/loki"
)

// Where Alloy is, and where its files are.
const (
	alloyPort   = 12345
	alloyConfig = "/etc/alloy/config.alloy"
	alloyState  = "/var/lib/alloy/data"
)

// alloyHeader stands at the top of the file.
const alloyHeader = "// Rendered by homelab: an edit here is lost at the next deployment.\n"

// The names of the components: one of each kind.
const (
	containers = "containers"
	files      = "files"
	machine    = "machine"
	redact     = "redact"
	store      = "loki"
)

// alloySettings is config.alloy: the blocks and arguments that are used, as
// https://grafana.com/docs/alloy/latest/reference/components/ describes them.
type alloySettings struct {
	Logging   alloyLogging   `alloy:"logging,block"`
	Discovery alloyDocker    `alloy:"discovery.docker,block"`
	Relabel   alloyRelabel   `alloy:"discovery.relabel,block"`
	Docker    alloyContainer `alloy:"loki.source.docker,block"`
	Unit      alloyUnit      `alloy:"loki.relabel,block"`
	Journal   alloyJournal   `alloy:"loki.source.journal,block"`
	Files     []alloyFiles   `alloy:"loki.source.file,block"`
	Process   alloyProcess   `alloy:"loki.process,block"`
	Write     alloyWrite     `alloy:"loki.write,block"`
}

// reference is an export of another component.
type reference string

// AlloyTokenize writes the reference without quotes.
func (r reference) AlloyTokenize() []builder.Token {
	return []builder.Token{{Tok: token.LITERAL, Lit: string(r)}}
}

// alloyLogging is the logging block: a line of Alloy's own for every target would be shipped, too.
type alloyLogging struct {
	Level  string `alloy:"level,attr"`
	Format string `alloy:"format,attr"`
}

type alloyDocker struct {
	Label           string `alloy:",label"`
	Host            string `alloy:"host,attr"`
	RefreshInterval string `alloy:"refresh_interval,attr"`
}

type alloyRelabel struct {
	Label   string      `alloy:",label"`
	Targets reference   `alloy:"targets,attr"`
	Rules   []alloyRule `alloy:"rule,block"`
}

type alloyRule struct {
	Action      string   `alloy:"action,attr,optional"`
	Sources     []string `alloy:"source_labels,attr,optional"`
	Regex       string   `alloy:"regex,attr,optional"`
	Target      string   `alloy:"target_label,attr,optional"`
	Replacement string   `alloy:"replacement,attr,optional"`
}

type alloyContainer struct {
	Label     string            `alloy:",label"`
	Host      string            `alloy:"host,attr"`
	Targets   reference         `alloy:"targets,attr"`
	Labels    map[string]string `alloy:"labels,attr"`
	ForwardTo []reference       `alloy:"forward_to,attr"`
}

// alloyUnit is a loki.relabel whose rules alone are used: no line goes through it.
type alloyUnit struct {
	Label     string      `alloy:",label"`
	ForwardTo []reference `alloy:"forward_to,attr"`
	Rules     []alloyRule `alloy:"rule,block"`
}

type alloyJournal struct {
	Label        string            `alloy:",label"`
	Path         string            `alloy:"path,attr"`
	MaxAge       string            `alloy:"max_age,attr"`
	Labels       map[string]string `alloy:"labels,attr"`
	RelabelRules reference         `alloy:"relabel_rules,attr"`
	ForwardTo    []reference       `alloy:"forward_to,attr"`
}

type alloyFiles struct {
	Label     string              `alloy:",label"`
	Targets   []map[string]string `alloy:"targets,attr"`
	ForwardTo []reference         `alloy:"forward_to,attr"`
	Match     alloyMatch          `alloy:"file_match,block"`
}

// alloyMatch looks for the files again and again: one that does not exist yet is no error.
type alloyMatch struct {
	Enabled bool `alloy:"enabled,attr"`
}

type alloyProcess struct {
	Label     string       `alloy:",label"`
	ForwardTo []reference  `alloy:"forward_to,attr"`
	Stages    []alloyStage `alloy:"stage,enum"`
}

// alloyStage is one step; exactly one field is set.
type alloyStage struct {
	Replace            *alloyReplace `alloy:"replace,block,optional"`
	StructuredMetadata *alloyValues  `alloy:"structured_metadata,block,optional"`
	LabelKeep          *alloyKeep    `alloy:"label_keep,block,optional"`
}

type alloyReplace struct {
	Expression string `alloy:"expression,attr"`
	Replace    string `alloy:"replace,attr"`
}

type alloyValues struct {
	Values map[string]string `alloy:"values,attr"`
}

type alloyKeep struct {
	Values []string `alloy:"values,attr"`
}

type alloyWrite struct {
	Label    string        `alloy:",label"`
	Endpoint alloyEndpoint `alloy:"endpoint,block"`
}

type alloyEndpoint struct {
	URL string `alloy:"url,attr"`
	// MaxBackoffRetries 0 is no end; the default gives a batch up after 10 tries, which is about
	// 9 minutes. Meanwhile the sources wait: journal, files and Docker keep the lines.
	MaxBackoffRetries int `alloy:"max_backoff_retries,attr"`
}

// alloy renders config.alloy.
func alloy(p pipeline) ([]byte, error) {
	toRedact, toLoki := []reference{"loki.process." + redact + ".receiver"}, []reference{"loki.write." + store + ".receiver"}
	config := alloySettings{
		Logging:   alloyLogging{Level: "warn", Format: "logfmt"},
		Discovery: alloyDocker{Label: containers, Host: dockerHost(), RefreshInterval: "15s"},
		Relabel:   alloyRelabel{Label: containers, Targets: "discovery.docker." + containers + ".targets", Rules: alloyRules(p.containerRules())},
		Docker: alloyContainer{
			Label: containers, Host: dockerHost(), Targets: "discovery.relabel." + containers + ".output", Labels: map[string]string{}, ForwardTo: toRedact,
		},
		Unit: alloyUnit{Label: machine, ForwardTo: []reference{}, Rules: alloyRules(journalRules())},
		Journal: alloyJournal{
			Label: machine, Path: JournalPath, MaxAge: loki.OldestLine.String(), Labels: p.machine,
			RelabelRules: "loki.relabel." + machine + ".rules", ForwardTo: toRedact,
		},
		Process: alloyProcess{Label: redact, ForwardTo: toLoki},
		Write:   alloyWrite{Label: store, Endpoint: alloyEndpoint{URL: loki.PushURL()}},
	}
	if len(p.files) > 0 {
		source := alloyFiles{Label: files, ForwardTo: toRedact, Match: alloyMatch{Enabled: true}}
		for _, f := range p.files {
			target := f.labels(p.host)
			target["__path__"] = f.path
			source.Targets = append(source.Targets, target)
		}
		config.Files = []alloyFiles{source}
	}
	for _, pattern := range Patterns() {
		config.Process.Stages = append(config.Process.Stages, alloyStage{Replace: &alloyReplace{pattern.Expression, Redacted}})
	}
	config.Process.Stages = append(config.Process.Stages,
		alloyStage{StructuredMetadata: &alloyValues{map[string]string{metadataUnit: metadataUnit}}},
		// The sources add labels of their own: job, filename.
		alloyStage{LabelKeep: &alloyKeep{loki.Labels()}})

	return alloyText(config)
}

// alloyText writes the file as Alloy's formatter does, which is what a person on the machine knows.
func alloyText(config alloySettings) ([]byte, error) {
	file := builder.NewFile()
	file.Body().AppendFrom(config)
	parsed, err := parser.ParseFile(path.Base(alloyConfig), file.Bytes())
	if err != nil {
		return nil, fmt.Errorf("reading what was rendered: %w", err)
	}
	var out bytes.Buffer
	out.WriteString(alloyHeader + "\n")
	if err := printer.Fprint(&out, parsed); err != nil {
		return nil, fmt.Errorf("formatting what was rendered: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func alloyRules(rules []rule) []alloyRule {
	out := make([]alloyRule, 0, len(rules))
	for _, r := range rules {
		out = append(out, alloyRule{Action: r.action, Sources: r.sources, Regex: r.regex, Target: r.target, Replacement: r.replacement})
	}
	return out
}
