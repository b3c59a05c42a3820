package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// ProxiedID names the rule that has exceptions.
const ProxiedID = "record-proxied"

// ExceptionsKey is where the rule's configuration lists them.
const ExceptionsKey = "unproxied"

// Exception lets one hostname lead to the internet past Cloudflare, such as that of a mail server.
type Exception struct {
	// Hostname is the record's full name, in lower case; no wildcard.
	Hostname string `json:"hostname"`
	// Reason says why; required. The audit shows it.
	Reason string `json:"reason"`
}

// hostnamePattern is what the hostname of an exception looks like.
const hostnamePattern = `^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}$`

var hostname = regexp.MustCompile(hostnamePattern)

// ExceptionsSchema describes the list of exceptions as a JSON schema.
func ExceptionsSchema() map[string]any {
	return map[string]any{
		"type": "array", "description": "Hostnames that may lead to the internet past Cloudflare, each with the reason",
		"items": map[string]any{
			"type": "object", "additionalProperties": false, "required": []any{"hostname", "reason"},
			"properties": map[string]any{
				"hostname": map[string]any{"type": "string", "pattern": hostnamePattern, "maxLength": 253},
				"reason":   map[string]any{"type": "string", "pattern": `\S`, "maxLength": 500},
			},
		},
	}
}

// ReadExceptions reads the exceptions in the configuration of the rule ProxiedID. Its other properties
// are not looked at. The error names every problem.
func ReadExceptions(properties map[string]any) ([]Exception, error) {
	if properties[ExceptionsKey] == nil {
		return nil, nil
	}
	text, err := json.Marshal(properties[ExceptionsKey])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ExceptionsKey, err)
	}
	var out []Exception
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&out); err != nil {
		return nil, fmt.Errorf("%s: a list of objects with hostname and reason is needed: %w", ExceptionsKey, err)
	}
	var problems []error
	seen := map[string]bool{}
	for i, e := range out {
		at := fmt.Sprintf("%s[%d]", ExceptionsKey, i)
		switch {
		case len(e.Hostname) > 253 || !hostname.MatchString(e.Hostname):
			problems = append(problems, fmt.Errorf("%s.hostname: %q is no full name in lower case", at, e.Hostname))
		case seen[e.Hostname]:
			problems = append(problems, fmt.Errorf("%s.hostname: %s is named twice", at, e.Hostname))
		}
		if strings.TrimSpace(e.Reason) == "" || len(e.Reason) > 500 {
			problems = append(problems, fmt.Errorf("%s.reason: why %s leads past Cloudflare is needed, in 500 characters at most", at, e.Hostname))
		}
		seen[e.Hostname] = true
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return out, nil
}

// ReadPolicyConfig reads the exceptions in a file with Pulumi's configuration of policies: an object
// with a level or an object for each rule. A rule that is unknown is an error; levels are not looked
// at, because they are the engine's.
func ReadPolicyConfig(from io.Reader) ([]Exception, error) {
	var file map[string]any
	if err := json.NewDecoder(from).Decode(&file); err != nil {
		return nil, fmt.Errorf("an object with a level or an object for each rule is needed: %w", err)
	}
	known := map[string]bool{"all": true}
	for _, r := range All() {
		known[r.ID] = true
	}
	var problems []error
	for _, id := range slices.Sorted(maps.Keys(file)) {
		properties, configured := file[id].(map[string]any)
		switch _, level := file[id].(string); {
		case !known[id]:
			problems = append(problems, fmt.Errorf("%s: there is no such rule", id))
		case !level && !configured:
			problems = append(problems, fmt.Errorf("%s: a level or an object is needed", id))
		case configured && id != ProxiedID:
			for _, key := range slices.Sorted(maps.Keys(properties)) {
				if key != "enforcementLevel" {
					problems = append(problems, fmt.Errorf("%s: nothing but its level is configured, and %s is given", id, key))
				}
			}
		}
	}
	properties, _ := file[ProxiedID].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if key != "enforcementLevel" && key != ExceptionsKey {
			problems = append(problems, fmt.Errorf("%s: %s is unknown", ProxiedID, key))
		}
	}
	out, err := ReadExceptions(properties)
	if err != nil {
		problems = append(problems, fmt.Errorf("%s.%w", ProxiedID, err))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return out, nil
}

// Except lets hostnames lead past Cloudflare. An exception frees a record from the rules of the edge
// alone, unless the record leads to nothing of the stack, which then has no layer to stand before it.
func (g *Graph) Except(list []Exception) {
	g.excepted = map[string]string{}
	for _, e := range list {
		g.excepted[e.Hostname] = e.Reason
	}
}

// unproxied reports whether a record leads past Cloudflare, and may.
func (g *Graph) unproxied(r *Resource) bool {
	proxied := r.At("proxied")
	return g.excepted[hostOf(r)] != "" && !proxied.True() && !proxied.Hidden()
}

// leadsHere reports whether a record leads to something of the stack: its content is the address of a
// server, the name of another record that does, or not known.
func (g *Graph) leadsHere(r *Resource) bool {
	seen := map[string]bool{}
	for !seen[hostOf(r)] {
		seen[hostOf(r)] = true
		content := r.At("content")
		if content.Hidden() || g.isAddress(content.Text()) {
			return true
		}
		at := slices.IndexFunc(g.Of(typeRecord), func(other *Resource) bool { return hostOf(other) == strings.TrimSuffix(content.Text(), ".") })
		if at < 0 {
			return false
		}
		r = g.Of(typeRecord)[at]
	}
	return true
}

// isAddress reports whether an address is one of the stack's: any output of a server or an address at
// Hetzner.
func (g *Graph) isAddress(address string) (found bool) {
	for _, r := range append(g.Of(typeServer), g.Of(typePrimaryIP)...) {
		(Value{r.Properties}).walk("", func(_, text string) { found = found || text == address })
	}
	return found
}

// judgeExceptions fails for exceptions that are for no record: who reads them would think that
// something leads past Cloudflare.
func (g *Graph) judgeExceptions(out *report) {
	for _, name := range slices.Sorted(maps.Keys(g.excepted)) {
		used := slices.ContainsFunc(g.hostRecords(), func(r *Resource) bool {
			return hostOf(r) == name && (g.unproxied(r) || r.At("proxied").Hidden())
		})
		out.require(used, nil, "%s is excepted, and no record of this name leads past Cloudflare", name)
	}
}
