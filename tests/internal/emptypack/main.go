// Command emptypack is a policy pack without a policy, to measure what the engine's questions take: it
// answers at once, and reads none.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// answers are what the engine is told, by the method of the protocol. It takes the rest for not
// supported.
var answers = map[string]any{
	"Handshake":       &pulumirpc.AnalyzerHandshakeResponse{},
	"ConfigureStack":  &pulumirpc.AnalyzerStackConfigureResponse{},
	"Configure":       &emptypb.Empty{},
	"GetPluginInfo":   &pulumirpc.PluginInfo{Version: "1.0.0"},
	"GetAnalyzerInfo": &pulumirpc.AnalyzerInfo{Name: "empty", Version: "1.0.0", SupportsConfig: true},
	"Analyze":         &pulumirpc.AnalyzeResponse{},
	"AnalyzeStack":    &pulumirpc.AnalyzeResponse{},
	"Cancel":          &emptypb.Empty{},
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	runtime.GOMAXPROCS(1)
	service := grpc.ServiceDesc{ServiceName: pulumirpc.Analyzer_ServiceDesc.ServiceName, HandlerType: (*any)(nil)}
	for name, answer := range answers {
		service.Methods = append(service.Methods, grpc.MethodDesc{
			MethodName: name,
			Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
				return answer, nil
			},
		})
	}
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Options: []grpc.ServerOption{grpc.NumStreamWorkers(1)},
		Init: func(registrar *grpc.Server) error {
			registrar.RegisterService(&service, struct{}{})
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("listening for the engine: %w", err)
	}
	fmt.Println(handle.Port) // by which the engine finds it
	return <-handle.Done
}
