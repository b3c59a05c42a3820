package simcloud

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

type m = map[string]any

var goodConfig = map[string]m{
	"hcloud":     {"token": strings.Repeat("a", 64)},
	"cloudflare": {"apiToken": strings.Repeat("b", 40)},
	"tailscale":  {"oauthClientId": "id", "oauthClientSecret": "tskey-client-x"},
}

// clientIdle is when an engine's connection is closed; gRPC's default.
var clientIdle = 30 * time.Minute

// engine speaks the protocol as the real engine does, one connection per provider.
type engine struct {
	t      *testing.T
	client pulumirpc.ResourceProviderClient
}

// clouds serves a world and returns a way to connect to its providers.
func clouds(t *testing.T, w *World) func(pkg string, config ...m) *engine {
	t.Helper()
	s, err := w.Serve(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	ports := map[string]string{}
	for _, pair := range strings.Split(s.DebugProviders(), ",") {
		pkg, port, _ := strings.Cut(pair, ":")
		ports[pkg] = port
	}
	return func(pkg string, config ...m) *engine {
		t.Helper()
		plain := grpc.WithTransportCredentials(insecure.NewCredentials())
		conn, err := grpc.NewClient("127.0.0.1:"+ports[pkg], plain, grpc.WithIdleTimeout(clientIdle))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		e := &engine{t, pulumirpc.NewResourceProviderClient(conn)}
		_, err = e.client.Attach(t.Context(), &pulumirpc.PluginAttach{Address: "127.0.0.1:1"})
		require.NoError(t, err)
		_, err = e.client.Handshake(t.Context(), &pulumirpc.ProviderHandshakeRequest{})
		require.NoError(t, err)
		args := goodConfig[pkg]
		if len(config) > 0 {
			args = config[0]
		}
		checked, err := e.client.CheckConfig(t.Context(), &pulumirpc.CheckRequest{Urn: "urn:pulumi:prod::homelab::pulumi:providers:" + pkg + "::p", News: e.wire(args)})
		require.NoError(t, err)
		require.Empty(t, checked.GetFailures())
		_, err = e.client.Configure(t.Context(), &pulumirpc.ConfigureRequest{Args: checked.GetInputs(), AcceptSecrets: true})
		require.NoError(t, err)
		return e
	}
}

func (e *engine) wire(v m) *structpb.Struct {
	return e.wireMap(resource.NewPropertyMapFromMap(v))
}

func (e *engine) wireMap(v resource.PropertyMap) *structpb.Struct {
	out, err := plugin.MarshalProperties(v, plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true})
	require.NoError(e.t, err)
	return out
}

func (e *engine) read(s *structpb.Struct) resource.PropertyMap {
	out, err := plugin.UnmarshalProperties(s, plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true})
	require.NoError(e.t, err)
	return out
}

func urnOf(token, name string) string { return "urn:pulumi:prod::homelab::" + token + "::" + name }

// made is a resource as the engine keeps it.
type made struct {
	token, name, id string
	inputs          *structpb.Struct
	props           *structpb.Struct
	out             m // outputs without secret marks
}

func (e *engine) checkMap(token, name string, in resource.PropertyMap) *pulumirpc.CheckResponse {
	e.t.Helper()
	resp, err := e.client.Check(e.t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(token, name), News: e.wireMap(in), RandomSeed: []byte("0123456789abcdef0123456789abcdef")})
	require.NoError(e.t, err)
	return resp
}

// refusals returns what Check says against inputs, or, where it says nothing, why the cloud makes
// no such resource.
func (e *engine) refusals(token string, in m) []string {
	e.t.Helper()
	checked := e.checkMap(token, "x", resource.NewPropertyMapFromMap(in))
	var out []string
	for _, f := range checked.GetFailures() {
		out = append(out, f.GetProperty()+": "+f.GetReason())
	}
	if len(out) > 0 {
		return out
	}
	_, err := e.client.Create(e.t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(token, "x"), Properties: checked.GetInputs()})
	require.Error(e.t, err, "%v is accepted", in)
	return []string{status.Convert(err).Message()}
}

// try checks and creates.
func (e *engine) try(token, name string, in m) (*made, error) {
	e.t.Helper()
	checked := e.checkMap(token, name, resource.NewPropertyMapFromMap(in))
	require.Empty(e.t, checked.GetFailures())
	resp, err := e.client.Create(e.t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(token, name), Properties: checked.GetInputs()})
	if err != nil {
		for _, d := range status.Convert(err).Details() {
			if failed, ok := d.(*pulumirpc.ErrorResourceInitFailed); ok {
				return &made{token, name, failed.GetId(), checked.GetInputs(), failed.GetProperties(), toGoValues(e.read(failed.GetProperties()))}, err
			}
		}
		return nil, err
	}
	return &made{token, name, resp.GetId(), checked.GetInputs(), resp.GetProperties(), toGoValues(e.read(resp.GetProperties()))}, nil
}

func (e *engine) create(token, name string, in m) *made {
	e.t.Helper()
	r, err := e.try(token, name, in)
	require.NoError(e.t, err)
	return r
}

// refuse creates and returns the error.
func (e *engine) refuse(token, name string, in m) string {
	e.t.Helper()
	r, err := e.try(token, name, in)
	require.Error(e.t, err)
	require.Nil(e.t, r, "the resource exists: %v", err)
	return status.Convert(err).Message()
}

func (e *engine) diff(r *made, in m) *pulumirpc.DiffResponse {
	e.t.Helper()
	checked, err := e.client.Check(e.t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(r.token, r.name), Olds: r.inputs, News: e.wire(in)})
	require.NoError(e.t, err)
	require.Empty(e.t, checked.GetFailures())
	resp, err := e.client.Diff(e.t.Context(), &pulumirpc.DiffRequest{Id: r.id, Urn: urnOf(r.token, r.name), Olds: r.props, OldInputs: r.inputs, News: checked.GetInputs()})
	require.NoError(e.t, err)
	return resp
}

func (e *engine) update(r *made, in m) error {
	e.t.Helper()
	checked, err := e.client.Check(e.t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(r.token, r.name), Olds: r.inputs, News: e.wire(in)})
	require.NoError(e.t, err)
	require.Empty(e.t, checked.GetFailures())
	resp, err := e.client.Update(e.t.Context(), &pulumirpc.UpdateRequest{Id: r.id, Urn: urnOf(r.token, r.name), Olds: r.props, OldInputs: r.inputs, News: checked.GetInputs()})
	if err == nil {
		r.inputs, r.props, r.out = checked.GetInputs(), resp.GetProperties(), toGoValues(e.read(resp.GetProperties()))
	}
	return err
}

// refresh reads; false means gone.
func (e *engine) refresh(r *made) bool {
	e.t.Helper()
	resp, err := e.client.Read(e.t.Context(), &pulumirpc.ReadRequest{Id: r.id, Urn: urnOf(r.token, r.name), Properties: r.props, Inputs: r.inputs})
	require.NoError(e.t, err)
	if resp.GetId() == "" {
		return false
	}
	r.inputs, r.props, r.out = resp.GetInputs(), resp.GetProperties(), toGoValues(e.read(resp.GetProperties()))
	return true
}

func (e *engine) delete(r *made) error {
	e.t.Helper()
	_, err := e.client.Delete(e.t.Context(), &pulumirpc.DeleteRequest{Id: r.id, Urn: urnOf(r.token, r.name), Properties: r.props, OldInputs: r.inputs})
	return err
}

func (e *engine) invoke(token string, args m) (m, error) {
	e.t.Helper()
	resp, err := e.client.Invoke(e.t.Context(), &pulumirpc.InvokeRequest{Tok: token, Args: e.wire(args)})
	if err != nil {
		return nil, err
	}
	require.Empty(e.t, resp.GetFailures())
	return toGoValues(e.read(resp.GetReturn())), nil
}

func (e *engine) cancel(ctx context.Context) {
	_, err := e.client.Cancel(ctx, &emptypb.Empty{})
	require.NoError(e.t, err)
}

// changed lists the paths of a difference with their kinds.
func changed(d *pulumirpc.DiffResponse) map[string]string {
	out := map[string]string{}
	for path, p := range d.GetDetailedDiff() {
		out[path] = p.GetKind().String()
	}
	return out
}

// number as an ID in an input that takes integers.
func (r *made) num(t *testing.T) float64 {
	t.Helper()
	v := float64(0)
	for _, c := range r.id {
		require.True(t, c >= '0' && c <= '9', "%q is not a number", r.id)
		v = v*10 + float64(c-'0')
	}
	return v
}
