// Package media runs the services that people come for.
package media

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/validate"
	"homelab/components/workload"
)

// Type tokens of the services.
const (
	JellyfinType   = "homelab:media:Jellyfin"
	JellyseerrType = "homelab:media:Jellyseerr"
)

// Args is what every service needs.
type Args struct {
	// Host is the machine.
	Host *host.Host
	// Proxy is the network on which the proxy finds the service.
	Proxy *workload.Network
	// Library is the mounted media library; only what plays it needs it.
	Library *host.Media
	// MemoryMiB is the container's memory limit in MiB.
	MemoryMiB int
	// Timezone is an IANA name.
	Timezone string
}

// Validate reports every problem of the arguments.
func (a *Args) Validate(name string) error {
	p := validate.Of(name)
	p.Merge(a.Host.Ready())
	p.Merge(a.Proxy.Ready())
	p.Require(a.MemoryMiB > 0, "no memory limit")
	p.Require(a.Timezone != "", "no timezone")
	return p.Err()
}

// Service is one running service.
type Service struct {
	pulumi.ResourceState

	container     *workload.Container
	port          int
	ready         pulumi.Resource // nil if the service is safe to reach as soon as it is healthy
	administrator *Administrator
}

// Endpoint is where the service answers. It exists once the service may be reached.
func (s *Service) Endpoint() workload.Endpoint {
	endpoint := s.container.Endpoint(s.port)
	if s.ready != nil {
		return endpoint.Once(s.ready)
	}
	return endpoint
}

// owner is the user that these services share. It is not the library's (host.MediaOwner): none of them writes to it, and a mount that comes back
// into a running container is as writable as its files say. Its number is above every system user of Debian.
const owner = "2001:2001"

// NewJellyseerr runs the request manager.
func NewJellyseerr(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Service, error) {
	return newService(ctx, JellyseerrType, name, args, definition{
		port: 5055,
		spec: workload.Spec{
			Image:   images.Jellyseerr,
			Scratch: map[string]int{"/tmp": 64},
			Health:  workload.Health{Command: []string{"wget", "--quiet", "--output-document=/dev/null", "http://127.0.0.1:5055/api/v1/status"}},
			Metrics: workload.NoMetrics("the application has no metrics endpoint"),
		},
		folders: map[string]folder{"/app/config": {"config", workload.Databases("db/db.sqlite3")}},
	}, opts)
}
