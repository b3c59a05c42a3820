package media

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/internal/validate"
	"homelab/components/workload"
)

// definition is what differs between services.
type definition struct {
	// port is where the service answers.
	port int
	// spec is the container without what every service shares.
	spec workload.Spec
	// library is where the service finds the media library; empty where it has no use for it.
	library string
	// folders are the container's writable paths, each with its folder below the service's own.
	folders map[string]folder
}

// folder is where a service writes.
type folder struct {
	// base is its name below the service's own folder.
	base string
	// keeps is what the service writes there.
	keeps workload.Contents
}

// newService is the only way a service is made, so none forgets a folder's owner, the limit, or the network.
func newService(ctx *pulumi.Context, token, name string, args *Args, d definition, opts []pulumi.ResourceOption) (*Service, error) {
	p := validate.Of(name)
	p.Merge(args.Validate(name))
	if d.library != "" {
		p.Merge(args.Library.Ready())
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	s := &Service{port: d.port}
	if err := ctx.RegisterComponentResourceV2(token, name, pulumi.Map{"memoryMiB": pulumi.Int(args.MemoryMiB)}, s, opts...); err != nil {
		return nil, fmt.Errorf("registering %s: %w", name, err)
	}
	spec := d.spec
	spec.Host, spec.MemoryMiB, spec.User = args.Host, args.MemoryMiB, owner
	spec.Networks = append(spec.Networks, args.Proxy)
	spec.Env = maps.Clone(d.spec.Env)
	if spec.Env == nil {
		spec.Env = map[string]string{}
	}
	spec.Env["TZ"] = args.Timezone
	for _, target := range slices.Sorted(maps.Keys(d.folders)) {
		f := d.folders[target]
		made, err := args.Host.NewFolder(ctx, name+"-"+f.base, host.Directory{
			Path: fmt.Sprintf("%s/%s/%s", host.Root, name, f.base), Mode: 0o750, Owner: owner,
		}, pulumi.Parent(s))
		if err != nil {
			return nil, err
		}
		spec.Mounts = append(spec.Mounts, workload.Mount{Folder: made, Target: target, Keeps: f.keeps})
	}
	if d.library != "" {
		spec.Mounts = append(spec.Mounts, workload.Mount{Media: args.Library, Target: d.library, ReadOnly: true})
	}
	container, err := workload.New(ctx, name, &spec, pulumi.Parent(s))
	if err != nil {
		return nil, err
	}
	s.container = container
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{"address": pulumi.String(s.Endpoint().Address())})
}
