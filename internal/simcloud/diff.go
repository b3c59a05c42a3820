package simcloud

import (
	"fmt"
	"sort"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// change is one difference between the old and the new inputs.
type change struct {
	path, top string
	kind      pulumirpc.PropertyDiff_Kind
}

// differences compares inputs property by property. An unknown new value is a
// change: what it will be is not known. An absent value equals an empty list,
// map or null, as in the real providers.
func differences(olds, news resource.PropertyMap) []change {
	var out []change
	keys := map[string]bool{}
	for k := range olds {
		keys[string(k)] = true
	}
	for k := range news {
		keys[string(k)] = true
	}
	for k := range keys {
		if strings.HasPrefix(k, "__") {
			continue
		}
		out = append(out, compare(k, k, stripped(olds[resource.PropertyKey(k)]), stripped(news[resource.PropertyKey(k)]))...)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].path < out[j].path })
	return out
}

func compare(path, top string, a, b resource.PropertyValue) []change {
	switch {
	case b.IsComputed():
		return []change{{path, top, pulumirpc.PropertyDiff_UPDATE}}
	case empty(a) && empty(b):
		return nil
	case empty(a):
		return []change{{path, top, pulumirpc.PropertyDiff_ADD}}
	case empty(b):
		return []change{{path, top, pulumirpc.PropertyDiff_DELETE}}
	case a.IsArray() && b.IsArray():
		return compareLists(path, top, a.ArrayValue(), b.ArrayValue())
	case a.IsObject() && b.IsObject():
		var out []change
		keys := map[resource.PropertyKey]bool{}
		for k := range a.ObjectValue() {
			keys[k] = true
		}
		for k := range b.ObjectValue() {
			keys[k] = true
		}
		for k := range keys {
			if strings.HasPrefix(string(k), "__") {
				continue
			}
			out = append(out, compare(childPath(path, string(k)), top, a.ObjectValue()[k], b.ObjectValue()[k])...)
		}
		return out
	case a.DeepEquals(b):
		return nil
	}
	return []change{{path, top, pulumirpc.PropertyDiff_UPDATE}}
}

func compareLists(path, top string, a, b []resource.PropertyValue) []change {
	var out []change
	for i := 0; i < len(a) || i < len(b); i++ {
		p := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= len(a):
			out = append(out, change{p, top, pulumirpc.PropertyDiff_ADD})
		case i >= len(b):
			out = append(out, change{p, top, pulumirpc.PropertyDiff_DELETE})
		default:
			out = append(out, compare(p, top, a[i], b[i])...)
		}
	}
	return out
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

func empty(v resource.PropertyValue) bool {
	switch {
	case v.IsNull():
		return true
	case v.IsArray():
		return len(v.ArrayValue()) == 0
	case v.IsObject():
		return len(v.ObjectValue()) == 0
	}
	return false
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
func (k *kind) diffResponse(state, olds, news resource.PropertyMap) *pulumirpc.DiffResponse {
	resp := &pulumirpc.DiffResponse{
		Changes: pulumirpc.DiffResponse_DIFF_NONE, HasDetailedDiff: true,
		DetailedDiff: map[string]*pulumirpc.PropertyDiff{},
	}
	replaces, diffs := map[string]bool{}, map[string]bool{}
	found := differences(olds, news)
	if k.extraDiff != nil {
		found = append(found, k.extraDiff(strippedMap(state), strippedMap(news))...)
	}
	for _, c := range found {
		diffs[c.top] = true
		if k.replacedBy(c.top) {
			replaces[c.top] = true
			c.kind = replacing(c.kind)
		}
		resp.DetailedDiff[c.path] = &pulumirpc.PropertyDiff{Kind: c.kind, InputDiff: true}
	}
	resp.Diffs, resp.Replaces = sortedKeys(diffs), sortedKeys(replaces)
	if len(diffs) > 0 {
		resp.Changes = pulumirpc.DiffResponse_DIFF_SOME
	}
	// Providers bridged from the older Terraform SDK delete first whenever the
	// program gave the name itself; those on the newer framework never do.
	if len(replaces) > 0 && k.autoname && k.namedDeletesFirst {
		resp.DeleteBeforeReplace = !autonamed(news)
	}
	return resp
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
