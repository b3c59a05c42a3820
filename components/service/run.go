package service

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/internal/access"
	"homelab/components/internal/validate"
	"homelab/components/internal/watch"
	"homelab/components/workload"
)

// Args is what services need of the machine.
type Args struct {
	// Host is the machine.
	Host *host.Host
	// Network is where the proxy finds the services.
	Network *workload.Network
	// Library is the mounted media library.
	Library *host.Media
	// Downloads is the disk of the downloads.
	Downloads *host.Downloads
	// Tunnel is the VPN tunnel; nil where nothing is behind one.
	Tunnel *workload.VPNTunnel
	// Monitoring is the network through which everything is scraped, and the only one of most of
	// what belongs to the monitoring.
	Monitoring *workload.Network
	// Watch is what is monitored; nil where there is no monitoring.
	Watch *watch.Model
	// Shares are the folders that services may read beside their own.
	Shares map[Share][]workload.Mount
	// Credentials are secrets of the settings.
	Credentials map[Credential]pulumi.StringInput
	// ImageRoot is the project's folder, below which the source of what is built is.
	ImageRoot string
	// Timezone is an IANA name.
	Timezone string
	// Deployments are the services to run, in any order.
	Deployments []Deployment
}

// Deployment is a service to run, with what the stack's configuration says of it.
type Deployment struct {
	// Definition is the service.
	Definition Definition
	// Hostname is the full host name by which people reach it.
	Hostname string
	// Access is who may use it.
	Access access.Access
	// MemoryMiB is the container's memory limit, in MiB.
	MemoryMiB int
	// Login is its registration at the portal; required if the definition has a Login.
	Login *Credentials
	// Hosts are addresses that it finds by names that are no containers'.
	Hosts map[string]netip.Addr
}

// Validate returns every problem of the arguments.
func (a *Args) Validate() error {
	p := validate.Of("services")
	p.Merge(a.Host.Ready())
	p.Merge(a.Network.Ready())
	p.Merge(a.Monitoring.Ready())
	p.Require(a.Timezone != "", "no timezone")
	if a.Watch != nil {
		p.Merge(a.Watch.Validate())
	}
	names := map[string]bool{}
	for _, d := range a.Deployments {
		name := d.Definition.Name
		p.Merge(d.Definition.Validate())
		p.Require(!names[name], "two services are called %s", name)
		names[name] = true
		p.Require(d.MemoryMiB > 0, "%s: no memory limit", name)
		if d.Definition.Library != (Library{}) {
			p.Merge(a.Library.Ready())
		}
		if d.Definition.Downloads != "" {
			p.Merge(a.Downloads.Ready())
		}
		if d.Definition.BehindTunnel {
			p.Merge(a.Tunnel.Ready())
		}
		p.Require(!d.Definition.Library.write || d.Access.Policy != access.Native,
			"%s: visitors reach it without the portal, so it cannot write to the library: give it access two-factor or one-factor", name)
		p.Require(d.Definition.Login == nil || d.Login != nil, "%s: it is not registered at the portal", name)
		p.Require(d.Definition.BuiltFrom == "" || a.ImageRoot != "", "%s is built from a folder, and there is none", name)
		p.Require(!d.Definition.Monitored || a.Watch != nil, "%s belongs to the monitoring, and there is none", name)
		for _, share := range d.Definition.Shares {
			p.Require(len(a.Shares[share]) > 0, "%s reads %s, which is not there", name, share)
		}
	}
	for _, d := range a.Deployments {
		for _, use := range d.Definition.Uses {
			p.Require(use.optional || names[use.Name()], "%s uses %s, which does not run", d.Definition.Name, use.Name())
		}
	}
	return p.Err()
}

// Service is a running service. Only Run makes a usable one.
type Service struct {
	pulumi.ResourceState

	name          string
	port          int
	container     *workload.Container
	wired         bool
	secrets       map[string]pulumi.StringOutput
	later         pulumi.Resource // nil if it uses nothing that came after it
	prepared      pulumi.Resource // nil if it may be reached as soon as it is healthy
	administrator *Administrator
}

// Running is a service whose container is healthy and which nothing can reach yet.
type Running struct {
	// Host is the machine.
	Host *host.Host
	// Name is the service's name and its container's.
	Name string
	// Port is where it answers.
	Port int
	// Container is its container.
	Container *workload.Container
	// Parent is the option that makes a resource the service's.
	Parent pulumi.ResourceOption
}

// Prepared is a service that may be reached.
type Prepared struct {
	// Resource exists once the service may be reached.
	Resource pulumi.Resource
	// Administrator is the service's own first login; nil if it has none.
	Administrator *Administrator
}

// Administrator is a service's own first login.
type Administrator struct {
	// Name is the login.
	Name string
	// Password is the generated one, a secret. Who changed it in the service has another.
	Password pulumi.StringOutput
}

// Run runs the services, each after those that it uses, and returns them sorted by name.
func Run(ctx *pulumi.Context, args *Args, opts ...pulumi.ResourceOption) ([]*Service, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	deployments, err := inOrder(args.Deployments)
	if err != nil {
		return nil, err
	}
	running := map[string]*Service{}
	var out []*Service
	for _, d := range deployments {
		s, err := run(ctx, args, d, running, opts)
		if err != nil {
			return nil, err
		}
		running[s.name] = s
		out = append(out, s)
	}
	if err := allowLater(ctx, deployments, running); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b *Service) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// allowLater opens the ways to services that came after those that use them.
func allowLater(ctx *pulumi.Context, deployments []Deployment, running map[string]*Service) error {
	for _, d := range deployments {
		s := running[d.Definition.Name]
		var uses []workload.Endpoint
		for _, use := range d.Definition.Later {
			if used, runs := running[use.Name()]; runs {
				uses = append(uses, used.Endpoint())
			}
		}
		if len(uses) == 0 {
			continue
		}
		later, err := s.container.AllowLater(ctx, uses, pulumi.Parent(s))
		if err != nil {
			return fmt.Errorf("letting %s reach what came after it: %w", s.name, err)
		}
		s.later = later
	}
	return nil
}

// inOrder returns the deployments so that each comes after those that it uses; otherwise by name.
func inOrder(deployments []Deployment) ([]Deployment, error) {
	byName := map[string]Deployment{}
	for _, d := range deployments {
		byName[d.Definition.Name] = d
	}
	var out []Deployment
	done := map[string]bool{}
	var add func(name string, way []string) error
	add = func(name string, way []string) error {
		if done[name] {
			return nil
		}
		if slices.Contains(way, name) {
			return fmt.Errorf("services use each other in a circle: %s", strings.Join(append(way, name), " uses "))
		}
		for _, use := range byName[name].Definition.Uses {
			if _, runs := byName[use.Name()]; !runs {
				continue // it may be off: Validate has looked
			}
			if err := add(use.Name(), append(slices.Clone(way), name)); err != nil {
				return err
			}
		}
		done[name] = true
		out = append(out, byName[name])
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if err := add(name, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func run(ctx *pulumi.Context, args *Args, d Deployment, running map[string]*Service, opts []pulumi.ResourceOption) (*Service, error) {
	def := d.Definition
	s := &Service{name: def.Name, port: def.Port, wired: def.Wired}
	if err := ctx.RegisterComponentResourceV2(def.Type, def.Name, pulumi.Map{"memoryMiB": pulumi.Int(d.MemoryMiB)}, s, opts...); err != nil {
		return nil, fmt.Errorf("registering %s: %w", def.Name, err)
	}
	given := Given{
		Hostname: d.Hostname, Login: d.Login, Credentials: args.Credentials, uses: map[string]*Service{},
	}
	if args.Watch != nil {
		given.Watch = *args.Watch
	}
	spec := args.spec(d)
	for _, use := range def.Uses {
		used, runs := running[use.Name()]
		if !runs {
			continue
		}
		endpoint := used.Endpoint()
		spec.Uses = append(spec.Uses, endpoint)
		if !def.BehindTunnel && !endpoint.On(spec.Networks) {
			spec.Networks = append(spec.Networks, endpoint.Network())
		}
		given.uses[use.Name()] = used
	}
	if err := s.place(ctx, args, def, given, spec); err != nil {
		return nil, err
	}
	var err error
	if def.BuiltFrom != "" {
		if spec.Built, err = workload.Build(ctx, def.Name, args.Host, args.ImageRoot, def.BuiltFrom, pulumi.Parent(s)); err != nil {
			return nil, err
		}
	}
	if s.container, err = workload.New(ctx, def.Name, spec, pulumi.Parent(s)); err != nil {
		return nil, err
	}
	if a := def.Administrator; a != nil {
		s.administrator = &Administrator{Name: a.Name, Password: s.secrets[a.Secret]}
	}
	if def.Prepare != nil {
		prepared, err := def.Prepare(ctx, &Running{Host: args.Host, Name: def.Name, Port: def.Port, Container: s.container, Parent: pulumi.Parent(s)})
		if err != nil {
			return nil, fmt.Errorf("preparing %s: %w", def.Name, err)
		}
		s.prepared = prepared.Resource
		if prepared.Administrator != nil {
			s.administrator = prepared.Administrator
		}
	}
	outputs := pulumi.Map{}
	if def.Port != 0 {
		outputs["address"] = pulumi.String(s.Endpoint().Address())
	}
	return s, ctx.RegisterResourceOutputs(s, outputs)
}

// Ready reports a Service that Run did not make.
func (s *Service) Ready() error {
	if s == nil || s.container == nil {
		return errors.New("no service: pass the value that service.Run returned")
	}
	return nil
}

// Name is the service's name.
func (s *Service) Name() string { return s.name }

// Endpoint is where the service answers. It exists once the service may be reached.
func (s *Service) Endpoint() workload.Endpoint {
	endpoint := s.container.Endpoint(s.port)
	if s.prepared != nil {
		return endpoint.Once(s.prepared)
	}
	return endpoint
}

// Administrator is the service's own first login, or nil if it has none of its own.
func (s *Service) Administrator() *Administrator { return s.administrator }

// Secret is one of the generated secrets of its definition.
func (s *Service) Secret(name string) (pulumi.StringOutput, error) {
	secret, ok := s.secrets[name]
	if !ok {
		return pulumi.StringOutput{}, fmt.Errorf("%s has no secret %q", s.name, name)
	}
	return secret, nil
}

// Wired reports whether the deployment writes some of its settings, before there is a route to it.
func (s *Service) Wired() bool { return s.wired }

// Guards exist once everything that the service needs of others is open to it, too.
func (s *Service) Guards() []pulumi.Resource {
	if s.later == nil {
		return nil
	}
	return []pulumi.Resource{s.later}
}

// AllowLater lets the service reach what came after it, and returns what to depend on.
func (s *Service) AllowLater(ctx *pulumi.Context, endpoints []workload.Endpoint) (pulumi.Resource, error) {
	if err := s.Ready(); err != nil {
		return nil, err
	}
	return s.container.AllowLater(ctx, endpoints, pulumi.Parent(s))
}

// Container is its container.
func (s *Service) Container() *workload.Container { return s.container }
