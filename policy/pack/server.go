package pack

import (
	"context"
	"fmt"
	"slices"
	"sync"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"homelab/policy/rules"
)

// service is the engine's protocol for analyzers without remediation: what is not there is refused
// before anything of the question is read, and the engine goes on.
var service = func() grpc.ServiceDesc {
	out := pulumirpc.Analyzer_ServiceDesc
	out.Methods = slices.DeleteFunc(slices.Clone(out.Methods), func(m grpc.MethodDesc) bool { return m.MethodName == "Remediate" })
	return out
}()

// server answers the engine. It keeps the inputs of each resource, which are all that is known while
// its provider cannot be configured yet, and judges the stack when the engine sends what became of
// all.
type server struct {
	pulumirpc.UnimplementedAnalyzerServer

	mutex  sync.Mutex
	inputs map[string]*pulumirpc.AnalyzeRequest // by URN
	config map[string]*pulumirpc.PolicyConfig   // by rule
}

// Handshake takes note of nothing: the pack asks the engine for nothing.
func (*server) Handshake(context.Context, *pulumirpc.AnalyzerHandshakeRequest) (*pulumirpc.AnalyzerHandshakeResponse, error) {
	return &pulumirpc.AnalyzerHandshakeResponse{}, nil
}

// GetPluginInfo returns the pack's version.
func (*server) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: Version}, nil
}

// ConfigureStack takes note of nothing: the rules are the same for each stack.
func (*server) ConfigureStack(context.Context, *pulumirpc.AnalyzerStackConfigureRequest) (*pulumirpc.AnalyzerStackConfigureResponse, error) {
	return &pulumirpc.AnalyzerStackConfigureResponse{}, nil
}

// GetAnalyzerInfo lists the rules. They are policies of the stack, which spares the engine an event
// for each rule and resource.
func (*server) GetAnalyzerInfo(context.Context, *emptypb.Empty) (*pulumirpc.AnalyzerInfo, error) {
	out := &pulumirpc.AnalyzerInfo{Name: Name, Version: Version, SupportsConfig: true}
	for _, r := range rules.All() {
		schema, err := configSchema(r)
		if err != nil {
			return nil, err
		}
		out.Policies = append(out.Policies, &pulumirpc.PolicyInfo{
			Name: r.ID, Description: r.Title, RemediationSteps: r.Remedy, EnforcementLevel: level(r), Severity: severity(r.Severity),
			PolicyType: pulumirpc.PolicyType_POLICY_TYPE_STACK, Tags: []string{string(r.Layer)}, ConfigSchema: schema,
		})
	}
	return out, nil
}

// level is how a rule is enforced unless it is configured: one that is critical or of high severity
// is mandatory and stops a deployment; the others advise.
func level(r *rules.Rule) pulumirpc.EnforcementLevel {
	if r.Severity.AtLeast(rules.High) {
		return pulumirpc.EnforcementLevel_MANDATORY
	}
	return pulumirpc.EnforcementLevel_ADVISORY
}

func severity(s rules.Severity) pulumirpc.PolicySeverity {
	return map[rules.Severity]pulumirpc.PolicySeverity{
		rules.Critical: pulumirpc.PolicySeverity_POLICY_SEVERITY_CRITICAL, rules.High: pulumirpc.PolicySeverity_POLICY_SEVERITY_HIGH,
		rules.Medium: pulumirpc.PolicySeverity_POLICY_SEVERITY_MEDIUM, rules.Low: pulumirpc.PolicySeverity_POLICY_SEVERITY_LOW,
	}[s]
}

// Configure takes Pulumi's configuration of policies. A wrong exception is refused.
func (s *server) Configure(_ context.Context, request *pulumirpc.ConfigureAnalyzerRequest) (*emptypb.Empty, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.config = request.GetPolicyConfig()
	if _, err := s.exceptions(); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &emptypb.Empty{}, nil
}

// Analyze keeps what a resource is to be, and finds nothing.
func (s *server) Analyze(_ context.Context, request *pulumirpc.AnalyzeRequest) (*pulumirpc.AnalyzeResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.inputs[request.GetUrn()] = request
	return &pulumirpc.AnalyzeResponse{}, nil
}

// AnalyzeStack judges the stack by every rule that is not disabled.
func (s *server) AnalyzeStack(_ context.Context, request *pulumirpc.AnalyzeStackRequest) (*pulumirpc.AnalyzeResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	graph, err := s.graph(request)
	if err != nil {
		return nil, fmt.Errorf("reading the stack's resources: %w", err)
	}
	out := &pulumirpc.AnalyzeResponse{}
	for _, r := range rules.All() {
		enforced := level(r)
		if c := s.config[r.ID]; c != nil {
			enforced = c.GetEnforcementLevel()
		}
		if enforced == pulumirpc.EnforcementLevel_DISABLED {
			continue
		}
		v := r.Judge(graph)
		if v.Status == rules.NotApplicable {
			out.NotApplicable = append(out.NotApplicable, &pulumirpc.PolicyNotApplicable{PolicyName: r.ID, Reason: v.Reason})
		}
		for _, f := range v.Findings {
			out.Diagnostics = append(out.Diagnostics, &pulumirpc.AnalyzeDiagnostic{
				PolicyName: r.ID, PolicyPackName: Name, PolicyPackVersion: Version, Description: r.Title,
				Message: r.Title + "\n" + f.Message + "\n" + r.Remedy, EnforcementLevel: enforced, Urn: f.URN, Severity: severity(r.Severity),
			})
		}
	}
	return out, nil
}

func (s *server) graph(request *pulumirpc.AnalyzeStackRequest) (*rules.Graph, error) {
	sent := make([]rules.Sent, 0, len(request.GetResources()))
	for _, r := range request.GetResources() {
		of := rules.Sent{
			URN: r.GetUrn(), Type: r.GetType(), Parent: r.GetParent(), Provider: r.GetProvider().GetUrn(), Protect: r.GetOptions().GetProtect(),
			Dependencies: slices.Clone(r.GetDependencies()), Inputs: s.inputs[r.GetUrn()].GetProperties().AsMap(), Outputs: r.GetProperties().AsMap(),
		}
		for _, d := range r.GetPropertyDependencies() {
			of.Dependencies = append(of.Dependencies, d.GetUrns()...)
		}
		sent = append(sent, of)
	}
	graph, err := rules.ReadSent(sent)
	if err != nil {
		return nil, err
	}
	exceptions, err := s.exceptions()
	if err != nil {
		return nil, err
	}
	graph.Except(exceptions)
	return graph, nil
}

// Cancel ends nothing: no judgement takes long.
func (*server) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}
