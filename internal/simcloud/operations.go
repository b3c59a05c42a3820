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
func (p *provider) operation(ctx context.Context, op Operation, effect func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopping := p.session(ctx).stopping
	defer context.AfterFunc(stopping, cancel)()

	seq, fault := p.world.begin(op)
	id, err := op.ID, stopping.Err()
	if err == nil {
		err = p.world.wait(ctx, op.Type)
	}
	if err != nil {
		err = fmt.Errorf("%s of %s was cancelled: %w", op.Kind, op.Type, err)
	} else if fault != nil && !fault.Partial {
		err = errors.New(fault.Err)
	} else {
		var created string
		created, err = effect(ctx)
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

// outputs marks what is secret of the properties that a provider returns: what the
// schema says, and every output whose input is. A provider on the older SDK knows
// the schema only: a secret that the program put elsewhere comes back as plain text.
func outputs(token string, values map[string]any, like ...resource.PropertyMap) resource.PropertyMap {
	if k, known := kinds[token]; known && k.bridged() {
		like = nil
	}
	return marked(token, values, like...)
}

// marked marks as secret what the schema says, and what is secret in others like it.
func marked(token string, values map[string]any, like ...resource.PropertyMap) resource.PropertyMap {
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
	if k.permanent {
		p.warn(ctx, req.GetUrn(), permanent)
	}
	if req.GetPreview() {
		props, err := marshal(k.previewed(token, news))
		return &pulumirpc.CreateResponse{Properties: props}, err
	}
	config, err := p.config(ctx)
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: token, urn: req.GetUrn(), name: urn.URN(req.GetUrn()).Name(),
		in: toGoValues(news), out: map[string]any{}}
	var made *object
	id, err := p.operation(ctx, Operation{Kind: OpCreate, Type: token, URN: t.urn, Name: t.name}, func(ctx context.Context) (string, error) {
		var opErr error
		made, opErr = k.perform(ctx, t)
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
	config, err := p.config(ctx)
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: token, urn: req.GetUrn(), name: urn.URN(req.GetUrn()).Name(), id: req.GetId(), in: toGoValues(inputs)}
	var found *object
	_, err = p.operation(ctx, Operation{Kind: OpRead, Type: token, URN: t.urn, Name: t.name, ID: t.id}, func(ctx context.Context) (string, error) {
		var opErr error
		found, opErr = k.look(ctx, t, toGoValues(state))
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
	ins := marked(token, found.Inputs, inputs, state)
	if d, ok := inputs["__defaults"]; ok {
		ins["__defaults"] = d
	}
	marshalled, err := marshal(ins)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.ReadResponse{Id: found.ID, Properties: props, Inputs: marshalled}, nil
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
	config, err := p.config(ctx)
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: token, urn: req.GetUrn(), name: urn.URN(req.GetUrn()).Name(), id: req.GetId(),
		in: toGoValues(news), out: map[string]any{}, state: toGoValues(olds)}
	var changed *object
	_, err = p.operation(ctx, Operation{Kind: OpUpdate, Type: token, URN: t.urn, Name: t.name, ID: t.id}, func(ctx context.Context) (string, error) {
		var opErr error
		if k.stateless {
			for name, v := range toGoValues(olds) {
				if _, input := schema.Resources[token].Inputs[name]; !input {
					t.out[name] = v
				}
			}
			changed = &object{Type: token, ID: t.id, Inputs: t.in, Outputs: t.out}
			return "", nil
		}
		changed, opErr = k.alter(ctx, t)
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

// Delete removes a resource.
func (p *provider) Delete(ctx context.Context, req *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	token, k, err := p.kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetOldInputs())
	if err != nil {
		return nil, err
	}
	config, err := p.config(ctx)
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: token, urn: req.GetUrn(), name: urn.URN(req.GetUrn()).Name(), id: req.GetId(), in: toGoValues(inputs)}
	_, err = p.operation(ctx, Operation{Kind: OpDelete, Type: token, URN: t.urn, Name: t.name, ID: t.id}, func(ctx context.Context) (string, error) {
		return "", k.erase(ctx, t)
	})
	if err != nil {
		return nil, refusal(err)
	}
	return &emptypb.Empty{}, nil
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
	config, err := p.config(ctx)
	if err != nil {
		return nil, err
	}
	t := &task{w: p.world, config: config, token: req.GetTok(), in: toGoValues(args)}
	var result map[string]any
	call := func(ctx context.Context) (string, error) {
		if prepare := preparations[t.token]; prepare != nil && p.world.opts.Machines != nil {
			if err := prepare(ctx, t); err != nil {
				return "", err
			}
		}
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		var opErr error
		result, opErr = f(t)
		return "", opErr
	}
	if req.GetPreview() {
		_, err = call(ctx)
	} else {
		_, err = p.operation(ctx, Operation{Kind: OpInvoke, Type: t.token}, call)
	}
	if err != nil {
		return nil, refusal(fmt.Errorf("invoking %s: %w", req.GetTok(), err))
	}
	resp.Return, err = marshal(resource.NewPropertyMapFromMap(result))
	return resp, err
}
