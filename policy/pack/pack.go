// Package pack gives the rules to the Pulumi engine: each is a policy of the stack as a whole.
//
// It answers the engine's protocol for analyzers itself. The SDK's policyx (3.259) hands a policy of a
// stack no configuration, names no severity, cannot say that a rule is not applicable, ends where it
// is asked for its policies before it is configured, and takes each resource apart twice while the
// engine waits; see docs/performance.md.
package pack

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// Name is the pack's name, as the engine shows it.
const Name = "homelab"

// Version is the pack's version: the program's.
const Version = "0.1.0"

// Serve answers the engine that has started this process, until it ends it.
func Serve() error {
	// The engine asks about one resource after the other and waits for each answer, so what counts is
	// how soon one is given, not how many at once.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400)
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Options: []grpc.ServerOption{grpc.NumStreamWorkers(1)},
		Init: func(registrar *grpc.Server) error {
			registrar.RegisterService(&service, &server{inputs: map[string]*pulumirpc.AnalyzeRequest{}, config: map[string]*pulumirpc.PolicyConfig{}})
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("listening for the engine: %w", err)
	}
	fmt.Println(handle.Port) // by which the engine finds it
	if err := <-handle.Done; err != nil {
		return fmt.Errorf("answering the engine: %w", err)
	}
	return nil
}
