package simcloud

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

//go:generate go run ./schemagen

//go:embed schema.json
var schemaJSON []byte

// property describes one input of a resource, a function or a nested type.
// Type is string, integer, number, boolean, any, []T, {}T (a map) or #package.Type.
type property struct {
	Type     string `json:"type"`
	Required bool   `json:"required"`
	Secret   bool   `json:"secret"`
}

// shape describes a resource, a function or a provider's configuration.
type shape struct {
	Inputs  map[string]property `json:"inputs"`
	Outputs map[string]string   `json:"outputs"`
	Secrets []string            `json:"secretOutputs"`
}

type schemaTable struct {
	Providers map[string]shape               `json:"providers"`
	Resources map[string]shape               `json:"resources"`
	Functions map[string]shape               `json:"functions"`
	Types     map[string]map[string]property `json:"types"`
}

var schema = mustSchema()

// mustSchema decodes the embedded table; it can only fail when the generator
// is broken, which the package's own tests show.
func mustSchema() schemaTable {
	var t schemaTable
	if err := json.Unmarshal(schemaJSON, &t); err != nil {
		panic(fmt.Sprintf("simcloud: embedded schema.json: %v", err))
	}
	return t
}

// problem is one refused property.
type problem struct{ property, reason string }

// validate checks names, presence and types. Unknown values pass, as they do
// in a preview of the real providers.
func (s shape) validate(props resource.PropertyMap) []problem {
	return leniency{}.object("", s.Inputs, props)
}

// leniency is what a plugin lets pass although its schema does not have it.
type leniency struct {
	// names: properties that the schema does not know are dropped.
	names bool
	// single: a text counts as a list of one.
	single bool
}

func (l leniency) object(path string, fields map[string]property, props resource.PropertyMap) []problem {
	var out []problem
	for name, f := range fields {
		if !f.Required {
			continue
		}
		if v, ok := props[resource.PropertyKey(name)]; !ok || bare(v).IsNull() {
			out = append(out, problem{join(path, name), "missing required property '" + join(path, name) + "'"})
		}
	}
	for key, v := range props {
		name := string(key)
		if strings.HasPrefix(name, "__") || bare(v).IsNull() {
			continue
		}
		f, known := fields[name]
		if !known && l.names {
			continue
		}
		if !known {
			out = append(out, problem{join(path, name), "an unexpected argument '" + join(path, name) + "' was provided"})
			continue
		}
		out = append(out, l.value(join(path, name), f.Type, v)...)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].property < out[j].property })
	return out
}

func (l leniency) value(path, typ string, v resource.PropertyValue) []problem {
	v = bare(v)
	if v.IsNull() || v.IsComputed() || typ == "any" {
		return nil
	}
	wrong := func(want string) []problem {
		return []problem{{path, fmt.Sprintf("expected %s, got %s", want, v.TypeString())}}
	}
	switch {
	case typ == "string":
		if !v.IsString() {
			return wrong("a string")
		}
	case typ == "boolean":
		if !v.IsBool() {
			return wrong("a boolean")
		}
	case typ == "number":
		if !v.IsNumber() {
			return wrong("a number")
		}
	case typ == "integer":
		if !v.IsNumber() || v.NumberValue() != math.Trunc(v.NumberValue()) {
			return wrong("an integer")
		}
	case l.single && typ == "[]string" && v.IsString():
	case strings.HasPrefix(typ, "[]"):
		if !v.IsArray() {
			return wrong("a list")
		}
		var out []problem
		for i, e := range v.ArrayValue() {
			out = append(out, l.value(fmt.Sprintf("%s[%d]", path, i), typ[2:], e)...)
		}
		return out
	case strings.HasPrefix(typ, "{}"):
		if !v.IsObject() {
			return wrong("a map")
		}
		var out []problem
		for k, e := range v.ObjectValue() {
			out = append(out, l.value(join(path, string(k)), typ[2:], e)...)
		}
		return out
	case strings.HasPrefix(typ, "#"):
		if !v.IsObject() {
			return wrong("an object")
		}
		return l.object(path, schema.Types[typ[1:]], v.ObjectValue())
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// bare removes the secret and output wrappers around a value, not those inside it.
func bare(v resource.PropertyValue) resource.PropertyValue {
	for {
		switch {
		case v.IsSecret():
			v = v.SecretValue().Element
		case v.IsOutput():
			if !v.OutputValue().Known {
				return resource.MakeComputed(resource.NewStringProperty(""))
			}
			v = v.OutputValue().Element
		default:
			return v
		}
	}
}

// stripped removes every secret and output wrapper of a tree.
func stripped(v resource.PropertyValue) resource.PropertyValue {
	v = bare(v)
	switch {
	case v.IsArray():
		out := make([]resource.PropertyValue, len(v.ArrayValue()))
		for i, e := range v.ArrayValue() {
			out[i] = stripped(e)
		}
		return resource.NewArrayProperty(out)
	case v.IsObject():
		return resource.NewObjectProperty(strippedMap(v.ObjectValue()))
	}
	return v
}

func strippedMap(m resource.PropertyMap) resource.PropertyMap {
	out := resource.PropertyMap{}
	for k, v := range m {
		out[k] = stripped(v)
	}
	return out
}

// toGoValues turns inputs without unknowns into JSON-like Go values.
func toGoValues(m resource.PropertyMap) map[string]any {
	out := map[string]any{}
	for k, v := range strippedMap(m) {
		if strings.HasPrefix(string(k), "__") || v.IsNull() {
			continue
		}
		out[string(k)] = v.Mappable()
	}
	return out
}
