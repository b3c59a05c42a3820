package rules

import (
	"maps"
	"slices"
	"strconv"
)

// Unknown is a value that a preview does not know yet.
type Unknown struct{}

// Secret is a value that is encrypted in the state. What it is does not matter to any rule, so it is
// not kept.
type Secret struct{}

// Value is a property, or what is in one: a string, a bool, a float64, a []any, a map[string]any,
// Unknown, Secret, or nil for what is not there.
type Value struct{ any }

// At returns what is at the keys of nested objects.
func (v Value) At(keys ...string) Value {
	for _, key := range keys {
		object, ok := v.any.(map[string]any)
		if !ok {
			if v.Hidden() {
				return v
			}
			return Value{}
		}
		v = Value{object[key]}
	}
	return v
}

// Unknown reports whether a preview does not know the value yet.
func (v Value) Unknown() bool { _, ok := v.any.(Unknown); return ok }

// Secret reports whether the value is encrypted in the state.
func (v Value) Secret() bool { _, ok := v.any.(Secret); return ok }

// Hidden reports whether the value is there and cannot be read.
func (v Value) Hidden() bool { return v.Unknown() || v.Secret() }

// Missing reports whether there is no value.
func (v Value) Missing() bool { return v.any == nil }

// Text returns a string, or a number as one; "" for anything else.
func (v Value) Text() string {
	switch v := v.any.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// True reports whether the value is the boolean true.
func (v Value) True() bool { b, _ := v.any.(bool); return b }

// Number returns a number, also one that is written as a string; 0 for anything else.
func (v Value) Number() float64 {
	switch v := v.any.(type) {
	case float64:
		return v
	case string:
		n, _ := strconv.ParseFloat(v, 64) // what is no number is none
		return n
	}
	return 0
}

// List returns the elements of a list.
func (v Value) List() []Value {
	list, _ := v.any.([]any)
	out := make([]Value, 0, len(list))
	for _, element := range list {
		out = append(out, Value{element})
	}
	return out
}

// Texts returns the strings of a list.
func (v Value) Texts() []string {
	var out []string
	for _, element := range v.List() {
		out = append(out, element.Text())
	}
	return out
}

// Keys returns the keys of an object, sorted.
func (v Value) Keys() []string {
	object, _ := v.any.(map[string]any)
	return slices.Sorted(maps.Keys(object))
}

// walk calls visit for every string in the value, with the path to it.
func (v Value) walk(path string, visit func(path, text string)) {
	switch value := v.any.(type) {
	case string:
		visit(path, value)
	case []any:
		for i, element := range value {
			Value{element}.walk(path+"["+strconv.Itoa(i)+"]", visit)
		}
	case map[string]any:
		for _, key := range v.Keys() {
			below := key
			if path != "" {
				below = path + "." + key
			}
			Value{value[key]}.walk(below, visit)
		}
	}
}
