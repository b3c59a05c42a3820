package simcloud

import (
	"fmt"
	"sort"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// kind is how one resource type behaves. The functions run with the world
// locked, on inputs without unknowns. The tables name inputs, and fields of their
// blocks as input.field; testdata/conformance holds them to the official plugins.
type kind struct {
	// replaces names the inputs whose change needs a new resource; "*" is all.
	replaces []string
	// inPlace names fields of those inputs whose change does not.
	inPlace []string
	// sets names lists whose order does not count.
	sets []string
	// defaults are what the provider takes for an input that is left out.
	defaults map[string]any
	// computed names optional inputs that the cloud fills in when they are
	// absent: unknown in a preview of a create, and no change when they are left out.
	computed []string
	// kept names further inputs that are no change when they are left out.
	kept []string
	// spelling writes values alike that mean the same.
	spelling map[string]func(string) string
	// framework and native: the provider is made with the newer Terraform framework,
	// or is no Terraform provider; the default is the older SDK.
	framework, native bool
	// deletesFirst: a replacement deletes first, whoever gave the name.
	deletesFirst bool
	// permanent: a delete leaves the setting as it is, and a create warns of that.
	permanent bool
	// deprecated names inputs that the provider warns of.
	deprecated []string
	// autoname fills a missing name from the resource name, as bridged providers do.
	autoname bool
	// volatile names outputs that any update changes: unknown in its preview.
	volatile []string
	// stateless: the resource exists in the engine's state only, so nothing is
	// stored, and create, which may be slow, runs without the lock.
	stateless bool

	// gone is what a delete says of a resource that is not there any more; the
	// default is nothing. %s stands for its ID.
	gone string
	// detached: read and delete never reach the cloud, and an update makes what is
	// not there.
	detached bool

	// check refuses what the plugin refuses, in previews too; ask what only the
	// cloud refuses, when a create or an update reaches it.
	check func(c *checking)
	ask   func(c *checking)
	// unfit is why the plugin cannot compare at all.
	unfit     func(state, news resource.PropertyMap) error
	extraDiff func(state, news resource.PropertyMap) []change
	create    func(t *task) (id string, err error)
	update    func(t *task, o *object) error
	remove    func(t *task, o *object) error
	// importID turns the ID that an import names into the object's; nil: they are the same.
	importID func(id string) string
	// read refreshes an object; false means that it is gone.
	read func(t *task, o *object) (bool, error)
	// readGone is what a read makes of one that is gone; the default is to forget it.
	readGone func(t *task, state map[string]any) *object
	// place finds the machine that the object lives on; nil: none.
	place func(t *task) (*machine, error)

	// also is what comes on top where the machines are real, and instead what takes the place of the
	// functions above: there the machine decides.
	also, instead *acts
}

// replacedBy reports whether a change needs a new resource.
func (k *kind) replacedBy(c change) bool {
	if contains(k.inPlace, c.where) {
		return false
	}
	for field := strings.TrimSuffix(c.where, "[]"); field != ""; field = parentField(field) {
		if contains(k.inPlace, field) {
			return false
		}
		if contains(k.replaces, field) {
			return true
		}
	}
	return contains(k.replaces, "*")
}

// parentField is the input or block that a field stands in; "" for an input.
func parentField(field string) string {
	return field[:max(0, strings.LastIndex(field, "."))]
}

// bridged reports whether the older Terraform SDK decides, which takes false, 0
// and "" for absent.
func (k *kind) bridged() bool { return !k.framework && !k.native }

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
	// state is what the provider last said of the resource; of a read and an update.
	state map[string]any
	// undo takes back what a create or an update did in the world beside its object; nil: nothing.
	undo func()
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

// each calls visit for every block of a list that is known.
func (c *checking) each(name string, visit func(at string, block resource.PropertyMap)) {
	v := c.news[resource.PropertyKey(name)]
	if !v.IsArray() {
		return
	}
	for i, e := range v.ArrayValue() {
		if e.IsObject() {
			visit(fmt.Sprintf("%s[%d]", name, i), e.ObjectValue())
		}
	}
}

// has reports whether an input is given, known or not.
func (c *checking) has(name string) bool {
	v, ok := c.news[resource.PropertyKey(name)]
	return ok && !v.IsNull()
}

// asked runs what the cloud itself checks on known inputs; the error is its first refusal.
func (k *kind) asked(t *task) error {
	if k.ask == nil {
		return nil
	}
	c := &checking{news: resource.NewPropertyMapFromMap(t.in), opts: t.w.opts}
	k.ask(c)
	if len(c.problems) == 0 {
		return nil
	}
	return fail("%s", c.problems[0].reason)
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
