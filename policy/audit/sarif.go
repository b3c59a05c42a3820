package audit

import (
	"encoding/json"
	"io"

	"homelab/policy/rules"
)

// The parts of SARIF 2.1.0 that the report needs.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string         `json:"id"`
		ShortDescription sarifText      `json:"shortDescription"`
		Help             sarifText      `json:"help"`
		Properties       map[string]any `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical  `json:"physicalLocation"`
		LogicalLocations []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
	}
	sarifLogical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
)

// WriteSARIF writes what is broken as SARIF 2.1.0, the form in which code scanners take it. A stack
// has no lines, so a result is in the program's Pulumi.yaml, and names its resource.
func (r *Report) WriteSARIF(to io.Writer) error {
	run := sarifRun{Tool: sarifTool{Driver: sarifDriver{Name: "homelab", Rules: []sarifRule{}}}, Results: []sarifResult{}}
	for i, o := range r.Rules {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: o.ID, ShortDescription: sarifText{o.Title}, Help: sarifText{o.Remedy},
			Properties: map[string]any{"security-severity": score(o.Severity), "tags": []string{"security", string(o.Layer)}},
		})
		if o.Status != rules.Failed {
			continue
		}
		for _, f := range o.Findings {
			location := sarifLocation{}
			location.PhysicalLocation.ArtifactLocation.URI = "Pulumi.yaml"
			if f.URN != "" {
				location.LogicalLocations = []sarifLogical{{FullyQualifiedName: f.URN, Kind: "resource"}}
			}
			run.Results = append(run.Results, sarifResult{
				RuleID: o.ID, RuleIndex: i, Level: level(o.Severity), Message: sarifText{f.Message + ". Remedy: " + o.Remedy}, Locations: []sarifLocation{location},
			})
		}
	}
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

func level(s rules.Severity) string {
	switch s {
	case rules.Critical, rules.High:
		return "error"
	case rules.Medium:
		return "warning"
	}
	return "note"
}

// score is the severity as GitHub's code scanning sorts by it.
func score(s rules.Severity) string {
	return map[rules.Severity]string{rules.Critical: "9.5", rules.High: "8.0", rules.Medium: "5.0", rules.Low: "2.0"}[s]
}
