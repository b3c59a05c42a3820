package stack

import (
	"fmt"
	"net/netip"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/pulumi/pulumi-command/sdk/go/command"
	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi-tailscale/sdk/go/tailscale"
	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/backup"
	"homelab/components/edge"
	"homelab/components/gateway"
	"homelab/components/host"
	"homelab/components/settings"
	"homelab/components/storage"
	"homelab/components/tailnet"
	"homelab/components/workload"
)

// providers are the accounts that the stack works with. Default providers are switched off in the
// stack's configuration: a resource that forgot its provider must fail, not act on whatever account
// or Docker engine the laptop knows.
type providers struct{ all []pulumi.ProviderResource }

func newProviders(ctx *pulumi.Context, s *settings.Settings) (*providers, error) {
	p := &providers{}
	for _, step := range []struct {
		name string
		new  func() (pulumi.ProviderResource, error)
	}{
		{"cloudflare", func() (pulumi.ProviderResource, error) {
			return cloudflare.NewProvider(ctx, "cloudflare", &cloudflare.ProviderArgs{ApiToken: s.Credentials.CloudflareAPIToken.Output()})
		}},
		{"command", func() (pulumi.ProviderResource, error) {
			return command.NewProvider(ctx, "command", &command.ProviderArgs{})
		}},
		{"hcloud", func() (pulumi.ProviderResource, error) {
			return hcloud.NewProvider(ctx, "hcloud", &hcloud.ProviderArgs{Token: s.Credentials.HcloudToken.Output()})
		}},
		{"random", func() (pulumi.ProviderResource, error) {
			return random.NewProvider(ctx, "random", &random.ProviderArgs{})
		}},
		{"tailscale", func() (pulumi.ProviderResource, error) {
			return tailscale.NewProvider(ctx, "tailscale", &tailscale.ProviderArgs{
				OauthClientId:     pulumi.String(s.Credentials.TailscaleOAuthClientID),
				OauthClientSecret: s.Credentials.TailscaleOAuthClientSecret.Output(),
			})
		}},
		{"tls", func() (pulumi.ProviderResource, error) {
			return tls.NewProvider(ctx, "tls", &tls.ProviderArgs{})
		}},
	} {
		provider, err := step.new()
		if err != nil {
			return nil, fmt.Errorf("configuring the %s provider: %w", step.name, err)
		}
		p.all = append(p.all, provider)
	}
	return p, nil
}

// option gives the providers to a component and, through it, to its children.
func (p *providers) option() pulumi.ResourceOption { return pulumi.Providers(p.all...) }

func edgeArgs(s *settings.Settings) *edge.Args {
	args := &edge.Args{
		Domain: s.Domain, ZoneID: s.Cloudflare.ZoneID, Plan: s.Cloudflare.Plan, BlockedCountries: s.Cloudflare.BlockedCountries,
		RateLimit: edge.RateLimit(s.Cloudflare.RateLimit), Hostnames: s.Hostnames(), HSTS: edge.HSTS(s.Cloudflare.HSTS),
	}
	for _, r := range s.Cloudflare.Rules {
		args.Rules = append(args.Rules, edge.Rule{Name: r.Name, Expression: r.Expression, Action: string(r.Action)})
	}
	return args
}

func tailnetArgs(s *settings.Settings) *tailnet.Args {
	return &tailnet.Args{
		Tailnet: s.Tailscale.Tailnet,
		Admins:  s.Tailscale.Admins, Members: s.Tailscale.Members, Extra: s.Tailscale.Extra,
		HTTPSPort: s.Ports.HTTPS, OverwritePolicy: s.Tailscale.OverwritePolicy,
	}
}

func hostArgs(s *settings.Settings, shield *edge.Shield, private *tailnet.Tailnet) *host.Args {
	args := &host.Args{
		Shield: shield, Tailnet: private,
		ServerType: s.Server.Type, Location: s.Server.Location, Image: s.Server.Image, Generation: s.Server.Generation, Timezone: s.Timezone,
		HTTPSPort: s.Ports.HTTPS, SSHPort: s.Ports.SSH, TailscalePort: s.Ports.Tailscale, Protect: s.Protect,
		Networks: []netip.Prefix{s.Networks.CaddyProxy, s.Networks.GrafanaMonitoring, s.Networks.Gluetun, s.Networks.AutheliaSession},
	}
	if b := s.Server.BreakGlass; b != nil {
		args.BreakGlass = &host.BreakGlass{CIDR: b.CIDR, Reason: b.Reason}
	}
	return args
}

func identityArgs(s *settings.Settings, machine *host.Host, logs *gateway.Logs, networks *workload.Networks, detection *gateway.Detection) *gateway.IdentityArgs {
	args := &gateway.IdentityArgs{
		Host: machine, Logs: logs, Proxy: networks.CaddyProxy, Monitoring: networks.GrafanaMonitoring, Domain: s.Domain, Hostname: s.Auth.Hostname, Detection: detection, TailnetRanges: tailnet.Ranges(),
		SessionDomain: s.Auth.SessionDomain, SessionNetwork: s.Networks.AutheliaSession,
		SessionInactivity: s.Auth.SessionInactivity, SessionExpiration: s.Auth.SessionExpiration, RememberMe: s.Auth.RememberMe,
	}
	if s.SMTP != nil {
		args.Mail = &gateway.Mail{Server: *s.SMTP, Password: s.Credentials.SMTPPassword.Output()}
	}
	for _, u := range s.Users {
		person := gateway.User{Name: u.Name, DisplayName: u.DisplayName, Email: u.Email, Groups: u.Groups}
		if u.Password.Given() {
			person.Password = u.Password.Output()
		}
		args.Users = append(args.Users, person)
	}
	return args
}

func alertsArgs(s *settings.Settings) *host.AlertsArgs {
	args := &host.AlertsArgs{Format: s.Alerts.Format}
	if s.Alerts.Webhook {
		args.Webhook = s.Credentials.AlertsWebhook.Output()
	}
	if s.Alerts.Mail {
		args.Mail = &host.AlertMail{Server: *s.SMTP, Password: s.Credentials.SMTPPassword.Output(), Recipient: s.AdminEmail}
	}
	return args
}

func backupArgs(s *settings.Settings, machine *host.Host, box *storage.Box, alerts *host.Alerts) *backup.Args {
	b := s.Backup
	return &backup.Args{
		Host: machine, Box: box, Alerts: alerts, Protect: s.Protect, Retention: backup.Retention(b.Keep),
		Schedule: backup.Schedule{Hour: b.Hour, Minute: b.Minute, JitterMinutes: b.JitterMinutes, DrillDay: b.DrillDay},
	}
}

func containerRanges(s *settings.Settings) []string {
	return []string{s.Networks.CaddyProxy.String(), s.Networks.GrafanaMonitoring.String(), s.Networks.Gluetun.String()}
}
