package simcloud

import (
	"context"
	"errors"
	"net"

	"homelab/internal/rehearsal"
)

// Machines are real machines behind the simulated clouds. With them, what a machine does is not
// simulated: servers boot, commands run over SSH, and Docker's resources are those of an engine.
// rehearsal.Client implements it, and rehearsal.Service says what each method does.
type Machines interface {
	Boot(ctx context.Context, server rehearsal.Server) error
	Change(ctx context.Context, server rehearsal.Server) error
	Delete(ctx context.Context, id string, graceful bool) error
	SetFirewall(ctx context.Context, id string, rules []rehearsal.Rule) error
	Machines(ctx context.Context) ([]rehearsal.Machine, error)
	SetPolicy(ctx context.Context, policy string) error
	MakeKey(ctx context.Context, key rehearsal.Key) (rehearsal.MadeKey, error)
	DeleteKey(ctx context.Context, id string) error
	Devices(ctx context.Context) ([]rehearsal.Device, error)
	SetBox(ctx context.Context, box rehearsal.Box) error
	DeleteBox(ctx context.Context, id string) error
	BoxKeys(ctx context.Context) ([]string, error)
	SetZone(ctx context.Context, zone rehearsal.Zone) error
	Docker(ctx context.Context, call rehearsal.DockerCall) (rehearsal.DockerResult, error)
	Dial(ctx context.Context, target rehearsal.Target) (net.Conn, error)
}

// acts are what a kind does on real machines. The world is not locked meanwhile, and the object is
// a copy. A missing function does nothing.
type acts struct {
	// create makes what the object is. An error of type notReady says that it exists all the same;
	// after any other one the world forgets the object.
	create func(ctx context.Context, t *task, o *object) error
	// update changes it. After an error that is not a notReady the object is what it was before.
	update func(ctx context.Context, t *task, o *object) error
	// remove comes before the world forgets the object, and removed after; an error keeps it.
	remove  func(ctx context.Context, t *task, o *object) error
	removed func(ctx context.Context, t *task, o *object) error
	// refuse is what the cloud refuses before a machine hears of a delete. It runs with the world
	// locked.
	refuse func(t *task, o *object) error
	// read adds what is true of the machine; false means that it is gone.
	read func(ctx context.Context, t *task, o *object) (bool, error)
}

// notRehearsed are the types that real machines have no part in, and that would be believed to
// work if they only succeeded.
var notRehearsed = []string{
	typeVolume, typeTailnetSettings, typeNameservers, typeSearchPaths, typeSplitNameservers, typeDeviceTags, typeDeviceAuth, typeOriginCA,
}

// machines are the real machines that a kind acts on: those of the world, or nil.
func (k *kind) machines(t *task) (Machines, error) {
	m := t.w.opts.Machines
	if m != nil && contains(notRehearsed, t.token) {
		return nil, fail("%s is not part of a rehearsal on machines", t.token)
	}
	return m, nil
}

// perform creates an object; with an error it may exist all the same.
func (k *kind) perform(ctx context.Context, t *task) (*object, error) {
	m, err := k.machines(t)
	switch {
	case err != nil:
		return nil, err
	case m != nil && k.instead != nil:
		return k.makeInstead(ctx, t)
	}
	made, err := k.make(t)
	if m == nil || err != nil || k.also == nil || k.also.create == nil {
		return made, err
	}
	err = k.also.create(ctx, t, made)
	if err == nil || errors.As(err, new(notReady)) {
		return made, err
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	t.revert()
	t.w.drop(made)
	return nil, err
}

// revert takes back what the world did beside the object.
func (t *task) revert() {
	if t.undo != nil {
		t.undo()
	}
}

// look finds a copy of the live object, nil when there is none.
func (k *kind) look(ctx context.Context, t *task, state map[string]any) (*object, error) {
	t.state = state
	m := t.w.opts.Machines
	if m != nil && k.instead != nil && k.instead.read != nil {
		return k.readInstead(ctx, t)
	}
	found, err := k.find(t, state)
	if m == nil || err != nil || found == nil || k.also == nil || k.also.read == nil {
		return found, err
	}
	there, err := k.also.read(ctx, t, found)
	if err != nil || !there {
		return nil, err
	}
	return found, nil
}

// alter applies new inputs; nil with an error means that nothing changed.
func (k *kind) alter(ctx context.Context, t *task) (*object, error) {
	m, err := k.machines(t)
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		return k.change(t)
	case k.instead != nil:
		return k.changeInstead(ctx, t)
	}
	before := t.w.snapshot(t.token, "", t.id)
	changed, err := k.change(t)
	if err != nil || k.also == nil || k.also.update == nil {
		return changed, err
	}
	err = k.also.update(ctx, t, changed)
	if err == nil || errors.As(err, new(notReady)) {
		return changed, err
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	t.revert()
	if before != nil {
		t.w.put(before)
	}
	return nil, err
}

// erase removes a live object. Whether one that is gone already is an error depends on the provider.
func (k *kind) erase(ctx context.Context, t *task) error {
	if t.w.opts.Machines == nil {
		return k.forget(t)
	}
	if k.instead != nil && k.instead.remove != nil {
		return k.removeInstead(ctx, t)
	}
	if k.also == nil {
		return k.forget(t)
	}
	o, err := k.removable(t)
	if err != nil {
		return err
	}
	if o != nil && k.also.remove != nil {
		if err := k.also.remove(ctx, t, o); err != nil {
			return err
		}
	}
	if err := k.forget(t); err != nil {
		return err
	}
	if o == nil || k.also.removed == nil {
		return nil
	}
	err = k.also.removed(ctx, t, o)
	if err != nil {
		t.w.mu.Lock()
		defer t.w.mu.Unlock()
		t.w.put(o)
	}
	return err
}

// removable returns a copy of the object that is to be removed, nil when there is none.
func (k *kind) removable(t *task) (*object, error) {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	o := t.w.get(t.token, "", t.id)
	if o == nil {
		return nil, nil
	}
	if k.also.refuse != nil {
		if err := k.also.refuse(t, o); err != nil {
			return nil, err
		}
	}
	return o.copy(), nil
}

// snapshot is a copy of an object, nil when there is none.
func (w *World) snapshot(token, machine, id string) *object {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o := w.get(token, machine, id); o != nil {
		return o.copy()
	}
	return nil
}

// makeInstead has a machine make an object, and keeps a copy in the world.
func (k *kind) makeInstead(ctx context.Context, t *task) (*object, error) {
	if err := k.asked(t); err != nil {
		return nil, err
	}
	if err := k.placed(ctx, t); err != nil {
		return nil, err
	}
	err := k.instead.create(ctx, t, nil)
	if err != nil && !errors.As(err, new(notReady)) {
		return nil, err
	}
	return t.mirror(), err
}

// mirror keeps in the world what a machine has, and returns a copy.
func (t *task) mirror() *object {
	o := &object{Type: t.token, ID: t.id, Name: t.name, URN: t.urn, Machine: t.machineID(), Inputs: t.in, Outputs: t.out}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if old := t.w.get(o.Type, o.Machine, o.ID); old != nil {
		o.Serial, o.Failed = old.Serial, old.Failed
	}
	t.w.put(o)
	t.w.keepSecrets(o)
	return o.copy()
}

// readInstead reads an object from its machine.
func (k *kind) readInstead(ctx context.Context, t *task) (*object, error) {
	if err := k.placed(ctx, t); err != nil {
		return nil, err
	}
	before := t.w.snapshot(t.token, t.machineID(), t.id)
	t.out = map[string]any{}
	there, err := k.instead.read(ctx, t, before)
	if err != nil {
		return nil, err
	}
	if !there {
		t.unmirror()
		return nil, nil
	}
	return t.mirror(), nil
}

// changeInstead has a machine change an object.
func (k *kind) changeInstead(ctx context.Context, t *task) (*object, error) {
	if err := k.asked(t); err != nil {
		return nil, err
	}
	if err := k.placed(ctx, t); err != nil {
		return nil, err
	}
	if k.instead.update == nil {
		return nil, fail("doesn't support update")
	}
	if err := k.instead.update(ctx, t, t.w.snapshot(t.token, t.machineID(), t.id)); err != nil {
		return nil, err
	}
	return t.mirror(), nil
}

// removeInstead has a machine remove an object.
func (k *kind) removeInstead(ctx context.Context, t *task) error {
	if err := k.placed(ctx, t); err != nil {
		return err
	}
	if err := k.instead.remove(ctx, t, t.w.snapshot(t.token, t.machineID(), t.id)); err != nil {
		return err
	}
	t.unmirror()
	return nil
}

func (t *task) unmirror() {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if o := t.w.get(t.token, t.machineID(), t.id); o != nil {
		t.w.drop(o)
	}
}

// placed finds the machine that an object is on. The tailnet may have changed since it was last
// asked, so it is asked once more before nobody is found.
func (k *kind) placed(ctx context.Context, t *task) error {
	if k.place == nil {
		return nil
	}
	find := func() (err error) {
		t.w.mu.Lock()
		defer t.w.mu.Unlock()
		t.place, err = k.place(t)
		return err
	}
	if find() == nil {
		return nil
	}
	if err := t.w.syncDevices(ctx); err != nil {
		return err
	}
	return find()
}
