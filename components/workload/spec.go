package workload

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/containerrules"
	"homelab/components/internal/validate"
)

// Spec is all that can be said of a container. What is not here cannot be had: published ports,
// privileges, host namespaces, an image without a digest.
type Spec struct {
	// Host is the machine.
	Host *host.Host
	// Image is what runs; exactly one of Image and Built is set.
	Image images.Image
	// Built is an image that was built on the machine from this repository.
	Built *Built
	// User is uid:gid in numbers. 0:0 needs RootReason.
	User string
	// RootReason says why the program must start as root; it still has no capability that is not
	// listed.
	RootReason string
	// Networks are those that it is on; at least one, unless it is behind a tunnel. A network alone
	// lets it reach nobody. A way out leads through the first, whose name must come before those of
	// the others that are not internal: Docker takes the default route through that one.
	Networks []*Network
	// Behind is the VPN tunnel whose network is its only one. It has none of its own then, no slot,
	// no uses and no way out: whatever it sends goes through the tunnel, or nowhere.
	Behind *VPNTunnel
	// Slot is its number in the range of each of its networks, and so its address there, which does
	// not move when others come or go. No two containers of a network have the same. 16 to 31 are
	// the gateway's and the monitoring's, 32 to 63 those of the catalogue's services, the rest the
	// operator's. The numbers below stay free, because Docker gave them to the containers of
	// version 0.1.0, which had no fixed ones.
	Slot int
	// Uses are what it may open connections to. Each must be healthy before it starts, and be on
	// one of its networks.
	Uses []Endpoint
	// WayOut is what it may reach beside them; the zero value is nothing.
	WayOut WayOut
	// Mounts are folders of the machine, in order.
	Mounts []Mount
	// Scratch are folders in memory, by path, in MiB.
	Scratch map[string]int
	// WritableReason says why the root file system must be writable; empty keeps it read-only.
	WritableReason string
	// Env is visible to everybody who can inspect containers: file names and switches, never
	// secrets.
	Env map[string]string
	// Entrypoint replaces the image's own, and its default arguments; empty keeps both.
	Entrypoint []string
	// Command replaces the image's default arguments; empty keeps them.
	Command []string
	// MemoryMiB is the limit, in MiB; there is no swap beyond it.
	MemoryMiB int
	// Capabilities are added after all were dropped, as CAP_NAME.
	Capabilities []string
	// Devices are the machine's devices inside it, each with its reason.
	Devices []Device
	// Views are parts of the machine that it reads, each with its reason.
	Views []View
	// Hosts are addresses that it finds by other names than those of containers, as a line of
	// /etc/hosts does. They let it reach nothing: Uses does.
	Hosts map[string]netip.Addr
	// Health is how the engine knows that it works.
	Health Health
	// Metrics is where they are, or why there are none.
	Metrics Metrics
	// StopGrace is how long it may take to stop; the default is 30 s.
	StopGrace time.Duration
	// RestartOn are the files that are read only at start: a change of one replaces the container.
	RestartOn []*host.Written
	// Stage is its turn at a boot; empty means with the services, after the gateway.
	Stage host.Stage
	// After are further resources that must exist before it starts.
	After []pulumi.Resource
}

// Mount is a folder or a file of the machine inside the container.
type Mount struct {
	// Folder is the folder on the machine; exactly one of Folder, File, Media and Downloads is set.
	Folder *host.Folder
	// Media is the library on the Storage Box, below Target. It must be read-only unless the
	// container runs as host.MediaOwner. It follows the machine's mount: one that comes again after
	// it failed appears inside the running container.
	Media *host.Media
	// Downloads is the downloads' disk, with its folders below Target. It must be read-only unless
	// the container runs as the owner of these, and what is written there is workload.Disposable.
	Downloads *host.Downloads
	// File is one file, always read-only, and only one that is also in RestartOn: a file that is
	// replaced on the machine stays the old one inside a running container.
	File *host.Written
	// Target is the absolute path inside.
	Target string
	// ReadOnly keeps the container from writing to the folder.
	ReadOnly bool
	// Keeps says what the container writes into the folder; needed unless the mount is read-only.
	Keeps Contents
}

func (m Mount) source() string {
	switch {
	case m.File != nil:
		return m.File.Path
	case m.Media != nil:
		return m.Media.Parent()
	case m.Downloads != nil:
		return m.Downloads.Path()
	}
	return m.Folder.Path()
}

func (m Mount) validate(p *validate.Problems, user string, restartOn []*host.Written) {
	p.Require(path.IsAbs(m.Target) && path.Clean(m.Target) == m.Target, "mount target %q is not a clean absolute path", m.Target)
	kinds := 0
	for _, is := range []bool{m.File != nil, m.Folder != nil, m.Media != nil, m.Downloads != nil} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		p.Add("mount %s: more than one of a file, a folder, the media and the downloads", m.Target)
	case m.Downloads != nil:
		p.Merge(m.Downloads.Ready())
		p.Require(m.ReadOnly || user == m.Downloads.Owner(), "mount %s: only a container that runs as the downloads' owner may write to them", m.Target)
	case m.Media != nil:
		p.Merge(m.Media.Ready())
		p.Require(m.ReadOnly || user == host.MediaOwner, "mount %s: only a container that runs as the library's owner may write to it", m.Target)
	case m.File != nil:
		p.Require(slices.Contains(restartOn, m.File), "mount %s: a mounted file must also be in RestartOn, or its changes never arrive", m.Target)
	default:
		p.Merge(m.Folder.Ready())
	}
	m.Keeps.validate(p, m)
}

// Health is a command inside the container that succeeds only when the program does its work.
type Health struct {
	// Command is the program and its arguments, without a shell.
	Command []string
	// Interval between two checks; the default is 10 s.
	Interval time.Duration
	// Timeout of one check; the default is 5 s.
	Timeout time.Duration
	// Retries before it counts as unhealthy; the default is 6.
	Retries int
	// StartPeriod in which failures do not count; the default is 30 s.
	StartPeriod time.Duration
}

func (h Health) interval() time.Duration    { return orDefault(h.Interval, 10*time.Second) }
func (h Health) timeout() time.Duration     { return orDefault(h.Timeout, 5*time.Second) }
func (h Health) retries() int               { return orDefault(h.Retries, 6) }
func (h Health) startPeriod() time.Duration { return orDefault(h.StartPeriod, 30*time.Second) }

// seconds is how long a deployment waits for the first success: until Docker itself has called the
// container unhealthy, however slow each check was, and one check more.
func (h Health) seconds() int {
	return int(math.Ceil((h.startPeriod() + time.Duration(h.retries()+1)*(h.interval()+h.timeout())).Seconds()))
}

// provesNothing are programs whose success says nothing about the service.
var provesNothing = []string{"echo", "exit", "pgrep", "pidof", "ping", "true"}

func (h Health) validate(p *validate.Problems) {
	if len(h.Command) == 0 || h.Command[0] == "" {
		p.Add("no health check: give a command that fails when the service does")
		return
	}
	p.Require(!slices.Contains(provesNothing, path.Base(h.Command[0])), "health check %q proves nothing about the service", strings.Join(h.Command, " "))
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Metrics is where a service's metrics are, made by Scrape, or why it has none, made by NoMetrics.
// The zero value is refused.
type Metrics struct {
	port   int
	path   string
	reason string
}

// Scrape says that Prometheus finds metrics at this port and path.
func Scrape(port int, path string) Metrics { return Metrics{port: port, path: path} }

// NoMetrics says why a service has none.
func NoMetrics(reason string) Metrics { return Metrics{reason: reason} }

// Port is the TCP port, 0 for none.
func (m Metrics) Port() int { return m.port }

// Path is the path of the URL.
func (m Metrics) Path() string { return m.path }

// Reason says why there are none.
func (m Metrics) Reason() string { return m.reason }

func (m Metrics) validate(p *validate.Problems) {
	switch {
	case m.port > 0 && m.port < 1<<16 && strings.HasPrefix(m.path, "/"), m.port == 0 && m.reason != "":
	default:
		p.Add("no metrics: use workload.Scrape, or workload.NoMetrics with the reason")
	}
}

func (m Metrics) label() string {
	if m.port == 0 {
		return "none: " + m.reason
	}
	return fmt.Sprintf("%d%s", m.port, m.path)
}

var (
	numericUser = regexp.MustCompile(`^[0-9]+:[0-9]+$`)
	capability  = regexp.MustCompile(`^CAP_[A-Z_]+$`)
)

// forbidden capabilities are root on the machine by another name.
var forbidden = []string{"CAP_ALL", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO"}

// Validate reports every problem of the container called name.
func (s *Spec) Validate(name string) error {
	p := validate.Of("container " + name)
	p.Merge(s.Host.Ready())
	switch {
	case s.Built != nil && s.Image != images.Image{}:
		p.Add("both an image and a built one")
	case s.Built != nil:
		p.Merge(s.Built.ready())
	default:
		p.Merge(s.Image.Validate())
	}
	p.Require(numericUser.MatchString(s.User), "user %q must be uid:gid in numbers", s.User)
	p.Require(!strings.HasPrefix(s.User, "0:") || s.RootReason != "", "it runs as root without a reason")
	if s.Behind != nil {
		p.Merge(s.Behind.Ready())
		p.Require(len(s.Networks) == 0 && s.Slot == 0 && len(s.Uses) == 0 && s.WayOut == WayOut{},
			"it is behind a tunnel, so it has no network, slot, uses or way out of its own")
	} else {
		p.Require(len(s.Networks) > 0, "no network")
	}
	for i, n := range s.Networks {
		if s.WayOut == (WayOut{}) || i == 0 || n.Ready() != nil || n.internal || s.Networks[0].Ready() != nil {
			continue
		}
		p.Require(s.Networks[0].name < n.name, "its way out is through %s, but its default route through %s", s.Networks[0].name, n.name)
	}
	for _, n := range s.Networks {
		if err := n.Ready(); err != nil {
			p.Merge(err)
		} else if _, err := n.address(s.Slot); err != nil {
			p.Merge(err)
		}
	}
	p.Merge(s.validateUses(name))
	for _, m := range s.Mounts {
		m.validate(p, s.User, s.RestartOn)
	}
	for key := range s.Env {
		p.Require(!containerrules.SecretVariable.MatchString(key), "environment variable %s would show a secret to whoever can inspect containers: give it in a file", key)
	}
	p.Require(s.MemoryMiB > 0, "no memory limit")
	p.Require(s.stage().Valid(), "there is no stage %q", s.Stage)
	for _, c := range s.Capabilities {
		p.Require(capability.MatchString(c), "capability %q is not written CAP_NAME", c)
		p.Require(!slices.Contains(forbidden, c), "capability %s is root on the machine by another name", c)
	}
	for _, d := range s.Devices {
		d.validate(p)
	}
	for _, v := range s.Views {
		v.validate(p)
	}
	for name, address := range s.Hosts {
		p.Require(name != "" && address.Is4(), "the host %q has no IPv4 address", name)
	}
	s.Health.validate(p)
	s.Metrics.validate(p)
	return p.Err()
}

func (s *Spec) stage() host.Stage { return orDefault(s.Stage, host.StageServices) }

// gates are the folders without which it must not start.
func (s *Spec) gates() []string {
	out := []string{s.stage().Gate()}
	for _, m := range s.Mounts {
		if m.Media != nil {
			out = append(out, m.Media.Gate())
		}
		if m.Downloads != nil {
			out = append(out, m.Downloads.Gate())
		}
	}
	if s.Behind != nil {
		out = append(out, host.TunnelGate(s.Behind.container.name))
	}
	return out
}

func (s *Spec) envs() []string {
	out := make([]string, 0, len(s.Env))
	for _, key := range slices.Sorted(maps.Keys(s.Env)) {
		out = append(out, key+"="+s.Env[key])
	}
	return out
}

// Endpoint is a port of a running, healthy container. Only Container.Endpoint makes a usable one.
type Endpoint struct {
	container *Container
	port      int
	through   *Network        // nil: the container's first
	once      pulumi.Resource // nil: as soon as the container is healthy
}

// Ready reports an Endpoint that no Container made.
func (e Endpoint) Ready() error {
	if e.container == nil || e.port <= 0 || e.port >= 1<<16 {
		return errors.New("no endpoint: only workload.Container.Endpoint makes one")
	}
	return nil
}

// Address is host:port on the container networks. What is behind a tunnel answers at the tunnel's.
func (e Endpoint) Address() string { return fmt.Sprintf("%s:%d", e.reached().name, e.port) }

// reached is the container whose addresses are the endpoint's.
func (e Endpoint) reached() *Container {
	if tunnel := e.container.behind; tunnel != nil {
		return tunnel.container
	}
	return e.container
}

// Network is where it is reached: the first network of its container, or of the tunnel that this is
// behind, unless Through says another.
func (e Endpoint) Network() *Network {
	if e.through != nil {
		return e.through
	}
	return e.reached().networks[0]
}

// On reports whether it can be reached from one of these networks.
func (e Endpoint) On(networks []*Network) bool {
	return slices.ContainsFunc(networks, func(n *Network) bool { return slices.Contains(e.reached().networks, n) })
}

// Through returns the same endpoint, reached through another network of its container.
func (e Endpoint) Through(n *Network) (Endpoint, error) {
	if err := errors.Join(e.Ready(), n.Ready()); err != nil {
		return Endpoint{}, err
	}
	if !slices.Contains(e.reached().networks, n) {
		return Endpoint{}, fmt.Errorf("%s is not on network %s", e.Address(), n.name)
	}
	e.through = n
	return e, nil
}

// Once returns the same endpoint for a container that may be reached only when something more
// exists than the healthy container.
func (e Endpoint) Once(r pulumi.Resource) Endpoint {
	e.once = r
	return e
}

// Resource is what to depend on: it exists once the container is healthy and may be reached.
func (e Endpoint) Resource() pulumi.Resource {
	if e.once != nil {
		return e.once
	}
	return e.container.healthy
}
