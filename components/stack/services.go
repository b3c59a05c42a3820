package stack

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/gateway"
	"homelab/components/media"
	"homelab/components/monitoring"
	"homelab/components/service"
	"homelab/components/settings"
)

// wanted is a service that the settings want, and its place at the gateway.
type wanted struct {
	deployment service.Deployment
	site       gateway.Site
}

// deployments are the services that the settings want: those of the catalogue that are on, the
// operator's own, what writes quality profiles, and the programs of the monitoring.
func deployments(s *settings.Settings, catalogue []service.Definition) []*wanted {
	defined := map[string]func() service.Definition{}
	for _, d := range catalogue {
		defined[d.Name] = func() service.Definition { return d }
	}
	for _, own := range s.CustomServices {
		defined[own.Name] = func() service.Definition { return customService(own, defined) }
	}
	var out []*wanted
	want := func(from settings.Service) {
		d := defined[from.Name]()
		out = append(out, &wanted{
			deployment: service.Deployment{Definition: d, Hostname: from.Hostname, Access: from.Access, MemoryMiB: from.MemoryMiB},
			site: gateway.Site{
				Name: d.Name, Hostname: from.Hostname, Visibility: from.Visibility, Access: from.Access,
				Bypass: from.Bypass, Uploads: from.Uploads,
			},
		})
	}
	for _, from := range s.Services {
		want(from)
	}
	for _, own := range s.CustomServices {
		want(own.Service)
	}
	if profiles := s.Wiring.QualityProfiles; len(profiles) > 0 {
		d := media.Recyclarr(profiles)
		out = append(out, &wanted{deployment: service.Deployment{Definition: d, MemoryMiB: d.Default.MemoryMiB}})
	}
	for _, d := range catalogue {
		if d.Internal && d.Monitored && s.Monitoring != nil && monitoring.Runs(d.Name, s.Monitoring.Shipper) {
			out = append(out, &wanted{deployment: service.Deployment{Definition: d, MemoryMiB: d.Default.MemoryMiB}})
		}
	}
	return out
}

func customService(own settings.CustomService, defined map[string]func() service.Definition) service.Definition {
	args := service.CustomArgs{
		Name: own.Name, Image: own.Image, Port: own.Port, User: own.User, Command: own.Command, Environment: own.Environment,
		Health:  service.Health{Path: own.HealthPath, Command: own.HealthCommand},
		Scratch: own.Scratch, Library: own.Library, Slot: own.Slot, Internet: own.Internet,
	}
	for _, f := range own.Folders {
		args.Folders = append(args.Folders, service.CustomFolder(f))
	}
	for _, used := range own.Uses {
		args.Uses = append(args.Uses, service.On(defined[used]))
	}
	return service.Custom(args)
}

// newLogins registers at the portal the services that log their users in there, and gives each its
// credentials.
func newLogins(ctx *pulumi.Context, s *settings.Settings, services []*wanted, opts ...pulumi.ResourceOption) (map[string]*gateway.OpenID, error) {
	out := map[string]*gateway.OpenID{}
	for _, w := range services {
		login := w.deployment.Definition.Login
		if login == nil {
			continue
		}
		args := &gateway.OpenIDArgs{Hostname: w.site.Hostname, Portal: s.Auth.Hostname, Access: w.site.Access, RedirectPaths: login.RedirectPaths}
		for _, scope := range login.Scopes {
			args.Scopes = append(args.Scopes, gateway.Scope(scope))
		}
		registered, err := gateway.NewOpenID(ctx, w.site.Name, args, opts...)
		if err != nil {
			return nil, err
		}
		out[w.site.Name] = registered
		at := registered.Endpoints()
		w.deployment.Login = &service.Credentials{
			ClientID: registered.ClientID(), ClientSecret: registered.ClientSecret(), Issuer: at.Issuer,
			Authorization: at.Authorization, Token: at.Token, UserInfo: at.UserInfo,
		}
	}
	return out, nil
}
