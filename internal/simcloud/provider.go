package simcloud

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// provider is the plugin server of one package. The engine opens one connection
// per provider resource, so configuration belongs to the connection: two docker
// providers with different hosts share this server.
type provider struct {
	pulumirpc.UnimplementedResourceProviderServer

	world *World
	pkg   string

	mu sync.Mutex
	// left are the configured sessions whose connection was closed because nothing was asked.
	left []*session
}

// session is one connection of an engine: its configuration, and whether the
// engine has cancelled it.
type session struct {
	stopping context.Context
	stop     context.CancelFunc

	mu     sync.Mutex
	config map[string]any
	ready  bool
	asked  time.Time // when the last call ended
	// address is the engine's, and log sends a warning to it; nil until the engine has attached.
	address string
	log     func(ctx context.Context, urn, message string)
}

func newSession(ctx context.Context) *session {
	stopping, stop := context.WithCancel(ctx)
	return &session{stopping: stopping, stop: stop}
}

type sessionKey struct{}

func (p *provider) session(ctx context.Context) *session {
	if s, ok := ctx.Value(sessionKey{}).(*session); ok {
		return s
	}
	return newSession(ctx)
}

// config is the configuration of the connection that a call came by.
func (p *provider) config(ctx context.Context) (map[string]any, error) {
	s := p.session(ctx)
	s.mu.Lock()
	ready, config := s.ready, s.config
	s.mu.Unlock()
	if ready {
		return config, nil
	}
	return p.resume(s)
}

// idle is a little less than how long gRPC keeps a connection on which nothing is asked: 30 minutes,
// which pass while a slow machine is deployed to.
var idle = 29 * time.Minute

// end notes that a connection has ended.
func (p *provider) end(s *session) {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready || time.Since(s.asked) < idle {
		return // the engine has closed it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = append(p.left, s)
}

// resume has a connection go on where one was closed for idleness. The engine's gRPC opens another
// one for the next call; a plugin, which is a process of its own, knows its configuration then. Which
// of several providers calls cannot be told here, so they must be configured alike.
func (p *provider) resume(s *session) (map[string]any, error) {
	p.mu.Lock()
	left := slices.Clone(p.left)
	p.mu.Unlock()
	if len(left) == 0 {
		return nil, status.Error(codes.FailedPrecondition, "the provider is not configured")
	}
	last := left[len(left)-1]
	for _, l := range left {
		if !reflect.DeepEqual(l.config, last.config) {
			return nil, status.Error(codes.FailedPrecondition, "the provider is not configured: the engine asked for nothing for "+
				"so long that its connection was closed, and several providers of this package are configured differently")
		}
	}
	if last.address != "" {
		if err := s.attach(last.address); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config, s.ready = last.config, true
	return s.config, nil
}

// Attach takes the engine's address, to which warnings go.
func (p *provider) Attach(ctx context.Context, req *pulumirpc.PluginAttach) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, p.session(ctx).attach(req.GetAddress())
}

// GetPluginInfo gives the version of the simulated SDK's provider.
func (p *provider) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: versions[p.pkg]}, nil
}

// versions are the provider versions whose behaviour is simulated.
var versions = map[string]string{
	"cloudflare": "6.17.0", "command": "1.2.1", "docker": "4.11.2", "hcloud": "1.41.0",
	"random": "4.21.2", "tailscale": "0.29.0", "tls": "5.2.2",
}

// Handshake states what the provider understands.
func (p *provider) Handshake(context.Context, *pulumirpc.ProviderHandshakeRequest) (*pulumirpc.ProviderHandshakeResponse, error) {
	return &pulumirpc.ProviderHandshakeResponse{AcceptSecrets: true, SupportsAutonamingConfiguration: true}, nil
}

// GetSchema returns the names of the simulated types; programs are compiled
// against the SDKs and need no more.
func (p *provider) GetSchema(context.Context, *pulumirpc.GetSchemaRequest) (*pulumirpc.GetSchemaResponse, error) {
	spec := map[string]any{"name": p.pkg, "version": versions[p.pkg], "resources": map[string]any{}, "functions": map[string]any{}}
	for token := range schema.Resources {
		if strings.HasPrefix(token, p.pkg+":") {
			spec["resources"].(map[string]any)[token] = map[string]any{}
		}
	}
	for token := range schema.Functions {
		if strings.HasPrefix(token, p.pkg+":") {
			spec["functions"].(map[string]any)[token] = map[string]any{}
		}
	}
	out, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("marshalling the schema of %s: %w", p.pkg, err)
	}
	return &pulumirpc.GetSchemaResponse{Schema: string(out)}, nil
}

// Cancel ends every operation of the connection that is under way. Other
// connections, and later ones, are not affected.
func (p *provider) Cancel(ctx context.Context, _ *emptypb.Empty) (*emptypb.Empty, error) {
	p.session(ctx).stop()
	return &emptypb.Empty{}, nil
}

func unmarshal(s *structpb.Struct) (resource.PropertyMap, error) {
	if s == nil {
		return resource.PropertyMap{}, nil
	}
	return plugin.UnmarshalProperties(s, plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, SkipNulls: true})
}

func marshal(m resource.PropertyMap) (*structpb.Struct, error) {
	return plugin.MarshalProperties(m, plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true})
}

// CheckConfig refuses unknown keys, wrong types and missing credentials.
func (p *provider) CheckConfig(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	resp := &pulumirpc.CheckResponse{Inputs: req.GetNews()}
	problems := schema.Providers[p.pkg].validate(decodedConfig(p.pkg, news))
	if len(problems) == 0 {
		problems = credentials(p.pkg, strippedMap(news))
	}
	for _, pr := range problems {
		resp.Failures = append(resp.Failures, &pulumirpc.CheckFailure{Property: pr.property, Reason: pr.reason})
	}
	return resp, nil
}

// decodedConfig undoes the JSON encoding of lists and objects in provider
// configuration and leaves out what belongs to the engine.
func decodedConfig(pkg string, in resource.PropertyMap) resource.PropertyMap {
	out := resource.PropertyMap{}
	for k, v := range in {
		if k == "version" || k == "pluginDownloadURL" {
			continue
		}
		typ := schema.Providers[pkg].Inputs[string(k)].Type
		if s := bare(v); s.IsString() && typ != "string" && typ != "" {
			var decoded any
			if json.Unmarshal([]byte(s.StringValue()), &decoded) == nil {
				v = resource.NewPropertyValue(decoded)
			}
		}
		out[k] = v
	}
	return out
}

// DiffConfig reports changed configuration. Nothing here needs a replacement:
// the real providers also update in place.
func (p *provider) DiffConfig(_ context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	olds, err := unmarshal(req.GetOldInputs())
	if err != nil {
		return nil, err
	}
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	return configDiff(olds, news), nil
}

// Configure takes the configuration of this connection.
func (p *provider) Configure(ctx context.Context, req *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	args, err := unmarshal(req.GetArgs())
	if err != nil {
		return nil, err
	}
	args = strippedMap(decodedConfig(p.pkg, args))
	if problems := credentials(p.pkg, args); len(problems) > 0 {
		return nil, status.Error(codes.InvalidArgument, problems[0].reason)
	}
	s := p.session(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config, s.ready = toGoValues(args), true
	return &pulumirpc.ConfigureResponse{AcceptSecrets: true, SupportsPreview: true, SupportsAutonamingConfiguration: true}, nil
}

func (p *provider) kindOf(u string) (string, *kind, error) {
	parsed := urn.URN(u)
	token := string(parsed.Type())
	k, ok := kinds[token]
	if !ok || !strings.HasPrefix(token, p.pkg+":") {
		return token, nil, status.Errorf(codes.Unimplemented, "unrecognized resource type: %s", token)
	}
	return token, k, nil
}

// Check validates inputs and fills in a missing name.
func (p *provider) Check(ctx context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
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
	s := schema.Resources[token]
	if k.framework {
		// Plugins on the newer framework drop what their schema does not know.
		for name := range news {
			if _, known := s.Inputs[string(name)]; !known && !strings.HasPrefix(string(name), "__") {
				delete(news, name)
			}
		}
	}
	problems := leniency{names: k.framework, single: k.bridged()}.object("", s.Inputs, news)
	if k.autoname {
		if pr := fillName(req, olds, news); pr != nil {
			problems = append(problems, *pr)
		}
	}
	for name, f := range s.Inputs {
		if v, ok := news[resource.PropertyKey(name)]; ok && f.Secret && !v.IsSecret() {
			news[resource.PropertyKey(name)] = resource.MakeSecret(v)
		}
	}
	if k.check != nil && len(problems) == 0 {
		c := &checking{news: strippedMap(news), opts: p.world.opts, more: resource.PropertyMap{}}
		k.check(c)
		problems = c.problems
		for key, v := range c.more {
			news[key] = v
		}
	}
	if len(problems) == 0 {
		p.warnOfDeprecated(ctx, k, req.GetUrn(), news)
	}
	inputs, err := marshal(news)
	if err != nil {
		return nil, err
	}
	resp := &pulumirpc.CheckResponse{Inputs: inputs}
	for _, pr := range problems {
		resp.Failures = append(resp.Failures, &pulumirpc.CheckFailure{Property: pr.property, Reason: pr.reason})
	}
	return resp, nil
}

// fillName names a resource whose program did not: the old automatic name, what
// the engine proposes, or the resource name with seven random digits.
func fillName(req *pulumirpc.CheckRequest, olds, news resource.PropertyMap) *problem {
	news["__defaults"] = resource.NewArrayProperty(nil)
	if v, ok := news["name"]; ok && !bare(v).IsNull() {
		return nil
	}
	news["__defaults"] = resource.NewArrayProperty([]resource.PropertyValue{resource.NewStringProperty("name")})
	if old := bare(olds["name"]); old.IsString() {
		news["name"] = old
		return nil
	}
	name := urn.URN(req.GetUrn()).Name()
	if a := req.GetAutonaming(); a != nil {
		switch a.GetMode() {
		case pulumirpc.CheckRequest_AutonamingOptions_DISABLE:
			return &problem{"name", "automatic naming is disabled and no name is given"}
		default:
			news["name"] = resource.NewStringProperty(a.GetProposedName())
			return nil
		}
	}
	unique, err := resource.NewUniqueName(req.GetRandomSeed(), name+"-", 7, 255, nil)
	if err != nil {
		return &problem{"name", err.Error()}
	}
	news["name"] = resource.NewStringProperty(unique)
	return nil
}

// Diff compares the old inputs with the new ones.
func (p *provider) Diff(_ context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	token, k, err := p.kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	state, err := unmarshal(req.GetOlds())
	if err != nil {
		return nil, err
	}
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	if k.unfit != nil {
		if err := k.unfit(strippedMap(state), strippedMap(news)); err != nil {
			return nil, refusal(fmt.Errorf("diffing %s: %w", req.GetUrn(), err))
		}
	}
	return k.diffResponse(token, state, news), nil
}
