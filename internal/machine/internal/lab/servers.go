package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"homelab/internal/machine/internal/link"
	"homelab/internal/machine/internal/qemu"
	"homelab/internal/rehearsal"
)

// machine is a server of the cloud.
type machine struct {
	// power is held while the machine is switched on or off.
	power sync.Mutex

	// The rest is guarded by Lab.mu.
	server rehearsal.Server
	now    powered // the last time that it was switched on
	// wanted: it is on, or goes on again when the rehearsal does.
	wanted bool
}

// powered is a machine that was switched on.
type powered struct {
	vm    *qemu.Machine
	shelf *shelf        // its disk of archives; nil where it has none
	ended chan struct{} // closed when it is off
}

// on reports whether it is on still.
func (p powered) on() bool {
	if p.vm == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// present is a machine's server and power now.
func (l *Lab) present(m *machine) (rehearsal.Server, powered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return m.server, m.now
}

func (l *Lab) folder(id string) string { return rehearsal.MachineDir(l.options.State, id) }

func (l *Lab) newMachine(server rehearsal.Server) *machine {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &machine{server: server}
	l.machines[server.ID] = m
	return m
}

func (l *Lab) machine(id string) (*machine, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.machines[id]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("there is no machine %q", id)
}

// update changes what is known of a machine, and saves it.
func (l *Lab) update(change func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	return l.save()
}

// Boot implements rehearsal.Service.
func (l *Lab) Boot(ctx context.Context, server rehearsal.Server) error {
	if _, err := strconv.ParseUint(server.ID, 10, 48); err != nil {
		return fmt.Errorf("%q is no server's ID", server.ID)
	}
	if server.Image != "debian-13" {
		return fmt.Errorf("the rehearsal has no image %s, only debian-13", server.Image)
	}
	if _, err := l.machine(server.ID); err == nil {
		return fmt.Errorf("machine %s is there already", server.ID)
	}
	m := l.newMachine(server)
	// The firewall is there before the cable is.
	if err := errors.Join(l.update(func() {}), l.network.SetFirewall(server.ID, linkRules(server.Firewall))); err != nil {
		return err
	}
	image, err := l.prepare(ctx)
	if err != nil {
		return err
	}
	if _, err := l.joined(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(l.folder(server.ID), 0o700); err != nil {
		return err
	}
	if err := image.Overlay(ctx, rehearsal.Disk(l.options.State, server.ID), server.DiskGB); err != nil {
		return err
	}
	return l.switchOn(ctx, m)
}

// switchOn starts a machine that is off.
func (l *Lab) switchOn(ctx context.Context, m *machine) error {
	m.power.Lock()
	defer m.power.Unlock()
	image, err := l.prepare(ctx)
	if err != nil {
		return err
	}
	server, before := l.present(m)
	if before.on() {
		return nil
	}
	dir := l.folder(server.ID)
	shelf, err := l.shelfFor(server.ID)
	if err != nil {
		return err
	}
	console, err := os.OpenFile(filepath.Join(dir, "console.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	place := l.place(server)
	l.say("switching machine %s on (%s)", server.ID, server.Name)
	// The machine outlives the call that switches it on.
	config := qemu.Config{
		Dir: dir, Disk: rehearsal.Disk(l.options.State, server.ID), Server: server.ID, Kernel: image.Kernel, Initrd: image.Initrd, Append: image.Append,
		CPUs: min(server.CPUs, l.options.MaxCPUs), MemoryMB: min(server.MemoryMB, l.options.MaxMemoryMB), MAC: place.MAC,
		Console: console, Progress: l.options.Progress,
		Link: func(cable net.Conn) {
			if err := l.network.Attach(cable, place); err != nil && !errors.Is(err, net.ErrClosed) {
				l.say("the cable of machine %s: %v", server.ID, err)
			}
		},
	}
	if shelf != nil {
		config.Archives = shelf.path
	}
	vm, err := qemu.Start(l.ctx, config)
	if err != nil {
		return errors.Join(err, console.Close(), shelf.remove())
	}
	now := powered{vm, shelf, make(chan struct{})}
	go func() {
		if err := vm.Wait(); err != nil {
			l.say("machine %s has ended: %v", server.ID, err)
		}
		_ = console.Close()
		_ = shelf.remove() // it takes space, and nothing else
		close(now.ended)
	}()
	return l.update(func() {
		m.now, m.wanted = now, true
		l.bootedBy = time.Now().Add(bootPatience)
	})
}

// emulated is how many times as long an emulated machine takes; docs/rehearsal.md has the figure.
const emulated = 10

// slowness is how many times as long as a rented machine the slowest one takes that is on.
func (l *Lab) slowness() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.machines {
		if m.now.on() && m.now.vm.Acceleration() == qemu.TCG {
			return emulated
		}
	}
	return 1
}

// place is a server's on the network.
func (l *Lab) place(s rehearsal.Server) link.Machine {
	number, _ := strconv.ParseUint(s.ID, 10, 48) // Boot has checked it
	out := link.Machine{
		ID: s.ID, MAC: net.HardwareAddr{0x96, 0, byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)}, IPv4: s.IPv4,
		Metadata: link.Metadata{
			Hostname: s.Name, UserData: []byte(s.UserData), AvailabilityZone: s.Location + "-dc1", Region: "eu-central", PublicKeys: s.SSHKeys,
		},
	}
	if s.IPv6.IsValid() {
		out.IPv6 = s.IPv6.Masked()
	}
	return out
}

// off switches a machine off: gracefully as long as Grace lasts, and then by the plug.
func (l *Lab) off(ctx context.Context, m *machine, graceful bool) error {
	m.power.Lock()
	defer m.power.Unlock()
	_, now := l.present(m)
	if !now.on() {
		return nil
	}
	if graceful {
		within, cancel := context.WithTimeout(ctx, Grace)
		defer cancel()
		if err := now.vm.Shutdown(within); err == nil || errors.Is(err, qemu.ErrOff) {
			<-now.ended
			return nil
		}
	}
	if err := now.vm.Cut(); err != nil && !errors.Is(err, qemu.ErrOff) {
		return err
	}
	<-now.ended
	return nil
}

// Change implements rehearsal.Service. The disk stays as big as it was.
func (l *Lab) Change(ctx context.Context, server rehearsal.Server) error {
	m, err := l.machine(server.ID)
	if err != nil {
		return err
	}
	l.mu.Lock()
	on := m.wanted
	l.mu.Unlock()
	if err := l.off(ctx, m, true); err != nil {
		return err
	}
	err = l.update(func() {
		server.Firewall = m.server.Firewall
		m.server = server
	})
	if err != nil || !on {
		return err
	}
	return l.switchOn(ctx, m)
}

// Delete implements rehearsal.Service.
func (l *Lab) Delete(ctx context.Context, id string, graceful bool) error {
	m, err := l.machine(id)
	if err != nil {
		return nil // it is gone
	}
	if err := l.off(ctx, m, graceful); err != nil {
		return err
	}
	l.network.Forget(id)
	if err := os.RemoveAll(l.folder(id)); err != nil {
		return fmt.Errorf("removing the disk of machine %s: %w", id, err)
	}
	return l.update(func() { delete(l.machines, id) })
}

// SetFirewall implements rehearsal.Service.
func (l *Lab) SetFirewall(_ context.Context, id string, rules []rehearsal.Rule) error {
	m, err := l.machine(id)
	if err != nil {
		return err
	}
	if err := l.network.SetFirewall(id, linkRules(rules)); err != nil {
		return err
	}
	return l.update(func() { m.server.Firewall = rules })
}

// linkRules are rules as the network has them.
func linkRules(in []rehearsal.Rule) []link.Rule {
	out := []link.Rule{}
	for _, r := range in {
		if r.Protocol != "any" {
			out = append(out, link.Rule{Protocol: r.Protocol, First: r.First, Last: r.Last, Sources: r.Sources})
			continue
		}
		for _, p := range []string{"tcp", "udp"} {
			out = append(out, link.Rule{Protocol: p, First: 1, Last: 65535, Sources: r.Sources})
		}
		for _, p := range []string{"icmp", "esp", "gre"} {
			out = append(out, link.Rule{Protocol: p, Sources: r.Sources})
		}
	}
	return out
}

// Machines implements rehearsal.Service.
func (l *Lab) Machines(context.Context) ([]rehearsal.Machine, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []rehearsal.Machine{}
	for id, m := range l.machines {
		out = append(out, rehearsal.Machine{ID: id, Name: m.server.Name, Running: m.now.on(), IPv4: m.server.IPv4, IPv6: m.server.IPv6})
	}
	slices.SortFunc(out, func(a, b rehearsal.Machine) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// SetPower implements rehearsal.Service.
func (l *Lab) SetPower(ctx context.Context, id string, action rehearsal.Action) error {
	m, err := l.machine(id)
	if err != nil {
		return err
	}
	switch action {
	case rehearsal.SwitchOn:
		return l.switchOn(ctx, m)
	case rehearsal.CutPower, rehearsal.ShutDown:
		if err := l.off(ctx, m, action == rehearsal.ShutDown); err != nil {
			return err
		}
		return l.update(func() { m.wanted = false })
	case rehearsal.Restart:
		if err := l.off(ctx, m, true); err != nil {
			return err
		}
		return l.switchOn(ctx, m)
	}
	return fmt.Errorf("a machine knows nothing of %q", action)
}

// Console implements rehearsal.Service.
func (l *Lab) Console(ctx context.Context, id string, follow bool) (io.ReadCloser, error) {
	if _, err := l.machine(id); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(l.folder(id), "console.log"))
	if err != nil {
		return nil, err
	}
	if !follow {
		return f, nil
	}
	return &follower{ctx: ctx, File: f}, nil
}

// follower reads a file on and on.
type follower struct {
	*os.File

	ctx context.Context
}

// Read implements io.Reader: at the end of the file it waits for more.
func (f *follower) Read(p []byte) (int, error) {
	for {
		n, err := f.File.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		select {
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// inside reports whether an address is that of a machine: it is in Hetzner's network.
func (l *Lab) inside(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.machines {
		if m.server.IPv4 == a || m.server.IPv6.IsValid() && m.server.IPv6.Masked().Contains(a) {
			return true
		}
	}
	return false
}
