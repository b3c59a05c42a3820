package rules

import (
	"bytes"
	"fmt"
	"maps"
	"time"

	"gopkg.in/yaml.v3"

	"homelab/components/internal/watch"
)

// header stands at the top of every file.
const header = "# Rendered by homelab: an edit here is lost at the next deployment.\n"

// ChainFile is the name of the file with the alerts that are about the system as a whole.
const ChainFile = "chain.yml"

// File is a rule file.
type File struct {
	// Name is the file's name in the folder of the rules.
	Name string
	// Content is what it holds.
	Content []byte
}

type document struct {
	Groups []group `yaml:"groups"`
}

type group struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

// rule is an alerting rule, or a recording rule.
type rule struct {
	Record        string            `yaml:"record,omitempty"`
	Alert         string            `yaml:"alert,omitempty"`
	Expr          string            `yaml:"expr"`
	For           string            `yaml:"for,omitempty"`
	KeepFiringFor string            `yaml:"keep_firing_for,omitempty"`
	Labels        map[string]string `yaml:"labels,omitempty"`
	Annotations   map[string]string `yaml:"annotations,omitempty"`
}

// ruleFile is a rule file before it is rendered.
type ruleFile struct {
	name  string
	group group
}

// FileOf returns the name of a subject's rule file.
func FileOf(subject string) string { return "service-" + subject + ".yml" }

// Files renders the rule files: the chain's, what is recorded, then one for each subject, in the
// model's order.
func Files(m watch.Model) ([]File, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("rendering the rules of prometheus: %w", err)
	}
	files := []ruleFile{{ChainFile, group{"chain", alerting(chain(m))}}}
	if recorded := Recordings(m); len(recorded) > 0 {
		files = append(files, ruleFile{RecordingsFile, group{"containers", recording(recorded)}})
	}
	for _, s := range m.Subjects {
		files = append(files, ruleFile{FileOf(s.Name), group{s.Name, alerting(subject(s))}})
	}
	var out []File
	for _, f := range files {
		content, err := encode(f.group)
		if err != nil {
			return nil, fmt.Errorf("rendering %s: %w", f.name, err)
		}
		out = append(out, File{f.name, content})
	}
	return out, nil
}

func alerting(alerts []Alert) []rule {
	var out []rule
	for _, a := range alerts {
		labels := map[string]string{"severity": string(a.Severity), "service": a.service(), "layer": string(a.Layer)}
		maps.Copy(labels, a.Labels)
		out = append(out, rule{
			Alert: a.Name, Expr: a.Expr, For: duration(a.For), KeepFiringFor: duration(a.KeepFiring), Labels: labels,
			Annotations: map[string]string{"summary": a.Summary, "description": a.Description},
		})
	}
	return out
}

func recording(recorded []Recording) []rule {
	var out []rule
	for _, r := range recorded {
		out = append(out, rule{Record: r.Name, Expr: r.Expr})
	}
	return out
}

// encode renders a file of one group.
func encode(g group) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(header)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(document{Groups: []group{g}}); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// duration writes a duration as Prometheus does: whole units, nothing for none.
func duration(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	default:
		return fmt.Sprintf("%ds", d/time.Second)
	}
}
