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

type rule struct {
	Alert         string            `yaml:"alert"`
	Expr          string            `yaml:"expr"`
	For           string            `yaml:"for,omitempty"`
	KeepFiringFor string            `yaml:"keep_firing_for,omitempty"`
	Labels        map[string]string `yaml:"labels"`
	Annotations   map[string]string `yaml:"annotations"`
}

// FileOf returns the name of a subject's rule file.
func FileOf(subject string) string { return "service-" + subject + ".yml" }

// Files renders the rule files: the chain's, then one for each subject, in the model's order.
func Files(m watch.Model) ([]File, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("rendering the rules of prometheus: %w", err)
	}
	content, err := encode("chain", chain(m))
	if err != nil {
		return nil, err
	}
	out := []File{{ChainFile, content}}
	for _, s := range m.Subjects {
		if content, err = encode(s.Name, subject(s)); err != nil {
			return nil, err
		}
		out = append(out, File{FileOf(s.Name), content})
	}
	return out, nil
}

// encode renders one group of alerts as a file.
func encode(name string, alerts []Alert) ([]byte, error) {
	doc := document{Groups: []group{{Name: name}}}
	for _, a := range alerts {
		labels := map[string]string{"severity": string(a.Severity), "service": a.Service, "layer": string(a.Layer)}
		maps.Copy(labels, a.Labels)
		doc.Groups[0].Rules = append(doc.Groups[0].Rules, rule{
			Alert: a.Name, Expr: a.Expr, For: duration(a.For), KeepFiringFor: duration(a.KeepFiring), Labels: labels,
			Annotations: map[string]string{"summary": a.Summary, "description": a.Description},
		})
	}
	var out bytes.Buffer
	out.WriteString(header)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("rendering the rules of %s: %w", name, err)
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
