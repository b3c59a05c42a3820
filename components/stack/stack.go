// Package stack is the whole system on one page: settings, then components in the order of trust,
// then exports.
package stack

import (
	"context"
	"fmt"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/backup"
	"homelab/components/edge"
	"homelab/components/exposure"
	"homelab/components/gateway"
	"homelab/components/host"
	"homelab/components/internal/preflight"
	"homelab/components/internal/vpnserver"
	"homelab/components/media"
	"homelab/components/monitoring"
	"homelab/components/service"
	"homelab/components/settings"
	"homelab/components/storage"
	"homelab/components/tailnet"
	"homelab/components/vpn"
	"homelab/components/workload"
)

// OriginPullExpires is the output that says when the client certificate ends which Cloudflare shows
// to the origin.
const OriginPullExpires = "originPullCertificateExpires"

// Catalog returns every service that this program offers, and the programs of the monitoring.
func Catalog() []service.Definition { return slices.Concat(media.Catalog(), monitoring.Catalog()) }

// Deploy registers the whole server, from the folder that the engine calls the project's.
func Deploy(ctx *pulumi.Context) error {
	return deploy(ctx, ctx.RootDirectory(), Catalog(), preflight.OnTailnet)
}

// Real is Deploy for a program that runs inside another: the Automation API does not say where the
// project is.
func Real(root string) pulumi.RunFunc {
	return func(ctx *pulumi.Context) error { return deploy(ctx, root, Catalog(), preflight.OnTailnet) }
}

// From is Real for simulated clouds, whose servers are reached from anywhere.
func From(root string) pulumi.RunFunc { return FromCatalog(Catalog())(root) }

// FromCatalog is From for a program that offers other services.
func FromCatalog(catalogue []service.Definition) func(root string) pulumi.RunFunc {
	return func(root string) pulumi.RunFunc {
		return func(ctx *pulumi.Context) error { return deploy(ctx, root, catalogue, anywhere) }
	}
}

func anywhere(context.Context) error { return nil }

// mayReach asks, before anything is made, whether this computer will reach the server. A preview
// reaches for nothing, and broken glass is for the day when the tailnet is not there.
func mayReach(ctx *pulumi.Context, s *settings.Settings, reach func(context.Context) error) error {
	if ctx.DryRun() || s.Server.BreakGlass != nil {
		return nil
	}
	return reach(ctx.Context())
}

// deploy reads like the chain: hostnames are the last thing it makes, because each needs a route,
// and a route needs everything else.
func deploy(ctx *pulumi.Context, root string, catalogue []service.Definition, reach func(context.Context) error) error {
	s, err := settings.Load(ctx, root, service.Offers(catalogue))
	if err != nil {
		return err
	}
	if err := mayReach(ctx, s, reach); err != nil {
		return err
	}
	clouds, err := newProviders(ctx, s)
	if err != nil {
		return err
	}
	shield, err := edge.New(ctx, "edge", edgeArgs(s), clouds.option())
	if err != nil {
		return err
	}
	private, err := tailnet.New(ctx, "tailnet", tailnetArgs(s), clouds.option())
	if err != nil {
		return err
	}
	boxes, err := newBoxes(ctx, s, clouds.option())
	if err != nil {
		return err
	}
	machine, err := host.New(ctx, s.Server.Name, hostArgs(s, shield, private), clouds.option())
	if err != nil {
		return err
	}
	networks, err := workload.NewNetworks(ctx, "networks", &workload.NetworksArgs{
		Host: machine, CaddyProxy: s.Networks.CaddyProxy, GrafanaMonitoring: s.Networks.GrafanaMonitoring, Gluetun: s.Networks.Gluetun,
	}, clouds.option())
	if err != nil {
		return err
	}
	library, err := machine.MountMedia(ctx, "media", &host.MediaArgs{
		Box: boxes.media, Protocol: host.MediaProtocol(s.Storage.Media.Protocol), DiskGB: s.Server.DiskGB,
	}, clouds.option())
	if err != nil {
		return err
	}
	alerts, err := machine.NewAlerts(ctx, "alerts", alertsArgs(s), clouds.option())
	if err != nil {
		return err
	}
	logs, err := gateway.NewLogs(ctx, "logs", machine, clouds.option())
	if err != nil {
		return err
	}
	wanted := deployments(s, catalogue)
	services := &service.Args{
		Host: machine, Network: networks.CaddyProxy, Monitoring: networks.GrafanaMonitoring, Library: library, ImageRoot: root, Timezone: s.Timezone,
		Watch: watched(s, wanted), Credentials: credentials(s),
	}
	if services.Downloads, err = newDownloads(ctx, s, machine, wanted, clouds.option()); err != nil {
		return err
	}
	tunnel, err := newTunnel(ctx, s, machine, networks, wanted, clouds.option())
	if err != nil {
		return err
	}
	services.Tunnel = tunnel.Network()
	if services.Shares, err = shares(ctx, s, services, shield, alerts, logs, tunnel, clouds.option()); err != nil {
		return err
	}
	serving, err := newServices(ctx, s, services, networks, wanted, clouds.option())
	if err != nil {
		return err
	}
	proxy, identity, err := newGateway(ctx, root, s, shield, machine, logs, networks, serving.sites, clouds.option())
	if err != nil {
		return err
	}
	if err := observe(ctx, networks, serving.running, serving.wired, proxy); err != nil {
		return err
	}
	kept, err := backup.New(ctx, "backup", backupArgs(s, machine, boxes.backup, alerts), clouds.option())
	if err != nil {
		return err
	}
	hostnames, published, err := publish(ctx, proxy, shield, machine, clouds.option())
	if err != nil {
		return err
	}
	if err := notify(ctx, machine, services.Watch, serving.running, append(published, kept)); err != nil {
		return err
	}
	ctx.Export("hostnames", hostnames)
	ctx.Export("initialPasswords", identity.Passwords())
	ctx.Export("serviceAdministrators", serving.administrators)
	ctx.Export(OriginPullExpires, shield.OriginPullExpires())
	ctx.Export("publicIpv4", machine.PublicIPv4())
	ctx.Export("tailnetIpv4", machine.TailnetIPv4())
	ctx.Export("hostKey", machine.HostKey())
	ctx.Export("recoveryKey", machine.RecoveryKey())
	exportBoxes(ctx, boxes, kept)
	return nil
}

// publish gives every route its hostname. It returns what exists once they can be reached, too.
func publish(ctx *pulumi.Context, proxy *gateway.Proxy, shield *edge.Shield, machine *host.Host, opts ...pulumi.ResourceOption) (pulumi.StringMap, []pulumi.Resource, error) {
	hostnames := pulumi.StringMap{}
	var published []pulumi.Resource
	for _, route := range proxy.Routes() {
		record, err := exposure.Publish(ctx, route.Name(), &exposure.Args{Route: route, Shield: shield, Host: machine}, opts...)
		if err != nil {
			return nil, nil, err
		}
		hostnames[route.Name()], published = pulumi.Sprintf("https://%s", route.Hostname()), append(published, record)
	}
	return hostnames, published, nil
}

// exportBoxes are what people need to use the boxes themselves: to bring films, and to restore.
func exportBoxes(ctx *pulumi.Context, boxes *boxes, kept *backup.Backup) {
	server, username, password := boxes.media.People()
	ctx.Export("mediaBox", server)
	ctx.Export("mediaUsername", username)
	ctx.Export("mediaPassword", pulumi.ToSecret(password))
	ctx.Export("backupBox", boxes.backup.Server())
	ctx.Export("backupRepository", kept.Repository())
	ctx.Export("backupPassphrase", kept.Passphrase())
	ctx.Export("backupRepositoryKey", kept.RepositoryKey())
	ctx.Export("backupPruneKey", kept.PruneKey())
	ctx.Export("backupPruneOptions", pulumi.String(kept.PruneOptions()))
	ctx.Export("backupKnownHosts", kept.KnownHosts())
}

// newDownloads sets the downloads' disk aside; nil if no service uses it.
func newDownloads(ctx *pulumi.Context, s *settings.Settings, machine *host.Host, services []*wanted, opts ...pulumi.ResourceOption) (*host.Downloads, error) {
	if !slices.ContainsFunc(services, func(w *wanted) bool { return w.deployment.Definition.Downloads != "" }) {
		return nil, nil
	}
	return machine.MountDownloads(ctx, "downloads", &host.DownloadsArgs{
		SizeGB: s.Storage.Downloads.SizeGB, Owner: host.MediaOwner, Folders: media.DownloadFolders(),
	}, opts...)
}

// newTunnel runs the VPN tunnel; nil if the settings have none, or nothing is behind it.
func newTunnel(ctx *pulumi.Context, s *settings.Settings, machine *host.Host, networks *workload.Networks, services []*wanted, opts ...pulumi.ResourceOption) (*vpn.Tunnel, error) {
	if s.VPN == nil || !slices.ContainsFunc(services, func(w *wanted) bool { return w.deployment.Definition.BehindTunnel }) {
		return nil, nil
	}
	args := &vpn.Args{Host: machine, Network: networks.Gluetun, VPN: *s.VPN, ClientPort: media.TorrentPort, Timezone: s.Timezone}
	keys := &s.Credentials
	if s.VPN.Provider.Type() == vpnserver.OpenVPN {
		args.Configuration, args.Password = keys.VPNConfiguration.Output(), keys.VPNPassword.Output()
	} else {
		args.PrivateKey = keys.VPNPrivateKey.Output()
		if keys.VPNPresharedKey.Given() {
			args.PresharedKey = keys.VPNPresharedKey.Output()
		}
	}
	return vpn.New(ctx, args, opts...)
}

// serving are the services that run.
type serving struct {
	running []*service.Service
	wired   *media.Wiring // nil if there is nothing to connect
	// sites are their places at the gateway.
	sites []gateway.Site
	// administrators are the first logins of those that have their own.
	administrators pulumi.StringMapMap
}

// newServices runs the services and connects them with each other.
func newServices(ctx *pulumi.Context, s *settings.Settings, args *service.Args, networks *workload.Networks, services []*wanted, opts ...pulumi.ResourceOption) (*serving, error) {
	registered, err := newLogins(ctx, s, services, opts...)
	if err != nil {
		return nil, err
	}
	sites := map[string]gateway.Site{}
	for _, w := range services {
		d := w.deployment.Definition
		if !d.Internal {
			sites[d.Name] = w.site
		}
		if w.deployment.Hosts, err = portalHosts(s, d, networks); err != nil {
			return nil, err
		}
		args.Deployments = append(args.Deployments, w.deployment)
	}
	out := &serving{administrators: pulumi.StringMapMap{}}
	if out.running, err = service.Run(ctx, args, opts...); err != nil {
		return nil, err
	}
	if out.wired, err = wire(ctx, s, args, out.running, opts...); err != nil {
		return nil, err
	}
	for _, r := range out.running {
		if a := r.Administrator(); a != nil {
			out.administrators[r.Name()] = pulumi.StringMap{"name": pulumi.String(a.Name), "password": a.Password}
		}
		site, served := sites[r.Name()]
		if !served {
			continue
		}
		site.Upstream, site.OpenID = r.Endpoint(), registered[r.Name()]
		if r.Wired() {
			site.Upstream = site.Upstream.Once(out.wired.Resource())
		}
		out.sites = append(out.sites, site)
	}
	return out, nil
}

// wire connects the services that are to be; nil if there are none.
func wire(ctx *pulumi.Context, s *settings.Settings, services *service.Args, running []*service.Service, opts ...pulumi.ResourceOption) (*media.Wiring, error) {
	args := &media.WiringArgs{
		Host: services.Host, Network: services.Network, Monitoring: services.Monitoring, Library: services.Library, ImageRoot: services.ImageRoot, Timezone: s.Timezone, Hostnames: map[string]string{},
		Email: s.AdminEmail, Enforce: s.Wiring.Enforce, JackettIndexers: s.Wiring.JackettIndexers, ProwlarrIndexers: s.Wiring.ProwlarrIndexers,
		QualityProfiles: s.Wiring.QualityProfiles,
	}
	if s.VPN != nil {
		args.ListenPort = s.VPN.ForwardedPort
	}
	for _, r := range running {
		if r.Wired() {
			args.Services = append(args.Services, r)
		}
		if r.Name() == media.RecyclarrName {
			args.Recyclarr = r
		}
	}
	for _, d := range services.Deployments {
		args.Hostnames[d.Definition.Name] = d.Hostname
	}
	if len(args.Services) == 0 {
		return nil, nil
	}
	return media.Wire(ctx, media.WiringName, args, opts...)
}

func newGateway(ctx *pulumi.Context, root string, s *settings.Settings, shield *edge.Shield, machine *host.Host, logs *gateway.Logs,
	networks *workload.Networks, services []gateway.Site, opts ...pulumi.ResourceOption,
) (*gateway.Proxy, *gateway.Identity, error) {
	sites, err := gateway.NewSites(services)
	if err != nil {
		return nil, nil, err
	}
	detection, err := gateway.NewDetection(ctx, "crowdsec", &gateway.DetectionArgs{
		Host: machine, Shield: shield, Logs: logs, Network: networks.CaddyProxy, Monitoring: networks.GrafanaMonitoring, Sites: sites,
		TailnetRanges: tailnet.Ranges(), ContainerRanges: containerRanges(s),
	}, opts...)
	if err != nil {
		return nil, nil, err
	}
	identity, err := gateway.NewIdentity(ctx, "authelia", identityArgs(s, machine, logs, networks, detection), opts...)
	if err != nil {
		return nil, nil, err
	}
	jails, err := gateway.NewJails(ctx, "fail2ban", &gateway.JailsArgs{
		Host: machine, Shield: shield, Logs: logs, SSHPort: s.Ports.SSH,
		TailnetRanges: tailnet.Ranges(), ContainerRanges: containerRanges(s), BanToken: s.Credentials.CloudflareBanToken.Output(),
	}, opts...)
	if err != nil {
		return nil, nil, err
	}
	proxy, err := gateway.NewProxy(ctx, "caddy", &gateway.ProxyArgs{
		Shield: shield, Host: machine, Logs: logs, Identity: identity, Jails: jails, Network: networks.CaddyProxy, Tunnelled: networks.Gluetun, Monitoring: networks.GrafanaMonitoring,
		Email: s.AdminEmail, ACMEToken: s.Credentials.CloudflareACMEToken.Output(), ImageRoot: root,
	}, opts...)
	if err != nil {
		return nil, nil, err
	}
	return proxy, identity, nil
}

// boxes are the two Storage Boxes.
type boxes struct{ media, backup *storage.Box }

func newBoxes(ctx *pulumi.Context, s *settings.Settings, opts ...pulumi.ResourceOption) (*boxes, error) {
	media, err := storage.New(ctx, "media-box", &storage.Args{
		Size: s.Storage.Media.Type, Location: s.Storage.Media.Location, Directory: "media", Protect: s.Protect, People: true,
		Protocol: host.MediaProtocol(s.Storage.Media.Protocol).Box(), Snapshots: storage.Snapshots(s.Storage.Media.Snapshots),
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("making the media box: %w", err)
	}
	backup, err := storage.New(ctx, "backup-box", &storage.Args{
		Size: s.Storage.Backup.Type, Location: s.Storage.Backup.Location, Protocol: storage.SSH, Directory: "backups", Protect: s.Protect,
		Snapshots: storage.Snapshots(s.Storage.Backup.Snapshots),
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("making the backup box: %w", err)
	}
	return &boxes{media: media, backup: backup}, nil
}
