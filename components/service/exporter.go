package service

import (
	"fmt"
	"maps"
	"path"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/workload"
)

// exporterSecrets is where an exporter finds what it must keep to itself.
const exporterSecrets = "/run/secrets"

// measure runs what measures the service from outside. It may ask the service, and nobody else.
func (s *Service) measure(ctx *pulumi.Context, args *Args, def Definition) error {
	e, name := def.Exporter, ExporterName(def.Name)
	placed, err := workload.Place(ctx, args.Host, name, Owner, []workload.Folder{
		{Base: "secrets", Target: exporterSecrets, Files: []workload.File{{Base: e.Secret, Name: name + "-" + e.Secret, Content: s.secrets[e.Secret]}}},
	}, pulumi.Parent(s))
	if err != nil {
		return err
	}
	endpoint := s.container.Endpoint(s.port)
	env := map[string]string{"TZ": args.Timezone, e.URLVariable: "http://" + endpoint.Address(), e.SecretVariable: path.Join(exporterSecrets, e.Secret)}
	maps.Copy(env, e.Environment)
	s.exporter, err = workload.New(ctx, name, &workload.Spec{
		Host: args.Host, Image: e.Image, User: Owner, Networks: []*workload.Network{args.Monitoring, endpoint.Network()}, Slot: e.Slot,
		Uses: []workload.Endpoint{endpoint}, Mounts: placed.Mounts, RestartOn: placed.Files(), Command: e.Command, Env: env,
		MemoryMiB: e.MemoryMiB, Health: workload.Health{Command: e.Health}, Metrics: workload.Scrape(e.Port, "/metrics"),
	}, pulumi.Parent(s))
	if err != nil {
		return fmt.Errorf("measuring %s: %w", def.Name, err)
	}
	return nil
}
