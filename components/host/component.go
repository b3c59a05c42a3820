// Package host owns the machine: its addresses, the firewall it is born behind, its first boot, and
// the only two ways by which the program touches it afterwards, both over the tailnet and both with
// the host key pinned: files and Docker.
package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi-docker/sdk/v4/go/docker"
	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/edge"
	"homelab/components/internal/apply"
	"homelab/components/internal/validate"
	"homelab/components/tailnet"
)

// Type is the component's type token.
const Type = "homelab:host:Host"

// Args describes the machine.
type Args struct {
	// Shield gives Cloudflare's ranges, the only ones the firewall lets reach HTTPS.
	Shield *edge.Shield
	// Tailnet gives the key by which the machine joins.
	Tailnet *tailnet.Tailnet
	// ServerType, Location and Image are Hetzner's names. A new image or location is a new machine.
	ServerType, Location, Image string
	// Generation counts the machines: another number is a new one, from scratch, with the same
	// addresses.
	Generation int
	// Timezone is an IANA name.
	Timezone string
	// HTTPSPort is the TCP port of both listeners of the proxy.
	HTTPSPort int
	// SSHPort is the TCP port of sshd, reachable only while BreakGlass is set.
	SSHPort int
	// TailscalePort is the UDP port of Tailscale's direct connections.
	TailscalePort int
	// Networks are the ranges of the stack's container networks, which Docker must not give to
	// others.
	Networks []netip.Prefix
	// BreakGlass opens SSH to one range; nil keeps it shut.
	BreakGlass *BreakGlass
	// Protect keeps the machine and its addresses from any delete or replace.
	Protect bool
}

// Validate reports every problem of the arguments.
func (a *Args) Validate() error {
	p := validate.Of("host")
	p.Merge(a.Shield.Ready())
	p.Merge(a.Tailnet.Ready())
	p.Require(a.ServerType != "" && a.Location != "" && a.Image != "", "server type, location and image are needed")
	p.Require(a.Generation > 0, "generation %d is not a count", a.Generation)
	p.Require(a.Timezone != "", "no timezone")
	for _, port := range []int{a.HTTPSPort, a.SSHPort, a.TailscalePort} {
		p.Require(port > 0 && port < 1<<16, "port %d is out of range", port)
	}
	p.Require(a.HTTPSPort != a.SSHPort, "HTTPS and SSH share TCP port %d", a.HTTPSPort)
	if _, err := dockerPool(a.Networks); err != nil {
		p.Merge(err)
	}
	if b := a.BreakGlass; b != nil {
		p.Require(b.CIDR.IsValid() && b.CIDR.Bits() > 0, "break glass must name a range smaller than the internet, not %s", b.CIDR)
		p.Require(b.Reason != "", "break glass needs a reason")
	}
	return p.Err()
}

// Host is the machine behind its firewall, booted, checked and reachable over the tailnet. Only New
// makes a usable one.
type Host struct {
	pulumi.ResourceState

	server      *hcloud.Server
	ready       *remote.Command
	docker      *docker.Provider
	publicIPv4  pulumi.StringOutput
	tailnetIPv4 pulumi.StringOutput
	hostKey     pulumi.StringOutput
	recoveryKey pulumi.StringOutput
	httpsPort   int
	protected   bool
	guards      []pulumi.Resource
	gatekeeper  pulumi.Resource
	inventory   inventory
	// closed exists once the packet filter drops what containers send; proof is the program that
	// tries it.
	closed pulumi.Resource
	proof  *Written
	// state is the folder of what starts, watches and measures.
	state *Folder
}

// New makes the machine and waits until it says that it is ready.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Host, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	h := &Host{httpsPort: args.HTTPSPort, protected: args.Protect}
	inputs := pulumi.Map{"serverType": pulumi.String(args.ServerType), "location": pulumi.String(args.Location), "image": pulumi.String(args.Image)}
	if err := ctx.RegisterComponentResourceV2(Type, name, inputs, h, opts...); err != nil {
		return nil, fmt.Errorf("registering host %s: %w", name, err)
	}
	if err := h.machine(ctx, name, args); err != nil {
		return nil, err
	}
	h.tailnetIPv4 = h.waitUntilOnTailnet(ctx)
	if err := h.waitUntilReady(ctx, name); err != nil {
		return nil, err
	}
	if err := h.dockerProvider(ctx, name); err != nil {
		return nil, err
	}
	if err := h.fillPacketFilter(ctx, name, args.Shield.Ranges()); err != nil {
		return nil, err
	}
	if err := h.showState(ctx, name); err != nil {
		return nil, err
	}
	return h, ctx.RegisterResourceOutputs(h, pulumi.Map{"publicIpv4": h.publicIPv4, "tailnetIpv4": h.tailnetIPv4, "hostKey": h.hostKey})
}

// machine makes the server and everything that must exist before its first packet.
func (h *Host) machine(ctx *pulumi.Context, name string, args *Args) error {
	child := pulumi.Parent(h)
	// Everything that only one build of the machine may use hangs on its generation: its name (a
	// stale node of the same name would shadow the new one in the tailnet) and the key by which it
	// joins (which can be used once).
	generation, err := random.NewRandomId(ctx, name+"-generation", &random.RandomIdArgs{
		ByteLength: pulumi.Int(3),
		Keepers: pulumi.StringMap{
			"generation": pulumi.String(strconv.Itoa(args.Generation)), "image": pulumi.String(args.Image), "location": pulumi.String(args.Location),
		},
	}, child)
	if err != nil {
		return fmt.Errorf("naming the generation of the server: %w", err)
	}
	hostname := pulumi.Sprintf("%s-%s", name, generation.Hex)
	ed25519 := &tls.PrivateKeyArgs{Algorithm: pulumi.String("ED25519")}
	hostKey, err := tls.NewPrivateKey(ctx, name+"-host-key", ed25519, child)
	if err != nil {
		return fmt.Errorf("making the SSH host key: %w", err)
	}
	h.hostKey = authorizedKey(hostKey.PublicKeyOpenssh)
	recoveryKey, err := tls.NewPrivateKey(ctx, name+"-recovery-key", ed25519, child)
	if err != nil {
		return fmt.Errorf("making the recovery key: %w", err)
	}
	h.recoveryKey = recoveryKey.PrivateKeyOpenssh
	// A server without any key gets a root password by mail.
	sshKey, err := hcloud.NewSshKey(ctx, name+"-recovery-key", &hcloud.SshKeyArgs{Name: hostname, PublicKey: authorizedKey(recoveryKey.PublicKeyOpenssh)}, child)
	if err != nil {
		return fmt.Errorf("registering the recovery key: %w", err)
	}
	nodeKey, err := args.Tailnet.NodeKey(ctx, name+"-node-key", generation.Hex)
	if err != nil {
		return err
	}
	userData := pulumi.ToSecret(pulumi.All(hostname, hostKey.PrivateKeyOpenssh, h.hostKey, authorizedKey(recoveryKey.PublicKeyOpenssh), nodeKey).
		ApplyT(func(v []any) (string, error) {
			return renderCloudInit(bootValues{
				Hostname: v[0].(string), Timezone: args.Timezone, HTTPSPort: args.HTTPSPort, SSHPort: args.SSHPort,
				TailscalePort: args.TailscalePort, Networks: args.Networks,
				HostPrivateKey: v[1].(string), HostPublicKey: v[2].(string), RecoveryKey: v[3].(string), NodeKey: v[4].(string),
			})
		})).(pulumi.StringOutput)
	firewall, err := hcloud.NewFirewall(ctx, name+"-firewall", &hcloud.FirewallArgs{
		Name:  pulumi.String(name),
		Rules: firewallRules(args, args.Shield.Ranges()),
	}, child)
	if err != nil {
		return fmt.Errorf("making the firewall: %w", err)
	}
	nets, err := h.addresses(ctx, name, args)
	if err != nil {
		return err
	}
	h.server, err = hcloud.NewServer(ctx, name, &hcloud.ServerArgs{
		Name:        hostname,
		ServerType:  pulumi.String(args.ServerType),
		Location:    pulumi.String(args.Location),
		Image:       pulumi.String(args.Image),
		UserData:    userData,
		SshKeys:     pulumi.StringArray{sshKey.ID().ToStringOutput()},
		PublicNets:  nets,
		FirewallIds: pulumi.IntArray{apply.Int(firewall.ID())}, // at creation: there is no moment without it
		// Hetzner refuses one without the other.
		DeleteProtection:       pulumi.Bool(args.Protect),
		RebuildProtection:      pulumi.Bool(args.Protect),
		ShutdownBeforeDeletion: pulumi.Bool(true),
	}, child,
		pulumi.Protect(args.Protect),
		// A new first boot is wanted only together with a new machine; the addresses can belong to
		// one machine at a time.
		pulumi.IgnoreChanges([]string{"userData", "sshKeys"}), pulumi.DeleteBeforeReplace(true),
		// The provider returns a digest of it as plain text.
		pulumi.AdditionalSecretOutputs([]string{"userData"}),
		// A new generation is a new machine, even where Hetzner would only rename the old one.
		pulumi.ReplacementTrigger(generation.Hex),
		pulumi.DependsOn(args.Tailnet.Guards()))
	if err != nil {
		return fmt.Errorf("making the server: %w", err)
	}
	h.guards = append(h.guards, firewall, h.server)
	return nil
}

// addresses outlive the machine: DNS points at the same ones after a rebuild. They belong to a
// location, though: in another one the new ones are made first, under names of their own, and the
// old ones go last, when the new machine no longer needs them to be gone.
func (h *Host) addresses(ctx *pulumi.Context, name string, args *Args) (hcloud.ServerPublicNetArray, error) {
	var ids [2]pulumi.IntOutput
	for i, family := range []string{"ipv4", "ipv6"} {
		ip, err := hcloud.NewPrimaryIp(ctx, name+"-"+family, &hcloud.PrimaryIpArgs{
			Name:             pulumi.Sprintf("%s-%s-%s", name, family, args.Location),
			Type:             pulumi.String(family),
			Location:         pulumi.String(args.Location),
			AutoDelete:       pulumi.Bool(false),
			DeleteProtection: pulumi.Bool(args.Protect),
		}, pulumi.Parent(h), pulumi.Protect(args.Protect), pulumi.DeleteBeforeReplace(false))
		if err != nil {
			return nil, fmt.Errorf("reserving the %s address: %w", family, err)
		}
		if family == "ipv4" {
			h.publicIPv4 = ip.IpAddress
		}
		ids[i] = apply.Int(ip.ID())
	}
	return hcloud.ServerPublicNetArray{&hcloud.ServerPublicNetArgs{
		Ipv4Enabled: pulumi.Bool(true), Ipv4: ids[0], Ipv6Enabled: pulumi.Bool(true), Ipv6: ids[1],
	}}, nil
}

// waitUntilOnTailnet waits until the server joins the tailnet and returns its IPv4 address there.
// The server's ID is part of the question, so nothing is asked before the server exists.
func (h *Host) waitUntilOnTailnet(ctx *pulumi.Context) pulumi.StringOutput {
	hostname := pulumi.All(h.server.ID(), h.server.Name).ApplyT(func(v []any) string { return v[1].(string) }).(pulumi.StringOutput)
	device := tailscale(ctx, hostname, h)
	return device.ApplyT(func(addresses []string) (string, error) { return firstIPv4(addresses) }).(pulumi.StringOutput)
}

// waitUntilReady is the gate before everything that is done on the machine.
func (h *Host) waitUntilReady(ctx *pulumi.Context, name string) error {
	ready, err := remote.NewCommand(ctx, name+"-ready", &remote.CommandArgs{
		Connection: h.connection(),
		Create:     pulumi.String("/usr/local/sbin/homelab-ready"),
		Triggers:   pulumi.Array{h.server.ID()},

		AddPreviousOutputInEnv: pulumi.Bool(false),
	}, pulumi.Parent(h), pulumi.DependsOn([]pulumi.Resource{h.server}))
	if err != nil {
		return fmt.Errorf("waiting for the server: %w", err)
	}
	h.ready = ready
	h.guards = append(h.guards, ready)
	return nil
}

func (h *Host) dockerProvider(ctx *pulumi.Context, name string) error {
	provider, err := docker.NewProvider(ctx, name+"-docker", &docker.ProviderArgs{
		Host:    pulumi.Sprintf("ssh://%s@%s", tailnet.DeployUser, h.tailnetIPv4),
		SshOpts: sshOptions(h.hostKey),
	}, pulumi.Parent(h), pulumi.DependsOn([]pulumi.Resource{h.ready}))
	if err != nil {
		return fmt.Errorf("connecting to Docker: %w", err)
	}
	h.docker = provider
	return nil
}

// Ready reports a Host that New did not make.
func (h *Host) Ready() error {
	if h == nil || h.docker == nil {
		return errors.New("no host: pass the value that host.New returned")
	}
	return nil
}

// Docker is the option that every resource of the machine's Docker engine needs: its provider.
func (h *Host) Docker() pulumi.ResourceOption {
	return pulumi.Composite(pulumi.Provider(h.docker), h.deletedWithServer())
}

// deletedWithServer returns the option that deletes a resource on the machine together with the
// machine, unless that is protected: nothing is removed from a disk that is about to be erased, and
// a machine that no longer answers can be replaced. The option names the machine's readiness check,
// which exists once per machine, because the engine does not find the server itself among what a
// replacement deletes.
//
// A protected machine stays when a destroy arrives at it. If what runs on it counted as gone by
// then, the next deployment would meet its names.
func (h *Host) deletedWithServer() pulumi.ResourceOption {
	if h.protected {
		return pulumi.Composite()
	}
	return pulumi.DeletedWith(h.ready)
}

// Machine tells this machine from the one before. What Docker makes on it carries the value in a
// property that cannot change in place: so a new machine gets it anew. Replacing Docker's provider
// with the machine would do the same, until a deployment fails half way: the next one could not
// find the provider of what was still to come.
func (h *Host) Machine() pulumi.StringOutput { return h.server.ID().ToStringOutput() }

// GoneBefore is the option of what must be gone before anything else is when the machine is
// replaced, and come back after everything else: hostnames. They depend on the machine only through
// the chain, by which the engine would leave them where they are.
func (h *Host) GoneBefore() pulumi.ResourceOption {
	return pulumi.ReplaceWith([]pulumi.Resource{h.server})
}

// PublicIPv4 is the address the internet sees.
func (h *Host) PublicIPv4() pulumi.StringOutput { return h.publicIPv4 }

// TailnetIPv4 is the address the tailnet sees.
func (h *Host) TailnetIPv4() pulumi.StringOutput { return h.tailnetIPv4 }

// HostKey is the public SSH host key, as a line of authorized_keys: what a client must see when it
// connects.
func (h *Host) HostKey() pulumi.StringOutput { return h.hostKey }

// RecoveryKey is the private key, a secret, that sshd accepts when the tailnet is gone and the
// glass was broken.
func (h *Host) RecoveryKey() pulumi.StringOutput { return h.recoveryKey }

// Guards are the resources that must exist before a hostname points at the machine.
func (h *Host) Guards() []pulumi.Resource { return slices.Clone(h.guards) }
