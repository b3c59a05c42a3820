package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// field is one thing that we set in an object.
type field struct {
	// name is the key in the object, or "fields." and the name in its list of fields.
	name string
	want any
	// secret values are remembered as digests and never shown.
	secret bool
	// hidden values are never read back as they were written.
	hidden bool
	// plain makes equal what the app takes for equal; nil if that is only what is equal.
	plain func(any) any
	// once values are set when the object is made, and are the operator's own afterwards.
	once bool
}

func (f field) simple(value any) any {
	if f.plain == nil {
		return value
	}
	return f.plain(value)
}

// folder takes a path with a slash at its end for the same folder.
func folder(value any) any {
	if text, ok := value.(string); ok {
		return strings.TrimSuffix(text, "/")
	}
	return value
}

// orEmpty takes a text that is not there for an empty one.
func orEmpty(value any) any {
	if value == nil {
		return ""
	}
	return value
}

// anyCase takes a name for the same whatever its case.
func anyCase(value any) any {
	if text, ok := value.(string); ok {
		return strings.ToLower(text)
	}
	return value
}

// object is something in an app that we keep as the plan says.
type object struct {
	// key names it in the state.
	key string
	// label names it in what is printed.
	label string
	// actual is what the app has, nil if it has no such object.
	actual map[string]any
	// template is what a new one starts from.
	template map[string]any
	fields   []field
}

// decision is what is to be done about an object.
type decision struct {
	// merged is the object as it is to be written.
	merged map[string]any
	// written are the names of the fields that are to be written, those changed by hand included
	// where they are put back.
	written []string
	// drift says what was changed by hand and is left so.
	drift []string
	// settled are the fields that have the plan's values once the object is written.
	settled map[string]json.RawMessage
	// unseen says that the object has a secret of which we cannot see whether it is still ours.
	unseen bool
}

// compare decides field by field: what is as the plan says stays; what is as we last wrote it, or
// was never written by us, is written; everything else was changed by hand.
func (a *app) compare(o object) decision {
	d := decision{settled: map[string]json.RawMessage{}}
	isNew := o.actual == nil
	d.merged = clone(o.actual)
	if isNew {
		d.merged = clone(o.template)
	}
	known := a.state.Object(o.key)
	for _, f := range o.fields {
		want := encode(f.simple(f.want))
		remember := want
		if f.secret {
			remember = encode(a.state.Digest(fmt.Sprint(f.want)))
		}
		if isNew {
			put(d.merged, f.name, f.want)
			d.written = append(d.written, f.name)
			if !f.once {
				d.settled[f.name] = remember
			}
			continue
		}
		if f.once {
			continue
		}
		var last, attempted json.RawMessage
		if known != nil {
			last, attempted = known.Fields[f.name], known.Attempted[f.name]
		}
		have, _ := get(d.merged, f.name)
		actual := encode(f.simple(have))
		unseen := f.hidden || (f.secret && masked(have))
		seen := actual
		if f.secret && !unseen {
			seen = encode(a.state.Digest(fmt.Sprint(have)))
		}
		switch {
		case unseen && string(last) == string(remember):
			d.unseen = true
			d.settled[f.name] = remember
		case !unseen && string(actual) == string(want):
			d.settled[f.name] = remember
		case unseen || last == nil || string(seen) == string(last) || string(seen) == string(attempted):
			put(d.merged, f.name, f.want)
			d.written = append(d.written, f.name)
			d.settled[f.name] = remember
		case a.plan.Enforces(a.name):
			put(d.merged, f.name, f.want)
			d.written = append(d.written, f.name+" put back")
			d.settled[f.name] = remember
		default:
			d.drift = append(d.drift, drifted(o.label, f, have))
		}
	}
	if len(d.written) > 0 {
		a.sendUnseen(o, d)
	}
	return d
}

// sendUnseen puts the secrets that cannot be read back into an object that is written anyway.
func (a *app) sendUnseen(o object, d decision) {
	for _, f := range o.fields {
		have, _ := get(d.merged, f.name)
		if _, settled := d.settled[f.name]; settled && (f.hidden || (f.secret && masked(have))) {
			put(d.merged, f.name, f.want)
		}
	}
}

func drifted(label string, f field, have any) string {
	name := strings.TrimPrefix(f.name, "fields.")
	if f.secret || f.hidden {
		return fmt.Sprintf("%s.%s was changed by hand", label, name)
	}
	return fmt.Sprintf("%s.%s was changed by hand to %s (the settings say %s)",
		label, name, short(string(encode(have))), short(string(encode(f.want))))
}

// settle makes an object as the plan says, with write, and remembers it.
func (a *app) settle(ctx context.Context, o object, write func(context.Context, map[string]any) error) error {
	d := a.compare(o)
	a.result.Drift = append(a.result.Drift, d.drift...)
	if len(d.written) == 0 {
		return a.state.Record(o.key, d.settled)
	}
	return a.write(ctx, o, d, write)
}

// write writes an object as it was decided.
func (a *app) write(ctx context.Context, o object, d decision,
	write func(context.Context, map[string]any) error) error {
	if !a.options.Check {
		if err := a.state.Attempt(o.key, o.actual == nil, d.settled); err != nil {
			return err
		}
		if err := write(ctx, d.merged); err != nil {
			return fmt.Errorf("writing %s: %w", o.label, err)
		}
	}
	if o.actual == nil {
		a.changed("%s added", o.label)
	} else {
		names := make([]string, len(d.written))
		for i, name := range d.written {
			names[i] = strings.TrimPrefix(name, "fields.")
		}
		a.changed("%s updated (%s)", o.label, strings.Join(names, ", "))
	}
	return a.state.Record(o.key, d.settled)
}

// prune removes what we made with the prefix and the plan no longer has. find returns the app's
// object of a name, nil if it has none.
func (a *app) prune(ctx context.Context, prefix, label string, keep []string, find func(name string) map[string]any,
	remove func(context.Context, map[string]any) error) error {
	for _, key := range a.state.Keys(prefix) {
		name := strings.TrimPrefix(key, prefix)
		if slices.Contains(keep, name) {
			continue
		}
		if have := find(name); have != nil && a.state.Object(key).Made {
			a.changed("%s %s removed", label, name)
			if a.options.Check {
				continue
			}
			if err := remove(ctx, have); err != nil {
				return fmt.Errorf("removing %s %s: %w", label, name, err)
			}
		}
		if err := a.state.Forget(key); err != nil {
			return err
		}
	}
	return nil
}

// encode returns a value as JSON, in which equal values are equal texts.
func encode(value any) json.RawMessage {
	data, err := json.Marshal(value)
	if err != nil {
		return json.RawMessage("null") // only values from JSON and literals come here
	}
	return data
}

func clone(value map[string]any) map[string]any {
	copied := map[string]any{}
	if err := json.Unmarshal(encode(value), &copied); err != nil || copied == nil {
		return map[string]any{}
	}
	return copied
}

// masked reports whether an app shows asterisks in place of a secret.
func masked(value any) bool {
	text, ok := value.(string)
	return ok && len(text) >= 3 && strings.Trim(text, "*") == ""
}

// get returns the value of a field, and whether the object has the field.
func get(o map[string]any, name string) (any, bool) {
	inner, nested := strings.CutPrefix(name, "fields.")
	if !nested {
		value, ok := o[name]
		return value, ok
	}
	if entry := entryOf(o, inner); entry != nil {
		return entry["value"], true
	}
	return nil, false
}

func put(o map[string]any, name string, value any) {
	inner, nested := strings.CutPrefix(name, "fields.")
	if !nested {
		o[name] = value
		return
	}
	if entry := entryOf(o, inner); entry != nil {
		entry["value"] = value
	}
}

// entryOf returns the entry of a name in an object's list of fields, or nil.
func entryOf(o map[string]any, name string) map[string]any {
	entries, ok := o["fields"].([]any)
	if !ok {
		return nil
	}
	for _, entry := range entries {
		if entry, ok := entry.(map[string]any); ok && entry["name"] == name {
			return entry
		}
	}
	return nil
}

// named returns the object whose name is name without regard to case, or nil.
func named(objects []map[string]any, key, name string) map[string]any {
	for _, o := range objects {
		if text, ok := o[key].(string); ok && strings.EqualFold(text, name) {
			return o
		}
	}
	return nil
}
