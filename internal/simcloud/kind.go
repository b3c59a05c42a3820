package simcloud

import (
	"fmt"
	"sort"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// kind is how one resource type behaves. The functions run with the world
// locked, on inputs without unknowns.
type kind struct {
	// replaces names the inputs whose change needs a new resource; "*" is all.
	replaces []string
	// autoname fills a missing name from the resource name, as bridged providers do.
	autoname bool
	// namedDeletesFirst: a replacement of a resource named by the program
	// deletes first (bridges of the older Terraform SDK).
	namedDeletesFirst bool
	// computed names optional inputs that the cloud fills in when they are
	// absent: unknown in a preview of a create.
	computed []string
	// volatile names outputs that any update changes: unknown in its preview.
	volatile []string
	// stateless: the resource exists in the engine's state only, so nothing is
	// stored, and create, which may be slow, runs without the lock.
	stateless bool

	// detached: read and delete never reach the cloud, and an update makes what is
	// not there.
	detached bool

	check     func(c *checking)
	extraDiff func(state, news resource.PropertyMap) []change
	create    func(t *task) (id string, err error)
	update    func(t *task, o *object) error
	remove    func(t *task, o *object) error
	// read refreshes an object; false means that it is gone.
	read func(t *task, o *object) (bool, error)
	// place finds the machine that the object lives on; nil: none.
	place func(t *task) (*machine, error)
}

func (k *kind) replacedBy(input string) bool {
	for _, r := range k.replaces {
		if r == "*" || r == input {
			return true
		}
	}
	return false
}

// kinds are all simulated resource types.
var kinds = map[string]*kind{}

// function is how one invoke behaves; it runs with the world locked.
type function func(t *task) (map[string]any, error)

var functions = map[string]function{}

func register(token string, k *kind) struct{} {
	kinds[token] = k
	return struct{}{}
}

// task is one operation on one resource.
type task struct {
	w      *World
	config map[string]any // the provider's configuration
	token  string
	urn    string
	name   string
	id     string
	in     map[string]any // new inputs; old inputs for a delete
	out    map[string]any // outputs beside the inputs
	place  *machine
	// stopped: what was created exists but does not run.
	stopped bool
}

// fail keeps errors uniform: the provider's own text, without a prefix that the
// real one would not have.
func fail(format string, args ...any) error { return fmt.Errorf(format, args...) }

// notReady is the error of a create whose resource exists all the same.
type notReady struct{ error }

// checking is one Check call: inputs may be unknown.
type checking struct {
	news     resource.PropertyMap // stripped of secrets
	opts     Options
	problems []problem
	// more are inputs that the provider adds.
	more resource.PropertyMap
}

func (c *checking) refuse(property, format string, args ...any) {
	c.problems = append(c.problems, problem{property, fmt.Sprintf(format, args...)})
}

// text returns a known string input.
func (c *checking) text(name string) (string, bool) {
	v := c.news[resource.PropertyKey(name)]
	if v.IsString() {
		return v.StringValue(), true
	}
	return "", false
}

// has reports whether an input is given, known or not.
func (c *checking) has(name string) bool {
	v, ok := c.news[resource.PropertyKey(name)]
	return ok && !v.IsNull()
}

// oneOf refuses a known string outside a closed set.
func (c *checking) oneOf(name string, allowed ...string) {
	v, ok := c.text(name)
	if !ok {
		return
	}
	for _, a := range allowed {
		if v == a {
			return
		}
	}
	c.refuse(name, "expected %s to be one of %q, got %s", name, allowed, v)
}

// The helpers below read JSON-like values without panicking: Check has already
// settled the types.

func text(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

func flag(m map[string]any, name string) bool {
	b, _ := m[name].(bool)
	return b
}

func number(m map[string]any, name string) float64 {
	n, _ := m[name].(float64)
	return n
}

// idText writes a numeric reference as the ID that it means.
func idText(v any) string {
	switch x := v.(type) {
	case float64:
		return fmt.Sprintf("%.0f", x)
	case string:
		return x
	}
	return ""
}

func list(m map[string]any, name string) []any {
	l, _ := m[name].([]any)
	return l
}

func texts(m map[string]any, name string) []string {
	var out []string
	for _, v := range list(m, name) {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func section(m map[string]any, name string) map[string]any {
	o, _ := m[name].(map[string]any)
	return o
}

func objects(m map[string]any, name string) []map[string]any {
	var out []map[string]any
	for _, v := range list(m, name) {
		if o, ok := v.(map[string]any); ok {
			out = append(out, o)
		}
	}
	return out
}

func anyList[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}

func sortedStrings(in []string) []string {
	out := append([]string(nil), in...)
	sort.Strings(out)
	return out
}

func contains(in []string, s string) bool {
	for _, x := range in {
		if x == s {
			return true
		}
	}
	return false
}

func keyOf(name string) resource.PropertyKey { return resource.PropertyKey(name) }
