package rules

import "fmt"

// Sent is a resource as the engine sends it to a policy pack, with its properties in their JSON form:
// unknown values and secrets are marked as in a state, but a secret's value is there.
type Sent struct {
	// URN names it; required, unique.
	URN string
	// Type is its type token; required.
	Type string
	// Parent is the URN of its parent.
	Parent string
	// Provider is the URN of its provider, without an ID.
	Provider string
	// Dependencies are the URNs of what it depends on, also by a property.
	Dependencies []string
	// Protect is whether Pulumi refuses to delete it.
	Protect bool
	// Inputs are what the program asks for, which is all that is known while the provider cannot be
	// configured yet.
	Inputs map[string]any
	// Outputs are what came of it.
	Outputs map[string]any
}

// ReadSent makes a graph of what the engine sends at the end of a preview or an up. It changes the
// properties.
func ReadSent(sent []Sent) (*Graph, error) {
	resources := make([]Resource, 0, len(sent))
	for _, s := range sent {
		r, err := (&exportedResource{
			URN: s.URN, Type: s.Type, Parent: s.Parent, Protect: s.Protect, Dependencies: s.Dependencies, Inputs: s.Inputs, Outputs: s.Outputs,
		}).convert()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.URN, err)
		}
		r.Provider = s.Provider
		resources = append(resources, r)
	}
	return New(resources)
}
