package stack

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/backup"
	"homelab/components/edge"
	"homelab/components/gateway"
	"homelab/components/host"
	"homelab/components/internal/access"
	"homelab/components/internal/watch"
	"homelab/components/media"
	"homelab/components/monitoring"
	"homelab/components/service"
	"homelab/components/settings"
	"homelab/components/vpn"
	"homelab/components/workload"
)

// watched is what is monitored, from the declarations alone: nothing of it need run yet. It is nil
// where nothing measures.
func watched(s *settings.Settings, services []*wanted) *watch.Model {
	if s.Monitoring == nil || !slices.ContainsFunc(services, func(w *wanted) bool { return w.deployment.Definition.Monitored }) {
		return nil
	}
	m := &watch.Model{
		Host: s.Server.Name, Domain: s.Domain, Timezone: s.Timezone, Receivers: receivers(s), Retention: s.Monitoring.Retention, Shipper: s.Monitoring.Shipper,
	}
	var sites []gateway.Site
	var upstreams, wired []string
	for _, w := range services {
		d := w.deployment.Definition
		m.Subjects = append(m.Subjects, subject(w, services))
		if !d.Internal {
			site := w.site
			if d.Login != nil {
				site.OpenID = &gateway.OpenID{}
			}
			sites, upstreams = append(sites, site), append(upstreams, reachedAt(d))
		}
		if d.Wired {
			wired = append(wired, reachedAt(d))
		}
		if d.BehindTunnel && !m.Has(vpn.Name) {
			m.Subjects = append(m.Subjects, vpn.Watched())
		}
	}
	portal := gateway.PortalVisibility(sites)
	m.Subjects = append(m.Subjects, gateway.Watched(s.Auth.Hostname, portal, upstreams)...)
	if len(wired) > 0 {
		m.Subjects = append(m.Subjects, media.WatchedWiring(wired))
	}
	slices.SortFunc(m.Subjects, func(a, b watch.Subject) int { return cmp.Compare(a.Name, b.Name) })
	m.Probes = append(m.Probes, gateway.Probe(s.Auth.Hostname, portal))
	for _, site := range sites {
		m.Probes = append(m.Probes, gateway.Probe(site.Hostname, site.Visibility))
	}
	slices.SortFunc(m.Probes, func(a, b watch.Probe) int { return cmp.Compare(a.Hostname, b.Hostname) })
	completeUses(m)
	return m
}

// completeUses adds what a program of the monitoring may reach once everything runs.
func completeUses(m *watch.Model) {
	for i, s := range m.Subjects {
		switch s.Name {
		case monitoring.Prometheus().Name:
			for _, other := range m.Subjects {
				if other.Scraped() && other.Name != s.Name {
					s.Uses = append(s.Uses, other.Name)
				}
			}
		case monitoring.Blackbox().Name, monitoring.Grafana().Name:
			s.Uses = append(s.Uses, gateway.ProxyName)
		default:
			continue
		}
		slices.Sort(s.Uses)
		m.Subjects[i].Uses = slices.Compact(s.Uses)
	}
}

// reachedAt is the container whose address is a service's.
func reachedAt(d service.Definition) string {
	if d.BehindTunnel {
		return vpn.Name
	}
	return d.Name
}

// subject is a service as the monitoring sees it.
func subject(w *wanted, all []*wanted) watch.Subject {
	d := w.deployment.Definition
	out := watch.Subject{
		Name: d.Name, Title: d.Title, Summary: d.Summary, Layer: cmp.Or(d.Layer, watch.Service), Hostname: w.deployment.Hostname,
		Public: w.site.Visibility == access.Public, Groups: w.deployment.Access.Groups,
		Target: watch.Target{Port: d.Metrics.Port(), Path: d.Metrics.Path()}, NoMetrics: d.Metrics.Reason(), MemoryMiB: w.deployment.MemoryMiB,
		Library: d.Library != service.Library{},
	}
	if out.Title == "" {
		out.Title = d.Type[strings.LastIndex(d.Type, ":")+1:]
	}
	if d.BehindTunnel {
		out.Behind = vpn.Name
	}
	if d.Wired {
		out.Exporter = media.WiringName
	}
	for _, use := range slices.Concat(d.Uses, d.Later) {
		at := slices.IndexFunc(all, func(o *wanted) bool { return o.deployment.Definition.Name == use.Name() })
		if at >= 0 {
			out.Uses = append(out.Uses, reachedAt(all[at].deployment.Definition))
		}
	}
	slices.Sort(out.Uses)
	out.Uses = slices.Compact(out.Uses)
	return out
}

// receivers are who hears of an alert.
func receivers(s *settings.Settings) watch.Receivers {
	out := watch.Receivers{DeadMansSwitch: s.Monitoring.DeadMansSwitch}
	if s.Alerts.Webhook {
		out.Webhook = s.Alerts.Format
	}
	if s.Alerts.Mail {
		out.Mail = &watch.Mail{Server: *s.SMTP, Recipient: s.AdminEmail}
	}
	return out
}

// credentials are the secrets that the programs of the monitoring need.
func credentials(s *settings.Settings) map[service.Credential]pulumi.StringInput {
	out := map[service.Credential]pulumi.StringInput{}
	if s.Alerts.Webhook {
		out[service.AlertsWebhook] = s.Credentials.AlertsWebhook.Output()
	}
	if s.Alerts.Mail {
		out[service.SMTPPassword] = s.Credentials.SMTPPassword.Output()
	}
	if s.Monitoring != nil && s.Monitoring.DeadMansSwitch {
		out[service.DeadMansSwitch] = s.Credentials.DeadMansSwitch.Output()
	}
	return out
}

// shares are the folders that services may read beside their own. What the machine says of itself
// is measured only where something shows it.
func shares(ctx *pulumi.Context, s *settings.Settings, args *service.Args, shield *edge.Shield, alerts *host.Alerts, logs *gateway.Logs, tunnel *vpn.Tunnel,
	opts ...pulumi.ResourceOption,
) (map[service.Share][]workload.Mount, error) {
	out := map[service.Share][]workload.Mount{service.GatewayLogs: logs.Shares()}
	if args.Watch == nil {
		return out, nil
	}
	measured := &host.MetricsArgs{Alerts: alerts, Shield: shield, Media: args.Library, Downloads: args.Downloads, Backup: backup.StateFolder}
	if tunnel != nil {
		measured.Tunnel = &host.MeasuredTunnel{Container: vpn.Name, VPN: *s.VPN}
		if args.Downloads != nil {
			measured.Tunnel.ClientPort = media.TorrentPort
		}
	}
	metrics, err := args.Host.NewMetrics(ctx, "metrics", measured, opts...)
	if err != nil {
		return nil, err
	}
	out[service.MachineMetrics] = []workload.Mount{{Folder: metrics.Folder(), Target: service.MachineMetricsFolder, ReadOnly: true}}
	return out, nil
}

// notify sends a test message by Alertmanager, after everything else.
func notify(ctx *pulumi.Context, machine *host.Host, m *watch.Model, running []*service.Service, after []pulumi.Resource) error {
	for _, r := range running {
		if m != nil && r.Name() == monitoring.Alertmanager().Name {
			return monitoring.Notify(ctx, machine, r, *m, after)
		}
	}
	return nil
}

// portalHosts are the addresses by which a service that has no way out finds the portal.
func portalHosts(s *settings.Settings, d service.Definition, networks *workload.Networks) (map[string]netip.Addr, error) {
	if d.Login == nil || !d.Monitored {
		return nil, nil
	}
	address, err := gateway.InnerAddress(networks.GrafanaMonitoring)
	if err != nil {
		return nil, fmt.Errorf("finding the portal's address for %s: %w", d.Name, err)
	}
	return map[string]netip.Addr{s.Auth.Hostname: address}, nil
}

// observe lets the programs of the monitoring reach what runs only now: what they scrape, the
// listeners whose certificates they look at, and the portal.
func observe(ctx *pulumi.Context, networks *workload.Networks, running []*service.Service, wired *media.Wiring, proxy *gateway.Proxy) error {
	containers := slices.Clone(proxy.Watched())
	if wired != nil {
		containers = append(containers, wired.Container())
	}
	ways := map[string][]workload.Endpoint{}
	for _, r := range running {
		containers = append(containers, r.Container())
	}
	for _, c := range containers {
		endpoint, has, err := c.MetricsOn(networks.GrafanaMonitoring)
		if err != nil {
			return fmt.Errorf("scraping %s: %w", c.Name(), err)
		}
		if has && c.Name() != monitoring.Prometheus().Name {
			ways[monitoring.Prometheus().Name] = append(ways[monitoring.Prometheus().Name], endpoint)
		}
	}
	listeners, err := proxy.Listeners(networks.GrafanaMonitoring)
	if err != nil {
		return fmt.Errorf("measuring the proxy's certificates: %w", err)
	}
	inner, err := proxy.Inner(networks.GrafanaMonitoring)
	if err != nil {
		return fmt.Errorf("asking the portal from inside: %w", err)
	}
	ways[monitoring.Blackbox().Name], ways[monitoring.Grafana().Name] = listeners, []workload.Endpoint{inner}
	for _, r := range running {
		if endpoints := ways[r.Name()]; len(endpoints) > 0 {
			if _, err := r.AllowLater(ctx, endpoints); err != nil {
				return fmt.Errorf("letting %s reach what it looks at: %w", r.Name(), err)
			}
		}
	}
	return nil
}
