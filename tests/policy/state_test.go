// Package policy breaks the production example's stack in one way after the other, and requires that
// the rule that is there for it says so: in the audit of an export and in the policy pack.
package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"homelab/components/settings"
	"homelab/components/stack"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
	"homelab/policy/rules"
)

type object = map[string]any

// exported is the stack of the production example on simulated clouds, as pulumi stack export writes
// it.
var exported = sync.OnceValues(func() ([]byte, error) { return deploy(stack.From, nil) })

// deploy deploys a program to simulated clouds, with further settings, and exports the stack.
func deploy(program func(root string) pulumi.RunFunc, config map[string]any) ([]byte, error) {
	ctx := context.Background()
	cli, err := toolchain.Pulumi(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	options := workspace.Options{Project: "../..", Program: program, CLI: cli, Stdout: io.Discard, Stderr: io.Discard, Config: config}
	for _, key := range settings.Secrets() {
		options.Secrets = append(options.Secrets, workspace.Secret{Key: key.Key, Generate: key.Generate, Needs: key.Needs})
	}
	w, err := workspace.Simulated(ctx, options)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if _, err := w.Up(ctx); err != nil {
		return nil, err
	}
	deployment, err := w.Deployment()
	if err != nil {
		return nil, err
	}
	return json.Marshal(object{"version": 3, "deployment": deployment})
}

// state is an export that can be changed.
type state struct {
	t    testing.TB
	file object
}

func newState(t testing.TB) *state {
	t.Helper()
	text, err := exported()
	require.NoError(t, err)
	s := &state{t: t}
	require.NoError(t, json.Unmarshal(text, &s.file))
	return s
}

func (s *state) text() []byte {
	text, err := json.Marshal(s.file)
	require.NoError(s.t, err)
	return text
}

func (s *state) resources() []any { return s.file["deployment"].(object)["resources"].([]any) }

// failed are the rules that the audit finds broken, sorted.
func (s *state) failed() []string {
	export, err := rules.ReadExport(bytes.NewReader(s.text()))
	require.NoError(s.t, err)
	return broken(rules.Judge(export.Graph))
}

func broken(verdicts []rules.Verdict) []string {
	out := []string{}
	for _, v := range verdicts {
		if v.Status == rules.Failed {
			out = append(out, v.Rule.ID)
		}
	}
	slices.Sort(out)
	return out
}

// part is one resource, to be changed.
type part struct {
	state *state
	of    object
}

// get returns the resource whose URN ends with the type's last part and the name.
func (s *state) get(token, name string) part {
	s.t.Helper()
	for _, r := range s.resources() {
		of := r.(object)
		if strings.HasSuffix(of["type"].(string), token) && strings.HasSuffix(of["urn"].(string), "::"+name) {
			return part{s, of}
		}
	}
	require.Fail(s.t, "no resource", "%s %s", token, name)
	return part{}
}

// set gives a property another value, in what the program asked for and in what came of it.
func (p part) set(value any, keys ...string) part {
	for _, side := range []string{"inputs", "outputs"} {
		at, ok := p.of[side].(object)
		for _, key := range keys[:len(keys)-1] {
			if ok {
				at, ok = at[key].(object)
			}
		}
		if ok {
			at[keys[len(keys)-1]] = value
		}
	}
	return p
}

// put gives the resource a field of its own.
func (p part) put(field string, value any) { p.of[field] = value }

// at returns a property.
func (p part) at(key string) any { return p.of["outputs"].(object)[key] }

// each changes every element of a list of objects.
func (p part) each(key string, change func(object)) {
	changed := false
	for _, side := range []string{"inputs", "outputs"} {
		properties, _ := p.of[side].(object)
		list, _ := properties[key].([]any)
		for _, element := range list {
			if of, ok := element.(object); ok {
				change(of)
				changed = true
			}
		}
	}
	require.True(p.state.t, changed, "%s has no %s", p.of["urn"], key)
}

// replace puts another text in the place of one, in a property.
func (p part) replace(key, old, with string) {
	text, ok := p.at(key).(string)
	require.True(p.state.t, ok)
	require.Contains(p.state.t, text, old)
	p.set(strings.ReplaceAll(text, old, with), key)
}

// append adds an element to a list.
func (p part) append(key string, element any) {
	list, _ := p.at(key).([]any)
	p.set(append(slices.Clone(list), element), key)
}

// drop makes everything forget that it depends on a resource.
func (s *state) drop(gone part) {
	for _, r := range s.resources() {
		part{s, r.(object)}.forget(gone)
	}
}

// forget makes the resource forget that it depends on another.
func (p part) forget(gone part) {
	without := func(list any) any {
		urns, _ := list.([]any)
		return slices.DeleteFunc(slices.Clone(urns), func(u any) bool { return u == gone.of["urn"] })
	}
	p.of["dependencies"] = without(p.of["dependencies"])
	if properties, ok := p.of["propertyDependencies"].(object); ok {
		for key := range maps.Keys(properties) {
			properties[key] = without(properties[key])
		}
	}
}

// remove takes a resource out of the stack.
func (s *state) remove(gone part) {
	s.drop(gone)
	deployment := s.file["deployment"].(object)
	deployment["resources"] = slices.DeleteFunc(s.resources(), func(r any) bool { return r.(object)["urn"] == gone.of["urn"] })
}

// copyOf adds another resource like one, under another name.
func (s *state) copyOf(p part, name string) part {
	text, err := json.Marshal(p.of)
	require.NoError(s.t, err)
	var twin object
	require.NoError(s.t, json.Unmarshal(text, &twin))
	urn := twin["urn"].(string)
	twin["urn"] = urn[:strings.LastIndex(urn, "::")+2] + name
	deployment := s.file["deployment"].(object)
	deployment["resources"] = append(s.resources(), twin)
	return part{s, twin}
}
