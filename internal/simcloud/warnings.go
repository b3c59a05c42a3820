package simcloud

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// permanent is what Cloudflare's provider says when it makes a setting that a delete leaves as it
// is.
const permanent = "[WARNING] This resource cannot be destroyed from Terraform. If you create this resource, it will be present in the API " +
	"until manually deleted.: Resource Destruction Considerations"

// attach remembers where the engine of a connection takes log lines.
func (s *session) attach(address string) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	context.AfterFunc(s.stopping, func() { _ = conn.Close() })
	engine := pulumirpc.NewEngineClient(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = address
	s.log = func(ctx context.Context, urn, message string) {
		// An engine that is gone shows nothing any more: the operation itself will fail.
		_, _ = engine.Log(ctx, &pulumirpc.LogRequest{Severity: pulumirpc.LogSeverity_WARNING, Urn: urn, Message: message})
	}
	return nil
}

// warn shows a warning for a resource.
func (p *provider) warn(ctx context.Context, urn, message string) {
	s := p.session(ctx)
	s.mu.Lock()
	log := s.log
	s.mu.Unlock()
	if log != nil {
		log(ctx, urn, message)
	}
}

// warnOfDeprecated names the deprecated inputs that a program gives.
func (p *provider) warnOfDeprecated(ctx context.Context, k *kind, urn string, news resource.PropertyMap) {
	for _, name := range k.deprecated {
		if v, given := news[keyOf(name)]; given && !bare(v).IsNull() && !bare(v).IsComputed() {
			p.warn(ctx, urn, "[WARNING] Attribute Deprecated: "+name)
		}
	}
}
