package rules

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Resource is one resource of a stack.
type Resource struct {
	// URN names it; required, unique.
	URN string
	// Type is its type token, such as docker:index/container:Container; required.
	Type string
	// Properties are its outputs, which hold its inputs too.
	Properties map[string]any
	// Parent is the URN of its parent; empty for the stack itself.
	Parent string
	// Provider is the URN of its provider; empty where there is none.
	Provider string
	// Dependencies are the URNs of what it depends on, also by a property.
	Dependencies []string
	// Protect is whether Pulumi refuses to delete it.
	Protect bool
	// Modified is when it last changed, as the state writes it (RFC 3339); empty where it does not.
	Modified string
}

// Name is the last part of the URN.
func (r *Resource) Name() string {
	return r.URN[strings.LastIndex(r.URN, "::")+len("::"):]
}

// At returns a property, or what is in one.
func (r *Resource) At(keys ...string) Value { return Value{r.Properties}.At(keys...) }

// Text is the text of a property.
func (r *Resource) Text(keys ...string) string { return r.At(keys...).Text() }

// Graph is a whole stack. Only New makes a usable one.
type Graph struct {
	resources []*Resource
	byURN     map[string]*Resource
	byType    map[string][]*Resource
	closure   map[string]map[string]bool
	layers    *layers
	excepted  map[string]string // reasons, by hostname
}

// New makes a graph. A resource without a URN or a type, or with the URN of another, is an error.
// Dependencies on what is not in the stack are dropped.
func New(resources []Resource) (*Graph, error) {
	g := &Graph{byURN: map[string]*Resource{}, byType: map[string][]*Resource{}, closure: map[string]map[string]bool{}}
	var problems []error
	for _, r := range resources {
		switch {
		case r.URN == "" || r.Type == "":
			problems = append(problems, fmt.Errorf("a resource without URN or type: %q %q", r.URN, r.Type))
			continue
		case g.byURN[r.URN] != nil:
			problems = append(problems, fmt.Errorf("two resources are called %s", r.URN))
			continue
		}
		own := r
		g.byURN[r.URN] = &own
		g.resources = append(g.resources, &own)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	for _, r := range g.resources {
		r.Dependencies = slices.DeleteFunc(slices.Clone(r.Dependencies), func(urn string) bool { return g.byURN[urn] == nil })
		slices.Sort(r.Dependencies)
		r.Dependencies = slices.Compact(r.Dependencies)
	}
	slices.SortFunc(g.resources, func(a, b *Resource) int { return strings.Compare(a.URN, b.URN) })
	for _, r := range g.resources {
		g.byType[r.Type] = append(g.byType[r.Type], r)
	}
	g.layers = findLayers(g)
	return g, nil
}

// Resources returns all resources, sorted by URN.
func (g *Graph) Resources() []*Resource { return slices.Clone(g.resources) }

// Get returns the resource with the URN, or nil.
func (g *Graph) Get(urn string) *Resource { return g.byURN[urn] }

// Of returns the resources of a type, sorted by URN.
func (g *Graph) Of(token string) []*Resource { return slices.Clone(g.byType[token]) }

// Needs reports whether a resource depends on another, directly or through others: on what its
// properties and options name, and on its provider. A circle, which no engine makes, ends.
func (g *Graph) Needs(r, other *Resource) bool { return g.below(r)[other.URN] }

// Chain returns all that a resource depends on, sorted by URN.
func (g *Graph) Chain(r *Resource) []*Resource {
	var out []*Resource
	for _, urn := range slices.Sorted(maps.Keys(g.below(r))) {
		out = append(out, g.byURN[urn])
	}
	return out
}

func (g *Graph) below(r *Resource) map[string]bool {
	if known, ok := g.closure[r.URN]; ok {
		return known
	}
	reached := map[string]bool{}
	left := []*Resource{r}
	for len(left) > 0 {
		next := left[len(left)-1]
		left = left[:len(left)-1]
		for _, urn := range g.directly(next) {
			if !reached[urn] {
				reached[urn] = true
				left = append(left, g.byURN[urn])
			}
		}
	}
	g.closure[r.URN] = reached
	return reached
}

func (g *Graph) directly(r *Resource) []string {
	if g.byURN[r.Provider] == nil {
		return r.Dependencies
	}
	return append(slices.Clone(r.Dependencies), r.Provider)
}
