// Package lab is the whole rehearsal: virtual machines, the internet around them with Cloudflare in
// it, their tailnet and their storage boxes, behind the methods of rehearsal.Service. What a state folder keeps is there
// again when it is opened the next time.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"homelab/internal/machine/internal/authority"
	"homelab/internal/machine/internal/boxes"
	"homelab/internal/machine/internal/disk"
	"homelab/internal/machine/internal/edge"
	"homelab/internal/machine/internal/engine"
	"homelab/internal/machine/internal/link"
	"homelab/internal/machine/internal/tailnet"
	"homelab/internal/machine/internal/vpn"
	"homelab/internal/rehearsal"
	"homelab/internal/substitutes"
)

// Options describe a rehearsal. State and Cache are required.
type Options struct {
	// State is the folder that keeps machines and boxes. Only its owner may enter it: it holds the
	// secrets of the deployment.
	State string
	// Cache is the folder of what all rehearsals share: base disks, packages, keys.
	Cache string
	// Domain is the tailnet's name. Default tail1234.ts.net.
	Domain string
	// Operator is the tailnet's login of the person who deploys. Default admin@example.com.
	Operator string
	// MaxCPUs and MaxMemoryMB bound what a machine is given, whatever its type has. Default 2 and
	// 4096.
	MaxCPUs, MaxMemoryMB int
	// Offline asks nobody on the real internet, neither mirror nor registry: the cache and Images must
	// do.
	Offline bool
	// Images is a folder of container images, which machines have in the place of registries. nil:
	// there is none.
	Images *substitutes.Folder
	// Progress gets lines about what takes time. Default: nobody.
	Progress io.Writer
}

// Addresses of the internet that are the rehearsal's own, out of the ranges for documentation. The
// simulated cloud gives servers those of the other ranges.
var (
	debianAddress    = netip.MustParseAddr("203.0.113.10")
	vendorsAddress   = netip.MustParseAddr("203.0.113.11")
	tailscaleAddress = netip.MustParseAddr("203.0.113.12")
	receiversAddress = netip.MustParseAddr("203.0.113.13")
	vpnAddress       = netip.MustParseAddr("203.0.113.14")
	acmeAddress      = netip.MustParseAddr("203.0.113.15")
	operatorAddress  = netip.MustParseAddr("203.0.113.200")
	operatorAddress6 = netip.MustParseAddr("2001:db8:ffff::200") // the next ones are rehearsal.Visitor's
	firstBox         = netip.MustParseAddr("203.0.113.64")
	firstBox6        = netip.MustParseAddr("2001:db8:ffff::64")
)

// Lab is a rehearsal that runs. Its methods may be called at the same time.
type Lab struct {
	options   Options
	ctx       context.Context // ends with Close, and QEMU with it
	stop      context.CancelFunc
	authority *authority.Authority
	network   *link.Network
	boxes     *boxes.Server
	vpn       *vpn.Server
	engine    *engine.Engine
	laptop    lines
	edge      *edge.Edge

	// zoning orders what the zone is told.
	zoning sync.Mutex

	preparing sync.Mutex
	image     *disk.Image // nil until the first machine needs it

	joining sync.Mutex
	tailnet *tailnet.Tailnet // nil until somebody needs it

	probing sync.Mutex
	probe   *probing // nil while nothing is probed

	mu       sync.Mutex
	machines map[string]*machine
	saved    saved
	bootedBy time.Time // by when each machine that was switched on should answer
}

var _ rehearsal.Service = (*Lab)(nil)

// saved is what the state folder keeps beside disks and boxes.
type saved struct {
	Servers []rehearsal.SavedServer `json:"servers"`
	Boxes   []savedBox              `json:"boxes"`
	Zone    *rehearsal.Zone         `json:"zone,omitempty"`
	Told    *edge.Told              `json:"told,omitempty"` // to Cloudflare's API
}

type savedBox struct {
	Box rehearsal.Box `json:"box"`
	// Place is its number among the boxes, from which its addresses follow.
	Place int `json:"place"`
}

// Names in the state folder.
const (
	boxesDir   = "boxes"
	tailnetDir = "tailnet"
)

// Open opens a rehearsal. Machines that ran when it was last closed are switched on again.
func Open(ctx context.Context, options Options) (_ *Lab, err error) {
	if options.State == "" || options.Cache == "" {
		return nil, errors.New("a rehearsal needs a state folder and a cache folder")
	}
	options = options.withDefaults()
	l := &Lab{options: options, machines: map[string]*machine{}}
	l.ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close(ctx, false))
		}
	}()
	if err := os.MkdirAll(rehearsal.MachineDir(options.State, ""), 0o700); err != nil {
		return nil, err
	}
	if l.authority, err = authority.OfCache(options.Cache); err != nil {
		return nil, err
	}
	if l.network, err = link.New(link.Options{Outbound: internet(options.Offline)}); err != nil {
		return nil, fmt.Errorf("starting the network: %w", err)
	}
	if l.boxes, err = l.openBoxes(); err != nil {
		return nil, err
	}
	if err := l.openVPN(); err != nil {
		return nil, err
	}
	if err := l.openEdge(); err != nil {
		return nil, err
	}
	engines := engine.Options{Dial: l.dialFromHere, Offline: options.Offline, Slowness: l.slowness}
	if options.Images != nil {
		engines.Images, engines.Load = l.fromFolder, l.loadFromShelf
	}
	l.engine = engine.New(engines)
	if err := l.load(); err != nil {
		return nil, err
	}
	return l, l.resume(ctx)
}

func (o Options) withDefaults() Options {
	if o.Domain == "" {
		o.Domain = "tail1234.ts.net"
	}
	if o.Operator == "" {
		o.Operator = "admin@example.com"
	}
	if o.MaxCPUs == 0 {
		o.MaxCPUs = 2
	}
	if o.MaxMemoryMB == 0 {
		o.MaxMemoryMB = 4096
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// say tells of what takes time.
func (l *Lab) say(format string, args ...any) {
	_, _ = fmt.Fprintf(l.options.Progress, format+"\n", args...) // who follows may have gone
}

// load reads what the folder keeps.
func (l *Lab) load() error {
	text, err := os.ReadFile(filepath.Join(l.options.State, rehearsal.StateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &l.saved)
	}
	if err != nil {
		return fmt.Errorf("reading the rehearsal's state: %w", err)
	}
	return nil
}

// resume puts everything back that was there: the zone, boxes, and the machines that ran.
func (l *Lab) resume(ctx context.Context) error {
	if l.saved.Told != nil {
		if err := l.publish(&edge.Told{}, l.saved.Told); err != nil {
			return err
		}
		l.edge.Recall(*l.saved.Told)
	}
	if l.saved.Zone != nil {
		if err := l.applyZone(*l.saved.Zone); err != nil {
			return err
		}
	}
	for _, b := range l.saved.Boxes {
		if err := l.applyBox(b); err != nil {
			return err
		}
	}
	for _, s := range slices.Clone(l.saved.Servers) {
		m := l.newMachine(s.Server)
		if err := l.network.SetFirewall(s.Server.ID, linkRules(s.Server.Firewall)); err != nil {
			return err
		}
		if !s.Running {
			continue
		}
		// It looks for its control server as soon as it runs.
		if _, err := l.joined(ctx); err != nil {
			return err
		}
		if err := l.switchOn(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// save writes what the folder keeps, in one step. The caller holds l.mu.
func (l *Lab) save() error {
	l.saved.Servers = nil
	for _, m := range l.machines {
		l.saved.Servers = append(l.saved.Servers, rehearsal.SavedServer{Server: m.server, Running: m.wanted})
	}
	slices.SortFunc(l.saved.Servers, func(a, b rehearsal.SavedServer) int { return strings.Compare(a.Server.ID, b.Server.ID) })
	text, err := json.MarshalIndent(l.saved, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(l.options.State, rehearsal.StateFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("writing the rehearsal's state: %w", err)
	}
	return os.Rename(path+".new", path)
}

// Grace is how long a machine has to shut down before its power is cut.
const Grace = 60 * time.Second

// Close ends everything. Gracefully, machines shut down first; else their power is cut. What runs
// now runs again when the folder is opened the next time.
func (l *Lab) Close(ctx context.Context, graceful bool) error {
	ended := l.endProbe()
	l.mu.Lock()
	var all []*machine
	for _, m := range l.machines {
		all = append(all, m)
	}
	l.mu.Unlock()
	var off sync.WaitGroup
	for _, m := range all {
		off.Go(func() { _ = l.off(ctx, m, graceful) }) // what does not go off ends with the context below
	}
	off.Wait()
	l.stop()
	problems := []error{ended}
	l.joining.Lock()
	defer l.joining.Unlock()
	if l.tailnet != nil {
		problems = append(problems, l.tailnet.Close())
	}
	if l.boxes != nil {
		problems = append(problems, l.boxes.Close())
	}
	if l.vpn != nil {
		problems = append(problems, l.vpn.Close())
	}
	if l.edge != nil {
		problems = append(problems, l.edge.Close())
	}
	if l.network != nil {
		problems = append(problems, l.network.Close())
	}
	return errors.Join(problems...)
}
