package simcloud

import (
	"context"
	"fmt"
	"net"
	"sort"
	"strings"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// Packages are the simulated provider packages, sorted.
func Packages() []string {
	return []string{"cloudflare", "command", "docker", "hcloud", "random", "tailscale", "tls"}
}

// maxMessage is what the real providers accept: 400 MiB.
const maxMessage = 400 << 20

// Server serves a world to Pulumi engines on loopback ports.
type Server struct {
	ports   map[string]int
	servers []*grpc.Server
}

// Serve starts one provider server per package on 127.0.0.1. It ends when ctx
// ends or Close is called.
func (w *World) Serve(ctx context.Context) (*Server, error) {
	s := &Server{ports: map[string]int{}}
	for _, pkg := range Packages() {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("listening for the simulated provider %s: %w", pkg, s.abandon(err))
		}
		served := &provider{world: w, pkg: pkg}
		srv := grpc.NewServer(grpc.StatsHandler(sessions{served}), grpc.MaxRecvMsgSize(maxMessage))
		pulumirpc.RegisterResourceProviderServer(srv, served)
		s.ports[pkg] = l.Addr().(*net.TCPAddr).Port
		s.servers = append(s.servers, srv)
		go func() { _ = srv.Serve(l) }() // ends with Stop; a broken listener shows at the engine's first call
	}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	return s, nil
}

func (s *Server) abandon(err error) error {
	_ = s.Close()
	return err
}

// DebugProviders is the value for PULUMI_DEBUG_PROVIDERS: package:port pairs,
// sorted by package.
func (s *Server) DebugProviders() string {
	var out []string
	for pkg, port := range s.ports {
		out = append(out, fmt.Sprintf("%s:%d", pkg, port))
	}
	sort.Strings(out)
	return strings.Join(out, ",")
}

// Close ends all operations and stops serving. The world stays. Closing twice
// is harmless.
func (s *Server) Close() error {
	for _, srv := range s.servers {
		srv.Stop()
	}
	return nil
}

// sessions gives every connection its own configuration.
type sessions struct{ of *provider }

// TagConn makes the session of a connection.
func (sessions) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return context.WithValue(ctx, sessionKey{}, newSession(ctx))
}

// TagRPC leaves calls as they are.
func (sessions) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC notes when a connection was last used.
func (h sessions) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, over := s.(*stats.End); !over {
		return
	}
	used := h.of.session(ctx)
	used.mu.Lock()
	defer used.mu.Unlock()
	used.asked = time.Now()
}

// HandleConn ends what a lost connection had under way.
func (h sessions) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, over := s.(*stats.ConnEnd); !over {
		return
	}
	if ended, ok := ctx.Value(sessionKey{}).(*session); ok {
		h.of.end(ended)
	}
}
