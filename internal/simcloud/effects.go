package simcloud

import (
	"errors"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// make creates an object in the world; with an error it may exist all the same.
func (k *kind) make(t *task) (*object, error) {
	if err := k.asked(t); err != nil {
		return nil, err
	}
	if k.stateless {
		id, err := k.create(t)
		if err != nil {
			return nil, err
		}
		o := &object{Type: t.token, ID: id, Inputs: t.in, Outputs: t.out}
		t.w.mu.Lock()
		defer t.w.mu.Unlock()
		t.w.keepSecrets(o)
		return o, nil
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if k.place != nil {
		m, err := k.place(t)
		if err != nil {
			return nil, err
		}
		t.place = m
	}
	id, err := k.create(t)
	var exists notReady
	if err != nil && !errors.As(err, &exists) {
		return nil, err
	}
	o := &object{Type: t.token, ID: id, Name: t.name, URN: t.urn, Inputs: t.in, Outputs: t.out, Stopped: t.stopped}
	if t.place != nil {
		o.Machine = t.place.ID
	}
	t.w.put(o)
	t.w.keepSecrets(o)
	return o.copy(), err
}

// keepSecrets remembers generated secret outputs.
func (w *World) keepSecrets(o *object) {
	for _, name := range schema.Resources[o.Type].Secrets {
		if s, ok := o.Outputs[name].(string); ok && s != "" {
			w.keep(s)
		}
	}
}

// setFailed records why an object never became ready.
func (w *World) setFailed(made *object, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o := w.get(made.Type, made.Machine, made.ID); o != nil {
		o.Failed = err.Error()
	}
}

// merged is what the provider believes of an object.
func (o *object) merged() map[string]any {
	out := map[string]any{}
	for _, m := range []map[string]any{o.Inputs, o.Outputs} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// previewed gives the outputs of a create that does not happen.
func (k *kind) previewed(token string, news resource.PropertyMap) resource.PropertyMap {
	s := schema.Resources[token]
	out := resource.PropertyMap{}
	for key, v := range news {
		if key != "__defaults" {
			out[key] = v
		}
	}
	unknown := resource.MakeComputed(resource.NewStringProperty(""))
	for name := range s.Outputs {
		if _, given := out[resource.PropertyKey(name)]; given {
			continue
		}
		if _, input := s.Inputs[name]; !input || contains(k.computed, name) {
			out[resource.PropertyKey(name)] = unknown
		}
	}
	return hidden(token, out)
}

// find finds a copy of the live object in the world, nil when there is none.
func (k *kind) find(t *task, state map[string]any) (*object, error) {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if k.stateless || k.detached {
		return &object{ID: t.id, Inputs: t.in, Outputs: state}, nil
	}
	if k.place != nil {
		m, err := k.place(t)
		if err != nil {
			return nil, err
		}
		t.place = m
	}
	if k.importID != nil {
		t.id = k.importID(t.id)
	}
	o := t.w.get(t.token, t.machineID(), t.id)
	if o == nil && k.readGone != nil {
		return k.readGone(t, state), nil
	}
	if o == nil {
		return nil, nil
	}
	if k.read != nil {
		there, err := k.read(t, o)
		if err != nil || !there {
			return nil, err
		}
	}
	return o.copy(), nil
}

func (t *task) machineID() string {
	if t.place == nil {
		return ""
	}
	return t.place.ID
}

func (o *object) copy() *object {
	c := *o
	c.Inputs, c.Outputs = map[string]any{}, map[string]any{}
	for k, v := range o.Inputs {
		c.Inputs[k] = v
	}
	for k, v := range o.Outputs {
		c.Outputs[k] = v
	}
	return &c
}

// change applies new inputs in the world; nil with an error means that nothing changed.
func (k *kind) change(t *task) (*object, error) {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if k.place != nil {
		m, err := k.place(t)
		if err != nil {
			return nil, err
		}
		t.place = m
	}
	o := t.w.get(t.token, t.machineID(), t.id)
	if o == nil && k.detached {
		o = &object{Type: t.token, ID: t.id, Machine: t.machineID()}
		t.w.put(o)
	}
	if o == nil {
		return nil, fail("%s %s not found", t.token, t.id)
	}
	for name, v := range o.Outputs {
		t.out[name] = v
	}
	if err := k.asked(t); err != nil {
		return nil, err
	}
	if k.update == nil {
		return nil, fail("doesn't support update")
	}
	if err := k.update(t, o); err != nil {
		return nil, err
	}
	o.Inputs, o.Outputs, o.URN, o.Name = t.in, t.out, t.urn, t.name
	t.w.keepSecrets(o)
	return o.copy(), nil
}

// previewedUpdate gives the outputs of an update that does not happen.
func (k *kind) previewedUpdate(token string, olds, news resource.PropertyMap) resource.PropertyMap {
	s := schema.Resources[token]
	out := resource.PropertyMap{}
	for key, v := range olds {
		if _, input := s.Inputs[string(key)]; !input || contains(k.computed, string(key)) {
			out[key] = v
		}
	}
	for key, v := range news {
		if key != "__defaults" {
			out[key] = v
		}
	}
	for _, name := range k.volatile {
		out[resource.PropertyKey(name)] = resource.MakeComputed(resource.NewStringProperty(""))
	}
	return hidden(token, out)
}

// forget removes a live object from the world. Whether one that is gone already is an error
// depends on the provider.
func (k *kind) forget(t *task) error {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if k.detached {
		for _, o := range t.w.all(t.token) {
			if o.ID == t.id && o.URN == t.urn {
				t.w.drop(o)
				return k.remove(t, o)
			}
		}
		return nil
	}
	if k.place != nil {
		m, err := k.place(t)
		if err != nil {
			return err
		}
		t.place = m
	}
	o := t.w.get(t.token, t.machineID(), t.id)
	if o == nil && k.gone != "" {
		return fail("%s", strings.ReplaceAll(k.gone, "%s", t.id)+": the program's state is behind; refresh it first (pulumi refresh)")
	}
	if o == nil {
		return nil
	}
	if k.remove != nil {
		if err := k.remove(t, o); err != nil {
			return err
		}
	}
	t.w.drop(o)
	return nil
}

// hidden marks the outputs that the schema calls secret.
func hidden(token string, out resource.PropertyMap) resource.PropertyMap {
	for _, name := range schema.Resources[token].Secrets {
		if v, ok := out[keyOf(name)]; ok && !v.IsSecret() {
			out[keyOf(name)] = resource.MakeSecret(v)
		}
	}
	return out
}
