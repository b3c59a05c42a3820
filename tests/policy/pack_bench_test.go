package policy

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// nothing is a pack that answers at once, and looks at nothing.
type nothing struct {
	pulumirpc.UnimplementedAnalyzerServer
}

func (nothing) Analyze(context.Context, *pulumirpc.AnalyzeRequest) (*pulumirpc.AnalyzeResponse, error) {
	return &pulumirpc.AnalyzeResponse{}, nil
}

func (nothing) Remediate(context.Context, *pulumirpc.AnalyzeRequest) (*pulumirpc.RemediateResponse, error) {
	return &pulumirpc.RemediateResponse{}, nil
}

// BenchmarkThePack measures what the engine's questions take, asked as the engine does: about each
// resource whether it is to be remedied, then whether it is right, and at the end about the stack. To
// compare, the same about resources without a property, of a pack that looks at nothing.
func BenchmarkThePack(b *testing.B) {
	list := newState(b).resources()
	served, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{Init: func(registrar *grpc.Server) error {
		pulumirpc.RegisterAnalyzerServer(registrar, nothing{})
		return nil
	}})
	require.NoError(b, err)
	conn, err := grpc.NewClient(net.JoinHostPort("127.0.0.1", strconv.Itoa(served.Port)), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	asked := plugin.NewAnalyzerWithClient("pack", startPack(b))
	empty := plugin.NewAnalyzerWithClient("nothing", pulumirpc.NewAnalyzerClient(conn))
	var full, bare []plugin.AnalyzerResource
	var stack []plugin.AnalyzerStackResource
	for _, r := range list {
		of := r.(object)
		one := plugin.AnalyzerResource{URN: resource.URN(of["urn"].(string)), Type: tokens.Type(of["type"].(string))}
		bare = append(bare, one)
		inputs, _ := of["inputs"].(object)
		one.Properties = live(inputs).ObjectValue()
		full = append(full, one)
		outputs, _ := of["outputs"].(object)
		one.Properties = live(outputs).ObjectValue()
		stack = append(stack, plugin.AnalyzerStackResource{AnalyzerResource: one})
	}
	each := func(a plugin.Analyzer, resources []plugin.AnalyzerResource) time.Duration {
		began := time.Now()
		for _, r := range resources {
			_, err := a.Remediate(b.Context(), r)
			require.NoError(b, err)
			_, err = a.Analyze(b.Context(), r)
			require.NoError(b, err)
		}
		return time.Since(began)
	}
	var ours, floor, whole time.Duration
	for b.Loop() {
		floor += each(empty, bare)
		ours += each(asked, full)
		began := time.Now()
		_, err := asked.AnalyzeStack(b.Context(), stack)
		require.NoError(b, err)
		whole += time.Since(began)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(list)), "resources")
	b.ReportMetric(floor.Seconds()*1000/float64(b.N), "ms-asking-nothing")
	b.ReportMetric(ours.Seconds()*1000/float64(b.N), "ms-asking-the-pack")
	b.ReportMetric(whole.Seconds()*1000/float64(b.N), "ms-judging")
}
