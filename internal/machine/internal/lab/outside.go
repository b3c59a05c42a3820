package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"homelab/internal/machine/internal/disk"
	"homelab/internal/machine/internal/link"
	"homelab/internal/machine/internal/programs"
	"homelab/internal/machine/internal/sources"
	"homelab/internal/machine/internal/tailnet"
	"homelab/internal/rehearsal"
)

// prepare makes what the first machine needs: its base disk, and the servers that it installs from.
// The first time ever that takes minutes.
func (l *Lab) prepare(ctx context.Context) (disk.Image, error) {
	l.preparing.Lock()
	defer l.preparing.Unlock()
	if l.image != nil {
		return *l.image, nil
	}
	l.say("looking for the base disk, and for the packages of a first boot")
	keys, err := sources.OpenKeys(filepath.Join(l.options.Cache, "keys"))
	if err != nil {
		return disk.Image{}, err
	}
	client, err := programs.Tailscale(ctx, l.options.Progress)
	if err != nil {
		return disk.Image{}, err
	}
	image, err := disk.Base(ctx, disk.Options{
		Cache: filepath.Join(l.options.Cache, "disks"), Files: keys.Files(l.authority.PEM()), Substitutes: sources.DockerPackages(),
		Offline: l.options.Offline, Progress: l.options.Progress,
	})
	if err != nil {
		return disk.Image{}, err
	}
	vendors, err := sources.New(keys, client, image.Packages)
	if err != nil {
		return disk.Image{}, err
	}
	told := &receivers{path: filepath.Join(l.options.State, rehearsal.ReceivedFile)}
	for _, site := range []link.Site{
		told.site(l),
		{Hosts: sources.Hosts(), Addresses: []netip.Addr{vendorsAddress}, Handler: vendors, Authority: l.authority},
		{
			Hosts: []string{sources.DebianHost}, Addresses: []netip.Addr{debianAddress}, Plain: true,
			Handler: &sources.Debian{Folder: filepath.Join(l.options.Cache, "debian"), Offline: l.options.Offline},
		},
	} {
		if _, err := l.network.Serve(site); err != nil { // it ends with the network
			return disk.Image{}, err
		}
	}
	l.image = &image
	return image, nil
}

// joined is the tailnet, which starts when it is first needed; this computer is in it then.
func (l *Lab) joined(ctx context.Context) (*tailnet.Tailnet, error) {
	l.joining.Lock()
	defer l.joining.Unlock()
	if l.tailnet != nil {
		return l.tailnet, nil
	}
	l.say("starting the tailnet %s", l.options.Domain)
	t, err := tailnet.Start(ctx, tailnet.Options{
		Dir: filepath.Join(l.options.State, tailnetDir), Network: l.network, IPv4: tailscaleAddress, Certificate: l.authority.Issue,
		Domain: l.options.Domain, Operator: l.options.Operator,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the tailnet: %w", err)
	}
	l.tailnet = t
	return t, nil
}

// SetPolicy implements rehearsal.Service.
func (l *Lab) SetPolicy(ctx context.Context, policy string) error {
	t, err := l.joined(ctx)
	if err != nil {
		return err
	}
	if policy == "" {
		policy = defaultPolicy
	}
	return t.SetPolicy(ctx, []byte(policy))
}

// defaultPolicy is that of a new tailnet: everything may reach everything.
const defaultPolicy = `{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`

// MakeKey implements rehearsal.Service.
func (l *Lab) MakeKey(ctx context.Context, key rehearsal.Key) (rehearsal.MadeKey, error) {
	t, err := l.joined(ctx)
	if err != nil {
		return rehearsal.MadeKey{}, err
	}
	made, err := t.AuthKey(ctx, tailnet.KeyOptions{Tags: key.Tags, Reusable: key.Reusable, Ephemeral: key.Ephemeral, Expiry: key.Expiry})
	if err != nil {
		return rehearsal.MadeKey{}, err
	}
	return rehearsal.MadeKey{ID: strconv.FormatUint(made.ID, 10), Secret: made.Secret}, nil
}

// DeleteKey implements rehearsal.Service.
func (l *Lab) DeleteKey(ctx context.Context, id string) error {
	number, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is no key of the tailnet", id)
	}
	t, err := l.joined(ctx)
	if err != nil {
		return err
	}
	return t.RevokeKey(ctx, number)
}

// Devices implements rehearsal.Service. A node is the machine whose hostname it has.
func (l *Lab) Devices(ctx context.Context) ([]rehearsal.Device, error) {
	t, err := l.joined(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := t.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := []rehearsal.Device{}
	for _, n := range nodes {
		id := strconv.FormatUint(n.ID, 10)
		out = append(out, rehearsal.Device{
			ID: id, NodeID: id, Name: n.Name, Hostname: n.Hostname, Addresses: n.Addresses, Tags: n.Tags, User: n.User, Authorized: true,
			Online: n.Online, Machine: l.named(n), Created: n.Created, LastSeen: n.LastSeen,
		})
	}
	return out, nil
}

// named is the ID of the machine that a node is; empty for everybody else's computer.
func (l *Lab) named(n tailnet.Node) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, m := range l.machines {
		if len(n.Tags) > 0 && strings.EqualFold(m.server.Name, n.Hostname) {
			return id
		}
	}
	return ""
}

// Docker implements rehearsal.Service.
func (l *Lab) Docker(ctx context.Context, call rehearsal.DockerCall) (rehearsal.DockerResult, error) {
	return l.engine.Docker(ctx, call)
}

// Dial implements rehearsal.Service.
func (l *Lab) Dial(ctx context.Context, target rehearsal.Target) (net.Conn, error) {
	host, port, err := net.SplitHostPort(target.Address)
	if err != nil {
		return nil, err
	}
	address, err := netip.ParseAddr(host)
	isTailnet := err != nil || rehearsal.InTailnet(address)
	if target.Origin == rehearsal.FromTailnet && isTailnet {
		t, err := l.joined(ctx)
		if err != nil {
			return nil, err
		}
		return l.laptop.dial(ctx, func(ctx context.Context) (net.Conn, error) { return t.Dial(ctx, target.Network, target.Address) })
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no address, and names are not asked for from the internet", host)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is no port", port)
	}
	from := target.From
	switch {
	case from.IsValid():
	case address.Is4():
		from = operatorAddress
	default:
		from = operatorAddress6
	}
	return l.network.Dial(ctx, target.Network, from, netip.AddrPortFrom(address, uint16(number)))
}

const (
	// bootPatience is how long a machine may take until it answers: emulated, and beside other work,
	// it needs some minutes.
	bootPatience = 10 * time.Minute
	bootPoll     = 2 * time.Second
)

// dialFromHere dials as this computer. The command that switches a machine on does not fail because
// it is faster than the machine, which Docker's provider would: it never asks twice.
func (l *Lab) dialFromHere(ctx context.Context, address string) (net.Conn, error) {
	booting := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return time.Now().Before(l.bootedBy) && !l.laptop.isCut()
	}
	return dialWhile(ctx, booting, func() (net.Conn, error) {
		return l.Dial(ctx, rehearsal.Target{Origin: rehearsal.FromTailnet, Network: "tcp", Address: address})
	})
}

// dialWhile dials again and again while a machine may still be booting.
func dialWhile(ctx context.Context, booting func() bool, dial func() (net.Conn, error)) (net.Conn, error) {
	for {
		conn, err := dial()
		if err == nil || !booting() {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(bootPoll):
		}
	}
}
