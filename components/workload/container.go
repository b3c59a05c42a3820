// Package workload runs containers that are hardened because there is no way to write one that is
// not.
package workload

import (
	_ "embed"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi-docker/sdk/v4/go/docker"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
)

// ContainerType is the type token of a container with its image.
const ContainerType = "homelab:workload:Container"

// Labels on every container.
const (
	labelConfig  = "homelab.config"  // digest of the files it reads at start
	labelMachine = "homelab.machine" // the machine it was made for
	labelMetrics = "homelab.metrics" // where its metrics are, or why there are none
	labelTunnel  = "homelab.tunnel"  // on a VPN tunnel, for homelab-containers
)

// Container is a hardened container that was healthy when the deployment went on.
type Container struct {
	pulumi.ResourceState

	host     *host.Host
	name     string
	networks []*Network
	slot     int
	behind   *VPNTunnel
	metrics  Metrics
	resource *docker.Container
	healthy  pulumi.Resource
}

// healthyScript waits on the machine until a container is healthy.
//
//go:embed scripts/healthy.sh
var healthyScript string

// New runs a container that publishes nothing.
func New(ctx *pulumi.Context, name string, spec *Spec, opts ...pulumi.ResourceOption) (*Container, error) {
	return run(ctx, name, spec, role{}, opts)
}

// role is what only some packages may make of a container.
type role struct {
	publications []Publication
	tunnel       bool
}

// Publication gives a listener of the machine to a port of the container.
type Publication struct {
	// Listener is where the machine listens.
	Listener host.Listener
	// Port is the container's TCP port.
	Port int
}

// NewPublished runs a container that is reachable from outside the machine. Only the gateway may
// call it; a test of the repository's rules holds every other package off.
func NewPublished(ctx *pulumi.Context, name string, spec *Spec, publications []Publication, opts ...pulumi.ResourceOption) (*Container, error) {
	for _, p := range publications {
		if err := p.Listener.Validate(); err != nil {
			return nil, fmt.Errorf("publishing container %s: %w", name, err)
		}
	}
	return run(ctx, name, spec, role{publications: publications}, opts)
}

func run(ctx *pulumi.Context, name string, spec *Spec, as role, opts []pulumi.ResourceOption) (*Container, error) {
	if err := spec.Validate(name); err != nil {
		return nil, err
	}
	if err := spec.declare(); err != nil {
		return nil, fmt.Errorf("container %s: %w", name, err)
	}
	for _, n := range spec.Networks {
		if err := n.claim(spec.Slot, name); err != nil {
			return nil, fmt.Errorf("container %s: %w", name, err)
		}
	}
	c := &Container{host: spec.Host, name: name, networks: slices.Clone(spec.Networks), slot: spec.Slot, behind: spec.Behind, metrics: spec.Metrics}
	inputs := pulumi.Map{"memoryMiB": pulumi.Int(spec.MemoryMiB), "user": pulumi.String(spec.User)}
	if err := ctx.RegisterComponentResourceV2(ContainerType, name, inputs, c, opts...); err != nil {
		return nil, fmt.Errorf("registering container %s: %w", name, err)
	}
	image, err := c.image(ctx, spec)
	if err != nil {
		return nil, err
	}
	args := arguments(name, spec, image)
	for _, p := range as.publications {
		args.Ports = append(args.Ports.(docker.ContainerPortArray), &docker.ContainerPortArgs{
			Internal: pulumi.Int(p.Port), External: pulumi.Int(p.Listener.Port()), Ip: p.Listener.Address(), Protocol: pulumi.String("tcp"),
		})
	}
	if as.tunnel {
		args.Labels = append(args.Labels.(docker.ContainerLabelArray), &docker.ContainerLabelArgs{Label: pulumi.String(labelTunnel), Value: pulumi.String(name)})
	}
	after := append(slices.Clone(spec.After), spec.Host.Gatekeeper())
	if spec.Behind != nil {
		after = append(after, spec.Behind.container.healthy)
	} else {
		reach, err := c.allowReach(ctx, spec)
		if err != nil {
			return nil, err
		}
		after = append(after, reach)
	}
	for _, e := range spec.Uses {
		after = append(after, e.Resource())
	}
	for _, f := range spec.RestartOn {
		after = append(after, f.Resource)
	}
	for _, m := range spec.Mounts {
		switch {
		case m.Folder != nil:
			after = append(after, m.Folder.Resource())
		case m.Media != nil:
			after = append(after, m.Media.Resource())
		case m.Downloads != nil:
			after = append(after, m.Downloads.Resource())
		}
	}
	c.resource, err = docker.NewContainer(ctx, name, args, spec.Host.Docker(), pulumi.Parent(c), pulumi.DependsOn(after),
		// A container's name and ports can be held once, so the old one goes first.
		pulumi.DeleteBeforeReplace(true),
		// The provider reports a change of these as an update and then sends nothing to Docker (of
		// mounts, as long as there are as many as before), and it would not wait again for one that
		// never became healthy.
		pulumi.ReplaceOnChanges([]string{"healthcheck", "init", "mounts", "#initerror"}),
		// They carry digests of files that may be secret, and the provider returns them as plain
		// text.
		pulumi.AdditionalSecretOutputs([]string{"labels"}))
	if err != nil {
		return nil, fmt.Errorf("running container %s: %w", name, err)
	}
	if c.healthy, err = c.waitUntilHealthy(ctx, spec, as); err != nil {
		return nil, err
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"containerId": c.resource.ID()})
}

// waitUntilHealthy is the gate before everything that needs the container. Docker's provider waits,
// too, but only when it makes the container, and a refresh clears its mark of one that never became
// healthy: from then on it would count as fine. The gate exists only once the container was
// healthy, and is made anew with each new container.
//
// What is behind a tunnel binds the tunnel's gate, so that is waited for, too.
func (c *Container) waitUntilHealthy(ctx *pulumi.Context, spec *Spec, as role) (pulumi.Resource, error) {
	command := []string{"sh", "-s", "--", c.name, strconv.Itoa(spec.Health.seconds())}
	if as.tunnel {
		command = append(command, host.TunnelGate(c.name))
	}
	return spec.Host.Run(ctx, c.name+"-healthy", host.Action{
		Command:  command,
		Stdin:    pulumi.String(healthyScript),
		Triggers: []pulumi.StringOutput{c.resource.ID().ToStringOutput()},
	}, pulumi.Parent(c), pulumi.DependsOn([]pulumi.Resource{c.resource}))
}

func (c *Container) image(ctx *pulumi.Context, spec *Spec) (pulumi.StringOutput, error) {
	if spec.Built != nil {
		return spec.Built.name, nil
	}
	image, err := docker.NewRemoteImage(ctx, c.name, &docker.RemoteImageArgs{
		Name:        pulumi.String(spec.Image.Reference()),
		KeepLocally: pulumi.Bool(true), // a failed update must find the old image again
		Triggers:    pulumi.StringMap{labelMachine: spec.Host.Machine()},
	}, spec.Host.Docker(), pulumi.Parent(c))
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("pulling the image of %s: %w", c.name, err)
	}
	return image.ImageId, nil
}

func arguments(name string, spec *Spec, image pulumi.StringOutput) *docker.ContainerArgs {
	grace := int(orDefault(spec.StopGrace, 30*time.Second).Seconds())
	memory := pulumi.Int(spec.MemoryMiB)
	capabilities := slices.Sorted(slices.Values(spec.Capabilities))
	out := &docker.ContainerArgs{
		Name:            pulumi.String(name),
		Image:           image,
		User:            pulumi.String(spec.User),
		Entrypoints:     optional(spec.Entrypoint),
		Command:         optional(spec.Command),
		Envs:            pulumi.ToStringArray(spec.envs()),
		Labels:          labels(spec),
		Memory:          memory,
		MemorySwap:      memory, // equal to memory: no swap
		ReadOnly:        pulumi.Bool(spec.WritableReason == ""),
		Privileged:      pulumi.Bool(false),
		PublishAllPorts: pulumi.Bool(false),
		Init:            pulumi.Bool(true),
		Capabilities:    &docker.ContainerCapabilitiesArgs{Drops: pulumi.ToStringArray([]string{"ALL"}), Adds: optional(capabilities)},
		SecurityOpts:    pulumi.ToStringArray([]string{"no-new-privileges"}),
		// Docker writes the daemon's defaults into each container, and the provider takes what it
		// reads there for the container's own: undeclared, every preview would replace all
		// containers.
		LogDriver:           pulumi.String(host.LogDriver),
		LogOpts:             pulumi.ToStringMap(host.LogOptions()),
		Restart:             pulumi.String("unless-stopped"),
		MustRun:             pulumi.Bool(true),
		Mounts:              mounts(spec),
		NetworksAdvanced:    networks(spec),
		Ports:               docker.ContainerPortArray{},
		Devices:             optionalDevices(spec.Devices),
		Hosts:               optionalHosts(spec.Hosts),
		Healthcheck:         healthcheck(spec.Health),
		Wait:                pulumi.Bool(true),
		WaitTimeout:         pulumi.Int(spec.Health.seconds()),
		StopTimeout:         pulumi.Int(grace),
		DestroyGraceSeconds: pulumi.Int(grace), // unset means: kill at once
	}
	if spec.Behind != nil {
		// By its ID: another tunnel is another container, and what was behind the old one goes with it.
		out.NetworkMode = pulumi.Sprintf("container:%s", spec.Behind.container.resource.ID())
	} else {
		out.Dns = pulumi.ToStringArray(host.Resolvers())
	}
	return out
}

func optionalDevices(devices []Device) docker.ContainerDeviceArrayInput {
	if len(devices) == 0 {
		return nil
	}
	out := docker.ContainerDeviceArray{}
	for _, d := range devices {
		out = append(out, &docker.ContainerDeviceArgs{
			HostPath: pulumi.String(d.path), ContainerPath: pulumi.String(d.path), Permissions: pulumi.String("rw"),
		})
	}
	return out
}

func optionalHosts(hosts map[string]netip.Addr) docker.ContainerHostArrayInput {
	if len(hosts) == 0 {
		return nil
	}
	out := docker.ContainerHostArray{}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		out = append(out, &docker.ContainerHostArgs{Host: pulumi.String(name), Ip: pulumi.String(hosts[name].String())})
	}
	return out
}

func optional(values []string) pulumi.StringArrayInput {
	if len(values) == 0 {
		return nil
	}
	return pulumi.ToStringArray(values)
}

func labels(spec *Spec) docker.ContainerLabelArray {
	out := docker.ContainerLabelArray{}
	if len(spec.RestartOn) > 0 {
		digests := make([]any, 0, len(spec.RestartOn))
		for _, f := range spec.RestartOn {
			digests = append(digests, f.Digest)
		}
		config := pulumi.All(digests...).ApplyT(func(all []any) string {
			short := make([]string, 0, len(all))
			for _, digest := range all {
				short = append(short, digest.(string)[:16])
			}
			return strings.Join(short, ".")
		}).(pulumi.StringOutput)
		out = append(out, &docker.ContainerLabelArgs{Label: pulumi.String(labelConfig), Value: config})
	}
	return append(out,
		&docker.ContainerLabelArgs{Label: pulumi.String(labelMachine), Value: spec.Host.Machine()},
		&docker.ContainerLabelArgs{Label: pulumi.String(labelMetrics), Value: pulumi.String(spec.Metrics.label())})
}

func mounts(spec *Spec) docker.ContainerMountArray {
	out := docker.ContainerMountArray{}
	// Docker does not make a missing source of a mount of this kind: the start fails.
	for _, gate := range spec.gates() {
		out = append(out, &docker.ContainerMountArgs{Type: pulumi.String("bind"), Source: pulumi.String(gate), Target: pulumi.String(gate), ReadOnly: pulumi.Bool(true)})
	}
	for _, v := range spec.Views {
		out = append(out, &docker.ContainerMountArgs{Type: pulumi.String("bind"), Source: pulumi.String(v.path), Target: pulumi.String(v.target), ReadOnly: pulumi.Bool(true)})
	}
	for _, m := range spec.Mounts {
		mount := &docker.ContainerMountArgs{
			Type: pulumi.String("bind"), Source: pulumi.String(m.source()), Target: pulumi.String(m.Target), ReadOnly: pulumi.Bool(m.ReadOnly || m.File != nil),
		}
		if m.Media != nil {
			mount.BindOptions = &docker.ContainerMountBindOptionsArgs{Propagation: pulumi.String("rslave")}
		}
		out = append(out, mount)
	}
	// As mounts, not in the field tmpfs, whose changes the provider ignores.
	for _, target := range slices.Sorted(maps.Keys(spec.Scratch)) {
		out = append(out, &docker.ContainerMountArgs{
			Type: pulumi.String("tmpfs"), Target: pulumi.String(target),
			TmpfsOptions: &docker.ContainerMountTmpfsOptionsArgs{SizeBytes: pulumi.Int(spec.Scratch[target] << 20), Mode: pulumi.Int(0o1777)},
		})
	}
	return out
}

func networks(spec *Spec) docker.ContainerNetworksAdvancedArray {
	out := docker.ContainerNetworksAdvancedArray{}
	for _, n := range spec.Networks {
		address, err := n.address(spec.Slot)
		if err != nil {
			continue // Validate has refused it
		}
		out = append(out, &docker.ContainerNetworksAdvancedArgs{Name: n.resource.Name, Ipv4Address: pulumi.String(address.String())})
	}
	return out
}

func healthcheck(h Health) *docker.ContainerHealthcheckArgs {
	return &docker.ContainerHealthcheckArgs{
		Tests:       pulumi.ToStringArray(append([]string{"CMD"}, h.Command...)),
		Interval:    pulumi.String(h.interval().String()),
		Timeout:     pulumi.String(h.timeout().String()),
		Retries:     pulumi.Int(h.retries()),
		StartPeriod: pulumi.String(h.startPeriod().String()),
	}
}

// Resource is what to depend on: it exists once the container is healthy.
func (c *Container) Resource() pulumi.Resource { return c.healthy }

// ID is the container's ID; another one is a new container.
func (c *Container) ID() pulumi.StringOutput { return c.resource.ID().ToStringOutput() }

// Endpoint is one of its TCP ports.
func (c *Container) Endpoint(port int) Endpoint { return Endpoint{container: c, port: port} }

// MetricsOn is where its metrics are scraped through a network; it reports false for a container
// that has none.
func (c *Container) MetricsOn(n *Network) (Endpoint, bool, error) {
	if c.metrics.port == 0 {
		return Endpoint{}, false, nil
	}
	endpoint, err := c.Endpoint(c.metrics.port).Through(n)
	return endpoint, err == nil, err
}

// Name is the container's name, by which others on its networks find it.
func (c *Container) Name() string { return c.name }
