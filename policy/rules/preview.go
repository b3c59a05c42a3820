package rules

import (
	"encoding/json"
	"fmt"
	"io"
)

// Planned is what a preview says a resource is to be, as the engine's events have it: with unknown
// values marked, and secrets masked.
type Planned struct {
	// Inputs are what the program asks for.
	Inputs map[string]any
	// Outputs are what is known of what comes of it.
	Outputs map[string]any
}

// ReadPreview makes a graph of what a stack is to be. The plan, which pulumi preview --save-plan
// writes, says which resources there are and what each depends on; the events say what they are to be.
func ReadPreview(plan io.Reader, planned map[string]Planned) (*Graph, error) {
	var file struct {
		Resources map[string]struct {
			Goal *struct {
				Type                 string              `json:"type"`
				Parent               string              `json:"parent"`
				Protect              bool                `json:"protect"`
				Provider             string              `json:"provider"`
				Dependencies         []string            `json:"dependencies"`
				PropertyDependencies map[string][]string `json:"propertyDependencies"`
			} `json:"goal"`
		} `json:"resourcePlans"`
	}
	if err := json.NewDecoder(plan).Decode(&file); err != nil {
		return nil, fmt.Errorf("reading the preview's plan: %w", err)
	}
	var resources []Resource
	for urn, r := range file.Resources {
		if r.Goal == nil {
			continue // it is to go
		}
		properties := planned[urn]
		resource, err := (&exportedResource{
			URN: urn, Type: r.Goal.Type, Parent: r.Goal.Parent, Provider: r.Goal.Provider, Protect: r.Goal.Protect,
			Dependencies: r.Goal.Dependencies, PropertyDependencies: r.Goal.PropertyDependencies,
			Inputs: properties.Inputs, Outputs: properties.Outputs,
		}).convert()
		if err != nil {
			return nil, err
		}
		resources = append(resources, resource)
	}
	return New(resources)
}
