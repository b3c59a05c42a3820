package host

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/internet"
	"homelab/components/internal/validate"
)

// firewallFolder is the folder whose files the packet filter of the first boot includes, in
// alphabetical order.
const firewallFolder = Root + "/firewall"

const (
	// containersFile makes the tables that the other files add to, so it is the first of the
	// folder.
	containersFile = "00-containers.nft"
	// proofProgram tries with real packets whether the filter drops them.
	proofProgram = firewallFolder + "/homelab-filter-proof"
)

// metadata is the address of Hetzner's metadata service. It answers everybody on the machine,
// without a login, and gives out the user data of the first boot.
const metadata = "169.254.169.254"

// Edge is a TCP port of one container that another may connect to.
type Edge struct {
	// From and To are their addresses in a network that both are on.
	From, To netip.Addr
	// Port is the TCP port.
	Port int
}

// Protocol is a transport protocol, as the packet filter calls it.
type Protocol string

// The protocols that a tunnel may use.
const (
	UDP Protocol = "udp"
	TCP Protocol = "tcp"
)

// TunnelWay is the way of a VPN tunnel's container to its VPN server.
type TunnelWay struct {
	// From is the container's own address, a private IPv4 address.
	From netip.Addr
	// To is the VPN server's public IPv4 address.
	To netip.Addr
	// Protocol is what the tunnel's packets are, UDP or TCP.
	Protocol Protocol
	// Port is the VPN server's port.
	Port int
}

// Reach is what a container may open connections to. Everything else is dropped.
type Reach struct {
	// Container is the container's name.
	Container string
	// Edges are ports of other containers.
	Edges []Edge
	// Internet are its own addresses from which it may reach public addresses; empty means none.
	Internet []netip.Addr
	// Tunnel are the only packets of a VPN tunnel's container that leave the machine. Nothing else of
	// it does: not before the tunnel's program has rules of its own, not after it crashed, and no
	// question for a name. So a container with a Tunnel may have no Internet.
	Tunnel []TunnelWay
}

// Resolvers are Hetzner's name servers (docs.hetzner.com/dns-console/dns/general/recursive-name-servers),
// which every container is given. Servers that a container is given itself are asked from its own
// network, so that the filter decides. Those of the machine's resolv.conf Docker asks from the
// machine's, from version 28 on always: a container without a way out would have one, by name
// (moby, libnetwork/internal/resolvconf and libnetwork/resolver.go).
func Resolvers() []string { return []string{"185.12.64.1", "185.12.64.2"} }

var containerName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// Validate returns everything wrong with the reach, or nil.
func (r Reach) Validate() error {
	p := validate.Of("reach of " + r.Container)
	p.Require(containerName.MatchString(r.Container), "%q is not the name of a container", r.Container)
	for _, e := range r.Edges {
		p.Require(private(e.From) && private(e.To), "the edge from %s to %s is not between private IPv4 addresses", e.From, e.To)
		p.Require(e.From != e.To, "the edge from %s to %s leads nowhere", e.From, e.To)
		p.Require(e.Port > 0 && e.Port < 1<<16, "%d is not a port", e.Port)
	}
	for _, a := range r.Internet {
		p.Require(private(a), "%s is not a private IPv4 address", a)
	}
	for _, w := range r.Tunnel {
		p.Require(private(w.From), "the tunnel's own address %s is not a private IPv4 address", w.From)
		p.Require(internet.Public(w.To), "the VPN server's address %s is not a public IPv4 address", w.To)
		p.Require(w.Protocol == UDP || w.Protocol == TCP, "%q is not the protocol of a tunnel: %s or %s", string(w.Protocol), UDP, TCP)
		p.Require(w.Port > 0 && w.Port < 1<<16, "%d is not a port", w.Port)
	}
	p.Require(len(r.Tunnel) == 0 || len(r.Internet) == 0, "a tunnel's container reaches its VPN server only, not the internet")
	return p.Err()
}

// reachFile is the name of the file with a container's reach. No container's name makes it the name
// of another file of the folder.
func reachFile(container string) string { return "container-" + container + ".nft" }

func private(a netip.Addr) bool { return a.Is4() && a.IsPrivate() }

// renderContainers writes the tables in which everything between containers is dropped.
func renderContainers() (string, error) {
	return renderFilter("containers.nft.tmpl", struct {
		Closed   []string
		Metadata string
	}{internet.Closed(), metadata})
}

// Render writes what a container may reach, as elements of the tables' sets.
func (r Reach) Render() (string, error) {
	if err := r.Validate(); err != nil {
		return "", err
	}
	r.Edges, r.Internet, r.Tunnel = slices.Clone(r.Edges), slices.Clone(r.Internet), slices.Clone(r.Tunnel)
	slices.SortFunc(r.Edges, func(a, b Edge) int {
		return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.Port, b.Port))
	})
	r.Edges = slices.Compact(r.Edges)
	slices.SortFunc(r.Internet, netip.Addr.Compare)
	slices.SortFunc(r.Tunnel, func(a, b TunnelWay) int {
		return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	r.Tunnel = slices.Compact(r.Tunnel)
	return renderFilter("reach.nft.tmpl", r)
}

func renderFilter(name string, model any) (string, error) {
	var out bytes.Buffer
	if err := filterTemplates.ExecuteTemplate(&out, name, model); err != nil {
		return "", fmt.Errorf("rendering %s: %w", name, err)
	}
	return out.String(), nil
}

// AllowReach lets a container reach what r says, and nothing else, from before it starts until it
// is gone: what starts the container depends on the resource that is returned. The file is written
// and the filter loaded in one step, and the step's undoing removes the file and loads again, so
// that the filter never allows what is not in the graph. A change of r is loaded in place and
// restarts nothing.
func (h *Host) AllowReach(ctx *pulumi.Context, name string, r Reach, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	content, err := r.Render()
	if err != nil {
		return nil, err
	}
	const load = "sudo -n /usr/local/sbin/homelab-unit firewall"
	file := path.Join(firewallFolder, reachFile(r.Container))
	command, err := remote.NewCommand(ctx, name, &remote.CommandArgs{
		Connection: h.connection(),
		Create:     pulumi.Sprintf("sudo -n /usr/local/sbin/homelab-file put 0400 root:root %s && %s", file, load),
		Delete:     pulumi.Sprintf("sudo -n /usr/local/sbin/homelab-file remove %s && %s", file, load),
		Stdin:      pulumi.String(content),
		// Another file is another resource: the old one is removed with it.
		Triggers:               pulumi.Array{h.server.ID(), pulumi.String(file)},
		AddPreviousOutputInEnv: pulumi.Bool(false),
	}, append(h.onMachine(opts), pulumi.DeleteBeforeReplace(true), pulumi.DependsOn([]pulumi.Resource{h.closed}))...)
	if err != nil {
		return nil, fmt.Errorf("letting %s reach what it uses: %w", r.Container, err)
	}
	return command, nil
}

// closeContainers makes the tables in which every packet from a container is dropped that no reach
// allows. It returns the program that proves it.
func (h *Host) closeContainers(ctx *pulumi.Context, name string, folder *Folder) error {
	child := pulumi.Parent(h)
	content, err := renderContainers()
	if err != nil {
		return err
	}
	written, err := folder.Write(ctx, name+"-containers-filter", containersFile, 0o400, pulumi.String(content), child)
	if err != nil {
		return err
	}
	h.closed, err = h.Run(ctx, name+"-containers-filter-loaded", Action{
		Command:  []string{"sudo", "-n", "/usr/local/sbin/homelab-unit", "firewall"},
		Triggers: []pulumi.StringOutput{written.Digest},
	}, child, pulumi.DependsOn([]pulumi.Resource{written.Resource}))
	if err != nil {
		return err
	}
	program, err := files.ReadFile("files/homelab-filter-proof")
	if err != nil {
		return fmt.Errorf("reading the embedded homelab-filter-proof: %w", err)
	}
	h.proof, err = folder.Write(ctx, name+"-homelab-filter-proof", path.Base(proofProgram), 0o755, pulumi.String(program), child)
	if err != nil {
		return err
	}
	h.guards = append(h.guards, h.closed)
	return nil
}
