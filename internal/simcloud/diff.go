package simcloud

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// change is one difference between what is and what the program wants.
type change struct {
	path, top string
	kind      pulumirpc.PropertyDiff_Kind
	// where is the path without the places in lists, as the tables of a kind write it.
	where string
}

// comparison compares the state of a resource with new inputs, by the rules of its kind.
type comparison struct {
	kind *kind
	top  string
	out  []change
}

// differences compares, input by input, what a resource is with what the program wants. An absent
// input is what the kind's tables say: its default, or whatever it is now. An unknown value is a
// change: what it will be is not known.
func (k *kind) differences(token string, state, news resource.PropertyMap) []change {
	c := &comparison{kind: k}
	fields := schema.Resources[token].Inputs
	for _, name := range sortedKeys(fields) {
		c.top = name
		c.field(name, name, fields[name].Type, state[keyOf(name)], news[keyOf(name)])
	}
	sort.SliceStable(c.out, func(i, j int) bool { return c.out[i].path < c.out[j].path })
	return c.out
}

func (c *comparison) add(path, where string, kind pulumirpc.PropertyDiff_Kind) {
	c.out = append(c.out, change{path, c.top, kind, where})
}

func (c *comparison) field(path, where, typ string, old, new resource.PropertyValue) {
	k := c.kind
	old, new = k.normal(where, typ, old), k.normal(where, typ, new)
	switch {
	case new.IsNull() && (old.IsNull() || contains(k.computed, where) || contains(k.kept, where)):
	case k.bridged() && strings.HasPrefix(typ, "#") && !strings.HasSuffix(where, "[]") && isEmpty(new) && old.IsObject(): // an empty block keeps what is there
	case k.bridged() && contains(k.computed, where) && contains(k.sets, where) && new.IsComputed():
		// The bridge drops an unknown set where the provider may fill one in.
	case old.IsNull():
		c.add(path, where, pulumirpc.PropertyDiff_ADD)
	case new.IsNull():
		c.add(path, where, pulumirpc.PropertyDiff_DELETE)
	case new.IsComputed():
		c.add(path, where, pulumirpc.PropertyDiff_UPDATE)
	case old.IsArray() && new.IsArray():
		c.lists(path, where, typ, old.ArrayValue(), new.ArrayValue())
	case old.IsObject() && new.IsObject():
		c.objects(path, where, typ, old.ObjectValue(), new.ObjectValue())
	case !old.DeepEquals(new):
		c.add(path, where, pulumirpc.PropertyDiff_UPDATE)
	}
}

// lists compares two lists; of a set only what the other lacks.
func (c *comparison) lists(path, where, typ string, old, new []resource.PropertyValue) {
	if contains(c.kind.sets, where) {
		old, new = without(old, new), without(new, old)
	}
	for i := 0; i < len(old) || i < len(new); i++ {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= len(old):
			c.add(at, where+"[]", pulumirpc.PropertyDiff_ADD)
		case i >= len(new):
			c.add(at, where+"[]", pulumirpc.PropertyDiff_DELETE)
		default:
			c.field(at, where+"[]", strings.TrimPrefix(typ, "[]"), old[i], new[i])
		}
	}
}

func (c *comparison) objects(path, where, typ string, old, new resource.PropertyMap) {
	names := map[string]bool{}
	for name := range old {
		names[string(name)] = true
	}
	for name := range new {
		names[string(name)] = true
	}
	for _, name := range sortedKeys(names) {
		c.field(childPath(path, name), nested(where, name), fieldType(typ, name), old[keyOf(name)], new[keyOf(name)])
	}
}

// without returns the elements of one list that another lacks, each as often as it does.
func without(these, those []resource.PropertyValue) []resource.PropertyValue {
	rest := slices.Clone(those)
	var out []resource.PropertyValue
	for _, v := range these {
		at := slices.IndexFunc(rest, func(other resource.PropertyValue) bool { return v.DeepEquals(other) })
		if at < 0 {
			out = append(out, v)
		} else {
			rest = slices.Delete(rest, at, at+1)
		}
	}
	return out
}

// nested is the path of a field inside an object, or inside the objects of a list.
func nested(where, name string) string { return strings.TrimSuffix(where, "[]") + "." + name }

// fieldType is the schema's type of a field of an object or a map.
func fieldType(typ, name string) string {
	switch {
	case strings.HasPrefix(typ, "#"):
		return schema.Types[typ[1:]][name].Type
	case strings.HasPrefix(typ, "{}"):
		return typ[2:]
	}
	return "any"
}

// normal writes a value as the provider compares it: without wrappers, with the defaults of what
// is absent, and null for what is as good as absent.
func (k *kind) normal(where, typ string, v resource.PropertyValue) resource.PropertyValue {
	v = bare(v)
	fallback, defaulted := k.defaults[where]
	switch {
	case v.IsNull():
		if defaulted {
			return k.normal(where, typ, resource.NewPropertyValue(fallback))
		}
	case v.IsString() && k.bridged() && strings.HasPrefix(typ, "[]"): // the bridge makes a list of one
		return k.normalList(where, typ, []resource.PropertyValue{v})
	case v.IsString():
		if write := k.spelling[where]; write != nil {
			v = resource.NewStringProperty(write(v.StringValue()))
		}
	case v.IsArray():
		return k.normalList(where, typ, v.ArrayValue())
	case v.IsObject():
		return k.normalObject(where, typ, v.ObjectValue())
	}
	if k.bridged() && !defaulted && zero(v) && !contains(k.computed, where) {
		return resource.NewNullProperty()
	}
	return v
}

func (k *kind) normalList(where, typ string, in []resource.PropertyValue) resource.PropertyValue {
	out := make([]resource.PropertyValue, len(in))
	for i, e := range in {
		out[i] = k.normal(where+"[]", strings.TrimPrefix(typ, "[]"), e)
	}
	// An empty list that the provider would fill in is a value of its own, unless it is one of
	// blocks.
	given := contains(k.computed, where) && !strings.HasPrefix(typ, "[]#")
	if k.bridged() && len(out) == 0 && !given {
		return resource.NewNullProperty()
	}
	return resource.NewArrayProperty(out)
}

func (k *kind) normalObject(where, typ string, in resource.PropertyMap) resource.PropertyValue {
	out := resource.PropertyMap{}
	for name, v := range in {
		_, known := schema.Types[strings.TrimPrefix(typ, "#")][string(name)]
		if strings.HasPrefix(string(name), "__") || k.framework && strings.HasPrefix(typ, "#") && !known {
			continue
		}
		if n := k.normal(nested(where, string(name)), fieldType(typ, string(name)), v); !n.IsNull() {
			out[name] = n
		}
	}
	for path, v := range k.defaults {
		parent, name := strings.TrimSuffix(where, "[]")+".", keyOf(path[strings.LastIndex(path, ".")+1:])
		if _, given := out[name]; strings.HasPrefix(path, parent) && parent+string(name) == path && !given {
			out[name] = resource.NewPropertyValue(v)
		}
	}
	// A block that is there counts, even an empty one; an empty map does not.
	if k.bridged() && len(out) == 0 && !strings.HasPrefix(typ, "#") {
		return resource.NewNullProperty()
	}
	return resource.NewObjectProperty(out)
}

func isEmpty(v resource.PropertyValue) bool { return v.IsObject() && len(v.ObjectValue()) == 0 }

// zero reports whether the older Terraform SDK takes a value for an absent one.
func zero(v resource.PropertyValue) bool {
	return v.IsBool() && !v.BoolValue() || v.IsString() && v.StringValue() == "" || v.IsNumber() && v.NumberValue() == 0
}

// childPath writes a property path; names that are not plain identifiers are quoted.
func childPath(path, name string) string {
	for _, r := range name {
		if r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return path + fmt.Sprintf("[%q]", name)
		}
	}
	return path + "." + name
}

// replacing turns a kind of difference into the one that forces a replacement.
func replacing(k pulumirpc.PropertyDiff_Kind) pulumirpc.PropertyDiff_Kind {
	switch k {
	case pulumirpc.PropertyDiff_ADD:
		return pulumirpc.PropertyDiff_ADD_REPLACE
	case pulumirpc.PropertyDiff_DELETE:
		return pulumirpc.PropertyDiff_DELETE_REPLACE
	default:
		return pulumirpc.PropertyDiff_UPDATE_REPLACE
	}
}

// diffResponse builds the answer to Diff for one kind of resource.
func (k *kind) diffResponse(token string, state, news resource.PropertyMap) *pulumirpc.DiffResponse {
	found := k.differences(token, state, news)
	if k.extraDiff != nil {
		found = append(found, k.extraDiff(strippedMap(state), strippedMap(news))...)
	}
	resp := k.respond(found)
	// Providers bridged from the older Terraform SDK delete first whenever the program gave the
	// name itself; those on the newer framework never do.
	if len(resp.Replaces) > 0 && k.autoname && k.bridged() {
		resp.DeleteBeforeReplace = k.deletesFirst || !autonamed(news)
	}
	return resp
}

func (k *kind) respond(found []change) *pulumirpc.DiffResponse {
	resp := &pulumirpc.DiffResponse{
		Changes: pulumirpc.DiffResponse_DIFF_NONE, HasDetailedDiff: true,
		DetailedDiff: map[string]*pulumirpc.PropertyDiff{},
	}
	replaces, diffs := map[string]bool{}, map[string]bool{}
	for _, c := range found {
		diffs[c.top] = true
		if k.replacedBy(c) {
			replaces[c.top] = true
			c.kind = replacing(c.kind)
		}
		resp.DetailedDiff[c.path] = &pulumirpc.PropertyDiff{Kind: c.kind, InputDiff: true}
	}
	resp.Diffs, resp.Replaces = sortedKeys(diffs), sortedKeys(replaces)
	if len(diffs) > 0 {
		resp.Changes = pulumirpc.DiffResponse_DIFF_SOME
	}
	return resp
}

// configDiff compares two configurations of a provider.
func configDiff(olds, news resource.PropertyMap) *pulumirpc.DiffResponse {
	names := map[string]bool{}
	for name := range olds {
		names[string(name)] = true
	}
	for name := range news {
		names[string(name)] = true
	}
	plainKind := &kind{framework: true}
	c := &comparison{kind: plainKind}
	for _, name := range sortedKeys(names) {
		if !strings.HasPrefix(name, "__") {
			c.top = name
			c.field(name, name, "any", olds[keyOf(name)], news[keyOf(name)])
		}
	}
	return plainKind.respond(c.out)
}

// autonamed reports whether Check filled in the name.
func autonamed(inputs resource.PropertyMap) bool {
	v := bare(inputs["__defaults"])
	if !v.IsArray() {
		return false
	}
	for _, e := range v.ArrayValue() {
		if e.IsString() && e.StringValue() == "name" {
			return true
		}
	}
	return false
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
