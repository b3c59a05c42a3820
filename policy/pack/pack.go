// Package pack gives the rules to the Pulumi engine: each is a policy of the stack as a whole.
package pack

import (
	"context"
	"fmt"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/policyx"

	"homelab/policy/rules"
)

// Name is the pack's name, as the engine shows it.
const Name = "homelab"

// Version is the pack's version: the program's.
const Version = "0.1.0"

// Serve answers the engine that has started this process, until it ends it.
func Serve() error {
	return policyx.Main(func(*pulumi.Context) (policyx.PolicyPack, error) { return New() })
}

// New makes the pack. A rule that is critical or of high severity is mandatory and stops a deployment;
// the others advise. Pulumi's own configuration of policies changes that for each rule.
func New() (policyx.PolicyPack, error) {
	version, err := semver.Parse(Version)
	if err != nil {
		return nil, fmt.Errorf("reading the pack's version: %w", err)
	}
	judged := stack{inputs: map[string]property.Map{}}
	policies := []policyx.Policy{policyx.NewResourceValidationPolicy("inputs", policyx.ResourceValidationPolicyArgs{
		Description:      "Finds nothing: it keeps what each resource is to be, for the rules about the whole stack",
		EnforcementLevel: policyx.EnforcementLevelAdvisory,
		ValidateResource: func(_ context.Context, args policyx.ResourceValidationArgs) error {
			judged.inputs[args.Resource.URN] = args.Resource.Properties
			return nil
		},
	})}
	for _, rule := range rules.All() {
		level := policyx.EnforcementLevelAdvisory
		if rule.Severity.AtLeast(rules.High) {
			level = policyx.EnforcementLevelMandatory
		}
		policies = append(policies, policyx.NewStackValidationPolicy(rule.ID, policyx.StackValidationPolicyArgs{
			Description:      rule.Title,
			EnforcementLevel: level,
			ValidateStack: func(_ context.Context, args policyx.StackValidationArgs) error {
				graph, err := judged.graph(args.Resources)
				if err != nil {
					return err
				}
				for _, f := range rule.Judge(graph).Findings {
					args.Manager.ReportViolation(f.Message+"\n"+rule.Remedy, f.URN)
				}
				return nil
			},
		}))
	}
	return policyx.NewPolicyPack(Name, version, policyx.EnforcementLevelMandatory, policies)
}

// stack keeps what the engine says of the resources: first the inputs of each, which are all that is
// known while its provider cannot be configured yet; at the end, what became of them, for one policy
// after the other.
type stack struct {
	inputs    map[string]property.Map
	resources []policyx.AnalyzerResource
	made      *rules.Graph
}

func (s *stack) graph(resources []policyx.AnalyzerResource) (*rules.Graph, error) {
	same := s.made != nil && len(resources) == len(s.resources) && len(resources) > 0 && &resources[0] == &s.resources[0]
	if same {
		return s.made, nil
	}
	list := make([]rules.Resource, 0, len(resources))
	for _, r := range resources {
		list = append(list, neutral(r, s.inputs[r.URN]))
	}
	graph, err := rules.New(list)
	if err != nil {
		return nil, fmt.Errorf("reading the stack's resources: %w", err)
	}
	s.resources, s.made = resources, graph
	return graph, nil
}

// neutral returns a resource of the engine as the rules read it: its outputs over its inputs, as the
// audit reads them in an export.
func neutral(r policyx.AnalyzerResource, inputs property.Map) rules.Resource {
	out := rules.Resource{
		URN: r.URN, Type: r.Type, Parent: r.Parent, Provider: r.Provider.URN, Protect: r.Options.Protect,
		Properties: map[string]any{},
	}
	out.Dependencies = append(out.Dependencies, r.Dependencies...)
	for _, urns := range r.PropertyDependencies {
		out.Dependencies = append(out.Dependencies, urns...)
	}
	for _, properties := range []property.Map{inputs, r.Properties} {
		for key, value := range properties.All {
			rules.Overlay(out.Properties, key, plain(value))
		}
	}
	return out
}

func plain(v property.Value) any {
	switch {
	case v.Secret():
		return rules.Secret{}
	case v.IsComputed():
		return rules.Unknown{}
	case v.IsString():
		return v.AsString()
	case v.IsNumber():
		return v.AsNumber()
	case v.IsBool():
		return v.AsBool()
	case v.IsArray():
		var out []any
		for _, element := range v.AsArray().All {
			out = append(out, plain(element))
		}
		return out
	case v.IsMap():
		out := map[string]any{}
		for key, element := range v.AsMap().All {
			out[key] = plain(element)
		}
		return out
	}
	return nil
}
