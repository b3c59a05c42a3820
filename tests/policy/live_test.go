package policy

import (
	"bufio"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"homelab/tests/internal/packprogram"
)

func TestMain(m *testing.M) {
	packprogram.Serve()
	os.Exit(m.Run())
}

// startPack starts the pack as the engine does, and speaks the engine's protocol with it.
func startPack(t *testing.T) pulumirpc.AnalyzerClient {
	t.Helper()
	process := exec.Command(packprogram.Path(t), "127.0.0.1:1")
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	conn, err := grpc.NewClient("127.0.0.1:"+strings.TrimSpace(port), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	client := pulumirpc.NewAnalyzerClient(conn)
	_, err = client.Handshake(t.Context(), &pulumirpc.AnalyzerHandshakeRequest{EngineAddress: "127.0.0.1:1"})
	require.NoError(t, err)
	_, err = client.ConfigureStack(t.Context(), &pulumirpc.AnalyzerStackConfigureRequest{Stack: "prod", Project: "homelab"})
	require.NoError(t, err)
	return client
}

// The pack says of the stack, and of every mutant, what the audit of its export says.
func TestThePackSaysWhatTheAuditSays(t *testing.T) {
	client := startPack(t)
	// The pack keeps what it was told, so only what has changed since then is told again.
	told := map[string]object{}
	for _, m := range append([]mutant{{what: "the stack", do: func(*state) {}}}, mutants()...) {
		t.Run(m.what, func(t *testing.T) {
			s := newState(t)
			m.do(s)
			request := &pulumirpc.AnalyzeStackRequest{}
			for _, r := range s.resources() {
				of := r.(object)
				urn := of["urn"].(string)
				if properties, _ := of["inputs"].(object); properties != nil && !reflect.DeepEqual(told[urn], properties) {
					told[urn] = properties
					_, err := client.Analyze(t.Context(), &pulumirpc.AnalyzeRequest{
						Urn: urn, Type: of["type"].(string), Properties: marshal(t, properties),
					})
					require.NoError(t, err)
				}
				request.Resources = append(request.Resources, wire(t, of))
			}
			answer, err := client.AnalyzeStack(t.Context(), request)
			require.NoError(t, err)
			live := []string{}
			for _, d := range answer.GetDiagnostics() {
				live = append(live, d.GetPolicyName())
			}
			slices.Sort(live)
			assert.Equal(t, s.failed(), slices.Compact(live))
		})
	}
}

// wire is a resource as the engine sends it.
func wire(t *testing.T, of object) *pulumirpc.AnalyzerResource {
	t.Helper()
	properties, _ := of["outputs"].(object)
	out := &pulumirpc.AnalyzerResource{
		Urn: of["urn"].(string), Type: of["type"].(string), Properties: marshal(t, properties),
		PropertyDependencies: map[string]*pulumirpc.AnalyzerPropertyDependencies{}, Dependencies: texts(of["dependencies"]),
		Options: &pulumirpc.AnalyzerResourceOptions{},
	}
	out.Parent, _ = of["parent"].(string)
	out.Options.Protect, _ = of["protect"].(bool)
	if provider, _ := of["provider"].(string); provider != "" {
		out.Provider = &pulumirpc.AnalyzerProviderResource{Urn: provider[:strings.LastIndex(provider, "::")]}
	}
	dependencies, _ := of["propertyDependencies"].(object)
	for key, urns := range dependencies {
		out.PropertyDependencies[key] = &pulumirpc.AnalyzerPropertyDependencies{Urns: texts(urns)}
	}
	return out
}

func texts(list any) []string {
	elements, _ := list.([]any)
	var out []string
	for _, e := range elements {
		out = append(out, e.(string))
	}
	return out
}

// marshal writes properties as the engine does; what is encrypted in the state is a secret of some
// text to it.
func marshal(t *testing.T, properties object) *structpb.Struct {
	t.Helper()
	out, err := plugin.MarshalProperties(live(properties).ObjectValue(), plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true})
	require.NoError(t, err)
	return out
}

func live(value any) resource.PropertyValue {
	switch value := value.(type) {
	case object:
		if value[resource.SigKey] == resource.SecretSig {
			return resource.MakeSecret(resource.NewProperty("-----BEGIN PRIVATE KEY----- password=secret"))
		}
		out := resource.PropertyMap{}
		for key, element := range value {
			out[resource.PropertyKey(key)] = live(element)
		}
		return resource.NewProperty(out)
	case []any:
		out := []resource.PropertyValue{}
		for _, element := range value {
			out = append(out, live(element))
		}
		return resource.NewProperty(out)
	default:
		return resource.NewPropertyValue(value)
	}
}
