// Package gateway is everything between the edge and a service: CrowdSec finds attackers, Authelia
// knows people, Fail2ban watches the logs, and Caddy lets through what the three allow. A Route out
// of it is the proof that all four are in place.
package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/edge"
	"homelab/components/gateway/internal/authelia"
	"homelab/components/gateway/internal/caddyfile"
	"homelab/components/gateway/internal/crowdsec"
	"homelab/components/host"
	"homelab/components/internal/access"
	"homelab/components/internal/memory"
	"homelab/components/internal/validate"
	"homelab/components/workload"
)

// ProxyType is the type token of the proxy.
const ProxyType = "homelab:gateway:Proxy"

const (
	caddyName  = "caddy"
	caddyOwner = caddyUser + ":" + caddyUser
	// imageFolder holds our Caddy build, with its Dockerfile.
	imageFolder = "images/caddy"
	// portalName is the name under which the portal's own hostname is routed.
	portalName = "portal"
)

// ProxyArgs describes the proxy. Each of the other layers is a typed value: a proxy without one of
// them does not compile, or is refused.
type ProxyArgs struct {
	// Shield gives the edge's ranges and the authority of its client certificate.
	Shield *edge.Shield
	// Host is the machine.
	Host *host.Host
	// Logs is where the access log goes.
	Logs *Logs
	// Identity is asked about every visitor. It knows the sites, and the detection, which is asked
	// about every request.
	Identity *Identity
	// Jails read the proxy's log.
	Jails *Jails
	// Network is where the proxy finds the services, Tunnelled where it finds what is behind a VPN
	// tunnel. It is on both, whether there is a tunnel or not: it shall not restart when one comes.
	Network, Tunnelled *workload.Network
	// Monitoring is where it is scraped, and where it finds what shows the measurements.
	Monitoring *workload.Network
	// Email is the contact of the certificates' account.
	Email string
	// ACMEToken is the Cloudflare token that answers DNS challenges: a secret.
	ACMEToken pulumi.StringInput
	// ImageRoot is the project's folder, below which our Caddy build is.
	ImageRoot string
}

// Validate reports every problem of the arguments.
func (a *ProxyArgs) Validate() error {
	p := validate.Of("proxy")
	p.Merge(a.Shield.Ready())
	p.Merge(a.Host.Ready())
	p.Merge(a.Logs.Ready())
	p.Merge(a.Identity.Ready())
	p.Merge(a.Jails.Ready())
	p.Merge(a.Network.Ready())
	p.Merge(a.Monitoring.Ready())
	p.Merge(a.Tunnelled.Ready())
	p.Require(a.Email != "", "no contact for the certificates' account")
	p.Require(a.ACMEToken != nil, "no token for the certificates' DNS challenges")
	return p.Err()
}

// Proxy is the running proxy. Only NewProxy makes a usable one.
type Proxy struct {
	pulumi.ResourceState

	sites    *Sites
	portal   string
	chain    []pulumi.Resource
	loaded   map[string]pulumi.Resource
	upstream map[string]pulumi.Resource
	watched  []*workload.Container // the proxy first
}

// NewProxy runs Caddy and checks that it enforces: its bouncer fetches decisions, and every
// hostname is in its loaded configuration. The sites are those that the portal has rules for: a
// site without a rule cannot be routed.
func NewProxy(ctx *pulumi.Context, name string, args *ProxyArgs, opts ...pulumi.ResourceOption) (*Proxy, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	p := &Proxy{sites: args.Identity.detection.sites, portal: args.Identity.hostname, loaded: map[string]pulumi.Resource{}, upstream: map[string]pulumi.Resource{}}
	inputs := pulumi.Map{"sites": pulumi.Int(len(p.sites.list))}
	if err := ctx.RegisterComponentResourceV2(ProxyType, name, inputs, p, opts...); err != nil {
		return nil, fmt.Errorf("registering the proxy: %w", err)
	}
	placed, err := workload.Place(ctx, args.Host, caddyName, caddyOwner, p.folders(args), pulumi.Parent(p))
	if err != nil {
		return nil, err
	}
	config, pullCA := placed.File(caddyfileName), placed.File(path.Base(caddyfile.DefaultPaths().OriginPullCA))
	container, err := p.container(ctx, args, placed)
	if err != nil {
		return nil, err
	}
	reload, err := args.Host.Run(ctx, caddyName+"-reload", host.Action{
		Command:  []string{"docker", "exec", caddyName, "caddy", "reload", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile", "--address", "unix/" + caddyfile.DefaultPaths().AdminSocket},
		Triggers: []pulumi.StringOutput{config.Digest, pullCA.Digest},
	}, pulumi.Parent(p), pulumi.DependsOn([]pulumi.Resource{container.Resource(), config.Resource, pullCA.Resource}))
	if err != nil {
		return nil, err
	}
	enforcing, err := args.Identity.detection.enforcedBy(ctx, caddyName, p, container.Resource(), reload, config.Digest)
	if err != nil {
		return nil, err
	}
	for _, hostname := range p.hostnames() {
		gate, err := args.Host.Run(ctx, "route-"+hostname, host.Action{
			Command: []string{
				"docker", "exec", caddyName, "caddy", "loaded-hosts", "--socket", caddyfile.DefaultPaths().AdminSocket, "--server", p.server(hostname), hostname,
			},
			Triggers: []pulumi.StringOutput{config.Digest},
		}, pulumi.Parent(p), pulumi.DependsOn([]pulumi.Resource{reload}))
		if err != nil {
			return nil, err
		}
		p.loaded[hostname] = gate
	}
	p.watched = []*workload.Container{container, args.Identity.detection.container, args.Identity.container}
	p.chain = slices.Concat(args.Shield.Guards(), args.Host.Guards(), args.Jails.guards(), args.Identity.ended,
		[]pulumi.Resource{args.Identity.detection.container.Resource(), args.Identity.container.Resource(), container.Resource(), reload, enforcing})
	for _, s := range p.sites.list {
		p.upstream[s.Hostname] = s.Upstream.Resource()
	}
	p.upstream[p.portal] = args.Identity.container.Resource()
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"hostnames": pulumi.ToStringArray(p.hostnames())})
}

// server is the proxy's listener that people reach a hostname by. The portal's is on another one,
// too, for containers.
func (p *Proxy) server(hostname string) string {
	visibility := p.sites.portalVisibility()
	for _, s := range p.sites.list {
		if s.Hostname == hostname {
			visibility = s.Visibility
		}
	}
	if visibility == access.Public {
		return caddyfile.PublicServer
	}
	return caddyfile.TailnetServer
}

func (p *Proxy) hostnames() []string {
	out := []string{p.portal}
	for _, s := range p.sites.list {
		out = append(out, s.Hostname)
	}
	slices.Sort(out)
	return out
}

// caddyfileName is the proxy's configuration, on the machine and as a resource.
const caddyfileName = "Caddyfile"

// folders are the proxy's configuration, secrets and certificates. Whole folders are mounted, not
// their files: a file that is replaced on the machine would stay the old one inside the container.
func (p *Proxy) folders(args *ProxyArgs) []workload.Folder {
	paths := caddyfile.DefaultPaths()
	// On the tailnet a name is enough to reach a site, without any DNS record: no site is in the
	// configuration before its service may be reached.
	var upstreams []pulumi.Resource
	for _, s := range p.sites.list {
		upstreams = append(upstreams, s.Upstream.Resource())
	}
	return []workload.Folder{
		{Base: "config", Target: path.Dir(paths.OriginPullCA), Files: []workload.File{
			{Base: caddyfileName, Name: caddyfileName, Content: p.caddyfile(args), After: upstreams},
			{Base: path.Base(paths.OriginPullCA), Name: caddyName + "-origin-pull-ca", Content: args.Shield.OriginPullCA()},
		}},
		{Base: "secrets", Target: path.Dir(paths.ACMEToken), Files: []workload.File{
			{Base: path.Base(paths.ACMEToken), Content: args.ACMEToken},
			{Base: path.Base(paths.BouncerKey), Content: args.Identity.detection.bouncerKey},
		}},
		// Certificates: authorities limit how often they can be had.
		{Base: "data", Target: path.Dir(paths.Data), Keeps: workload.Files()},
	}
}

func (p *Proxy) caddyfile(args *ProxyArgs) pulumi.StringOutput {
	model := caddyfile.Model{
		Sites: p.sites.declared(),
		Portal: caddyfile.Portal{
			Hostname: p.portal, Upstream: args.Identity.container.Endpoint(authelia.PortalPort).Address(),
			Visibilities: []access.Visibility{p.sites.portalVisibility()},
		},
		ACME: caddyfile.ACME{Email: args.Email},
		CrowdSec: caddyfile.CrowdSec{
			LAPI:   "http://" + args.Identity.detection.container.Endpoint(crowdsec.LAPIPort).Address(),
			AppSec: "http://" + args.Identity.detection.container.Endpoint(crowdsec.AppSecPort).Address(),
		},
		SessionCookie: authelia.SessionCookie,
		Listen:        caddyfile.DefaultListen(),
		Paths:         caddyfile.DefaultPaths(),
	}
	return args.Shield.Ranges().ApplyT(func(ranges []string) (string, error) {
		withRanges := model
		withRanges.TrustedProxies = ranges
		rendered, err := caddyfile.Caddyfile(withRanges)
		return string(rendered), err
	}).(pulumi.StringOutput)
}

// uses is what the proxy asks, and what it forwards to.
func (p *Proxy) uses(args *ProxyArgs) []workload.Endpoint {
	out := []workload.Endpoint{
		args.Identity.detection.container.Endpoint(crowdsec.LAPIPort), args.Identity.detection.container.Endpoint(crowdsec.AppSecPort), args.Identity.container.Endpoint(authelia.PortalPort),
	}
	for _, s := range p.sites.list {
		out = append(out, s.Upstream)
	}
	return out
}

func (p *Proxy) container(ctx *pulumi.Context, args *ProxyArgs, placed *workload.Placed) (*workload.Container, error) {
	image, err := workload.Build(ctx, caddyName, args.Host, args.ImageRoot, imageFolder, pulumi.Parent(p))
	if err != nil {
		return nil, err
	}
	listen, paths := caddyfile.DefaultListen(), caddyfile.DefaultPaths()
	return workload.NewPublished(ctx, caddyName, &workload.Spec{
		Host:     args.Host,
		Built:    image,
		User:     caddyOwner,
		Networks: []*workload.Network{args.Network, args.Tunnelled, args.Monitoring},
		Slot:     proxySlot,
		Uses:     p.uses(args),
		WayOut:   workload.Internet, // certificates
		Mounts:   append(placed.Mounts, workload.Mount{Folder: args.Logs.caddy, Target: path.Dir(paths.AccessLog), Keeps: keepsLogs}),
		Scratch:  map[string]int{"/config": 16, path.Dir(paths.AdminSocket): 1, "/tmp": 64},
		// The configuration is reloaded without a restart; only the secrets, which are read at
		// start, need one.
		RestartOn: []*host.Written{placed.File(path.Base(paths.ACMEToken)), placed.File(path.Base(paths.BouncerKey))},
		Env:       withGoMemory(nil, memory.Caddy),
		MemoryMiB: memory.Caddy,
		Stage:     host.StageProxy,
		Health:    workload.Health{Command: []string{"caddy", "healthy"}},
		Metrics:   proxyMetrics,
		After: slices.Concat([]pulumi.Resource{
			placed.File(caddyfileName).Resource, placed.File(path.Base(paths.OriginPullCA)).Resource,
		}, args.Logs.files, args.Jails.guards()),
	}, []workload.Publication{
		{Listener: args.Host.PublicListener(), Port: listen.Public},
		{Listener: args.Host.TailnetListener(), Port: listen.Tailnet},
	}, pulumi.Parent(p))
}

// Ready reports a Proxy that NewProxy did not make.
func (p *Proxy) Ready() error {
	if p == nil || len(p.chain) == 0 {
		return errors.New("no proxy: pass the value that gateway.NewProxy returned")
	}
	return nil
}

// Routes are the proofs, one per hostname, sorted by name: the services and the portal itself.
func (p *Proxy) Routes() []Route {
	if p.Ready() != nil {
		return nil
	}
	route := func(name, hostname string, visibility access.Visibility, policy access.Policy) Route {
		return Route{
			name: name, hostname: hostname, visibility: visibility, policy: policy,
			proof: append(slices.Clone(p.chain), p.loaded[hostname], p.upstream[hostname]),
		}
	}
	routes := []Route{route(portalName, p.portal, p.sites.portalVisibility(), access.Native)}
	for _, s := range p.sites.list {
		routes = append(routes, route(s.Name, s.Hostname, s.Visibility, s.Access.Policy))
	}
	slices.SortFunc(routes, func(a, b Route) int { return cmp.Compare(a.name, b.name) })
	return routes
}
