package rules

import "strings"

var programRules = []Rule{
	{
		ID: "provider-explicit", Title: "Every resource has a provider that the program configures", Severity: Medium, Layer: LayerProgram,
		Remedy: "pass the provider to the resource, and list its package under pulumi:disable-default-providers", Unknown: unknownNone,
		check: func(g *Graph, out *report) {
			out.look()
			for _, r := range g.resources {
				standard := strings.HasPrefix(r.Type, providerPrefix) && (r.Name() == "default" || strings.HasPrefix(r.Name(), "default_"))
				out.require(!standard, r, "the provider %s is the engine's own: its version and its account are whatever the machine has", r.Type)
			}
		},
	},
	{
		ID: "provider-pinned", Title: "Every provider is pinned to a version", Severity: Medium, Layer: LayerProgram,
		Remedy: "pass pulumi.Version to the provider", Unknown: unknownNone,
		check: func(g *Graph, out *report) {
			out.absent("provider")
			for _, r := range g.resources {
				if strings.HasPrefix(r.Type, providerPrefix) {
					out.require(r.Text("version") != "", r, "the provider %s has no version", r.Name())
				}
			}
		},
	},
}

// catalog are all rules, in the order of the layers.
var catalog = concat(recordRules, edgeRules, firewallRules, proxyRules, portalRules, containerRules, networkRules, tunnelRules, tailnetRules, dataRules, monitoringRules, secretRules, programRules)

func concat(lists ...[]Rule) []Rule {
	var out []Rule
	for _, list := range lists {
		out = append(out, list...)
	}
	return out
}
