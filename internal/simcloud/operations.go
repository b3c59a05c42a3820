package simcloud

import (
	"context"
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// operation runs one recorded operation: latency, faults, the effect.
func (p *provider) operation(ctx context.Context, op Operation, effect func() (string, error)) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.session(ctx).stopping, cancel)()

	seq, fault := p.world.begin(op)
	id, err := op.ID, p.world.wait(ctx, op.Type)
	if err != nil {
		err = fmt.Errorf("%s of %s was cancelled: %w", op.Kind, op.Type, err)
	} else if fault != nil && !fault.Partial {
		err = errors.New(fault.Err)
	} else {
		var created string
		created, err = effect()
		if created != "" {
			id = created
		}
		if err == nil && fault != nil {
			err = errors.New(fault.Err)
		}
	}
	p.world.end(seq, id, err)
	return id, err
}

// outputs joins inputs and outputs and marks what is secret: what the schema
// says, and every output whose input is.
func outputs(token string, values map[string]any, like ...resource.PropertyMap) resource.PropertyMap {
	out := resource.NewPropertyMapFromMap(values)
	hide := func(k resource.PropertyKey) {
		if v, ok := out[k]; ok && !v.IsSecret() && !v.IsNull() {
			out[k] = resource.MakeSecret(v)
		}
	}
	for _, name := range schema.Resources[token].Secrets {
		hide(resource.PropertyKey(name))
	}
	for name, f := range schema.Resources[token].Inputs {
		if f.Secret {
			hide(resource.PropertyKey(name))
		}
	}
	for _, m := range like {
		for k, v := range m {
			if v.ContainsSecrets() {
				hide(k)
			}
		}
	}
	return out
}

// initFailed is the answer for a resource that exists but did not become ready.
func initFailed(id string, props, inputs *structpb.Struct, err error) error {
	st := status.New(codes.Unknown, err.Error())
	detailed, detailErr := st.WithDetails(&pulumirpc.ErrorResourceInitFailed{
		Id: id, Properties: props, Inputs: inputs, Reasons: []string{err.Error()},
	})
	if detailErr != nil {
		return st.Err()
	}
	return detailed.Err()
}

func refusal(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, err.Error())
}

// Create makes the resource, or in a preview says what would be known of it.
func (p *provider) Create(ctx context.Context, req *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	token, k, err := p.kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	news, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	if req.GetPreview() {
		props, err := marshal(k.previewed(token, news))
		return &pulumirpc.CreateResponse{Properties: props}, err
	}
	config, err := p.session(ctx).get()
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: token, urn: req.GetUrn(), name: urn.URN(req.GetUrn()).Name(),
		in: plain(news), out: map[string]any{}}
	var made *object
	id, err := p.operation(ctx, Operation{Kind: OpCreate, Type: token, URN: t.urn, Name: t.name}, func() (string, error) {
		var opErr error
		made, opErr = k.perform(t)
		if made == nil {
			return "", opErr
		}
		return made.ID, opErr
	})
	if made == nil {
		return nil, refusal(err)
	}
	props, merr := marshal(outputs(token, made.merged(), news))
	if merr != nil {
		return nil, merr
	}
	if err != nil {
		p.world.setFailed(made, err)
		return nil, initFailed(id, props, req.GetProperties(), err)
	}
	return &pulumirpc.CreateResponse{Id: id, Properties: props}, nil
}

// perform creates an object; with an error it may exist all the same.
func (k *kind) perform(t *task) (*object, error) {
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
	if id == "" {
		return nil, err
	}
	o := &object{Type: t.token, ID: id, Name: t.name, URN: t.urn, Inputs: t.in, Outputs: t.out}
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
	for _, name := range s.Secrets {
		if v, ok := out[resource.PropertyKey(name)]; ok && !v.IsSecret() {
			out[resource.PropertyKey(name)] = resource.MakeSecret(v)
		}
	}
	return out
}

// Read returns what exists now, and no ID when it is gone.
func (p *provider) Read(ctx context.Context, req *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	token, k, err := p.kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	state, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetInputs())
	if err != nil {
		return nil, err
	}
	config, err := p.session(ctx).get()
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: token, urn: req.GetUrn(), name: urn.URN(req.GetUrn()).Name(), id: req.GetId(), in: plain(inputs)}
	var found *object
	_, err = p.operation(ctx, Operation{Kind: OpRead, Type: token, URN: t.urn, Name: t.name, ID: t.id}, func() (string, error) {
		var opErr error
		found, opErr = k.look(t, plain(state))
		return "", opErr
	})
	if err != nil {
		return nil, refusal(err)
	}
	if found == nil {
		return &pulumirpc.ReadResponse{}, nil
	}
	props, err := marshal(outputs(token, found.merged(), state, inputs))
	if err != nil {
		return nil, err
	}
	ins := outputs(token, found.Inputs, inputs, state)
	if d, ok := inputs["__defaults"]; ok {
		ins["__defaults"] = d
	}
	marshalled, err := marshal(ins)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.ReadResponse{Id: found.ID, Properties: props, Inputs: marshalled}, nil
}

// look finds a copy of the live object, nil when there is none.
func (k *kind) look(t *task, state map[string]any) (*object, error) {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if k.stateless {
		return &object{ID: t.id, Inputs: t.in, Outputs: state}, nil
	}
	if k.place != nil {
		m, err := k.place(t)
		if err != nil {
			return nil, err
		}
		t.place = m
	}
	o := t.w.get(t.token, t.machineID(), t.id)
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

// Update changes a resource in place.
func (p *provider) Update(ctx context.Context, req *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	token, k, err := p.kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	olds, err := unmarshal(req.GetOlds())
	if err != nil {
		return nil, err
	}
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	if req.GetPreview() {
		props, err := marshal(k.previewedUpdate(token, olds, news))
		return &pulumirpc.UpdateResponse{Properties: props}, err
	}
	config, err := p.session(ctx).get()
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: token, urn: req.GetUrn(), name: urn.URN(req.GetUrn()).Name(), id: req.GetId(),
		in: plain(news), out: map[string]any{}}
	var changed *object
	_, err = p.operation(ctx, Operation{Kind: OpUpdate, Type: token, URN: t.urn, Name: t.name, ID: t.id}, func() (string, error) {
		var opErr error
		if k.stateless {
			for name, v := range plain(olds) {
				if _, input := schema.Resources[token].Inputs[name]; !input {
					t.out[name] = v
				}
			}
			changed = &object{Type: token, ID: t.id, Inputs: t.in, Outputs: t.out}
			return "", nil
		}
		changed, opErr = k.alter(t)
		return "", opErr
	})
	if changed == nil {
		return nil, refusal(err)
	}
	props, merr := marshal(outputs(token, changed.merged(), news))
	if merr != nil {
		return nil, merr
	}
	if err != nil {
		return nil, initFailed(t.id, props, req.GetNews(), err)
	}
	return &pulumirpc.UpdateResponse{Properties: props}, nil
}

// alter applies new inputs; nil with an error means that nothing changed.
func (k *kind) alter(t *task) (*object, error) {
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
	if o == nil {
		return nil, fail("%s %s not found", t.token, t.id)
	}
	for name, v := range o.Outputs {
		t.out[name] = v
	}
	if k.update == nil {
		return nil, fail("doesn't support update")
	}
	if err := k.update(t, o); err != nil {
		return nil, err
	}
	o.Inputs, o.Outputs, o.Failed, o.URN, o.Name = t.in, t.out, "", t.urn, t.name
	t.w.keepSecrets(o)
	return o.copy(), nil
}

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
	for _, name := range s.Secrets {
		if v, ok := out[resource.PropertyKey(name)]; ok && !v.IsSecret() {
			out[resource.PropertyKey(name)] = resource.MakeSecret(v)
		}
	}
	return out
}

// Delete removes a resource; one that is gone already is no error, as in the
// real providers.
func (p *provider) Delete(ctx context.Context, req *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	token, k, err := p.kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetOldInputs())
	if err != nil {
		return nil, err
	}
	config, err := p.session(ctx).get()
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: token, urn: req.GetUrn(), name: urn.URN(req.GetUrn()).Name(), id: req.GetId(), in: plain(inputs)}
	_, err = p.operation(ctx, Operation{Kind: OpDelete, Type: token, URN: t.urn, Name: t.name, ID: t.id}, func() (string, error) {
		return "", k.erase(t)
	})
	if err != nil {
		return nil, refusal(err)
	}
	return &emptypb.Empty{}, nil
}

func (k *kind) erase(t *task) error {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if k.place != nil {
		m, err := k.place(t)
		if err != nil {
			return err
		}
		t.place = m
	}
	o := t.w.get(t.token, t.machineID(), t.id)
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

// Invoke answers a function call.
func (p *provider) Invoke(ctx context.Context, req *pulumirpc.InvokeRequest) (*pulumirpc.InvokeResponse, error) {
	f, ok := functions[req.GetTok()]
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "unrecognized data function (Invoke): %s", req.GetTok())
	}
	args, err := unmarshal(req.GetArgs())
	if err != nil {
		return nil, err
	}
	resp := &pulumirpc.InvokeResponse{}
	for _, pr := range schema.Functions[req.GetTok()].validate(args) {
		resp.Failures = append(resp.Failures, &pulumirpc.CheckFailure{Property: pr.property, Reason: pr.reason})
	}
	if len(resp.Failures) > 0 {
		return resp, nil
	}
	config, err := p.session(ctx).get()
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: req.GetTok(), in: plain(args)}
	var result map[string]any
	call := func() (string, error) {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		var opErr error
		result, opErr = f(t)
		return "", opErr
	}
	if req.GetPreview() {
		_, err = call()
	} else {
		_, err = p.operation(ctx, Operation{Kind: OpInvoke, Type: t.token}, call)
	}
	if err != nil {
		return nil, refusal(fmt.Errorf("invoking %s: %w", req.GetTok(), err))
	}
	resp.Return, err = marshal(resource.NewPropertyMapFromMap(result))
	return resp, err
}
