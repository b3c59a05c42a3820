//go:build linux

// Package lab is the deployed machine in namespaces: its containers as processes, its networks as
// bridges, and the visitors around it.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"homelab/tests/chain/internal/box"
	"homelab/tests/chain/internal/deployed"
	"homelab/tests/chain/internal/echo"
	"homelab/tests/chain/internal/programs"
	"homelab/tests/internal/netns"
)

// Containers of the deployment: real programs in the order in which they start, and services that
// echo, with their ports.
var (
	real     = []string{"crowdsec", "authelia-store", "authelia", "caddy"}
	services = map[string]int{"jellyfin": 8096, "jellyseerr": 5055, "radarr": 7878}
)

// Lab is the machine.
type Lab struct {
	// Deployment is where its files came from.
	Deployment *deployed.Deployment
	// Programs are what runs.
	Programs *programs.Set

	folder     string
	machine    *netns.Namespace
	links      int
	bridges    map[string]bool
	containers map[string]*container
}

type container struct {
	*deployed.Container
	network *netns.Namespace
	box     *box.Box
	log     *os.File
	service *echo.Service
	starts  int
	program string // in the place of the image's, if not empty
	further *programs.Program
	routed  bool // it has its default route
}

// Start builds the machine in a temporary folder and starts every container, each healthy before
// the next.
func Start(ctx context.Context, changes map[string]any, edit func(*deployed.Deployment) error, progress io.Writer) (_ *Lab, err error) {
	l := &Lab{bridges: map[string]bool{}, containers: map[string]*container{}}
	if l.folder, err = os.MkdirTemp("", "homelab-chain-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	// The boxes' users must get through to what is theirs.
	if err := os.Chmod(l.folder, 0o755); err != nil {
		return nil, err
	}
	if l.Programs, err = programs.Find(ctx, l.folder, progress); err != nil {
		return nil, err
	}
	if l.Deployment, err = deployed.Up(ctx, filepath.Join(l.folder, "machine"), changes, progress); err != nil {
		return nil, err
	}
	if err := edit(l.Deployment); err != nil {
		return nil, err
	}
	if err := l.wire(); err != nil {
		return nil, err
	}
	for name := range services {
		if err := l.StartService(name); err != nil {
			return nil, err
		}
	}
	for _, name := range real {
		if err := l.StartContainer(ctx, name); err != nil {
			return nil, err
		}
	}
	return l, l.Inspecting(ctx)
}

// Inspecting waits until AppSec listens: the engine's health check passes before that, and the
// proxy refuses every request meanwhile.
func (l *Lab) Inspecting(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := l.Inside("caddy").DialContext(ctx, "tcp", l.Address("crowdsec", 7422))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for AppSec: %w\n%s", err, l.Log("crowdsec"))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// wire makes the machine's networks and puts every container into its own.
func (l *Lab) wire() (err error) {
	if l.machine, err = netns.New("machine"); err != nil {
		return err
	}
	if err := l.machine.Forward(); err != nil {
		return fmt.Errorf("letting the machine forward packets: %w", err)
	}
	for _, name := range slices.Concat(real, slices.Sorted(maps.Keys(services))) {
		c := &container{}
		if c.Container, err = l.Deployment.Container(name); err != nil {
			return err
		}
		if c.network, err = netns.New(name); err != nil {
			return err
		}
		if err := asDocker(c.network); err != nil {
			return err
		}
		l.containers[name] = c
		for _, n := range c.Networks {
			if err := l.join(c, n); err != nil {
				return err
			}
		}
	}
	return errors.Join(l.filter(), l.writeHosts())
}

// filter loads the deployment's packet filter of the container networks, so that the chain works
// with the edges of its graph and nothing else.
func (l *Lab) filter() error {
	files, err := filepath.Glob(l.Deployment.Path("/opt/homelab/firewall") + "/*.nft")
	if err != nil || len(files) < len(l.containers) {
		return fmt.Errorf("reading the packet filter: %d files: %w", len(files), err)
	}
	slices.Sort(files)
	var rules strings.Builder
	for _, file := range files {
		if filepath.Base(file) == "cloudflare.nft" {
			continue // for the published ports, which are not translated here
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rules.Write(content)
	}
	// Visitors come straight to the proxy's own ports: on a real machine Docker translates the
	// published ones to these.
	proxy := l.containers["caddy"]
	for _, n := range proxy.Networks {
		for _, p := range proxy.Published {
			fmt.Fprintf(&rules, "insert rule inet homelab_containers to_container ip daddr %s tcp dport %d accept\n", n.Address.Addr(), p)
		}
	}
	return l.machine.Run(strings.NewReader(rules.String()), "nft", "--file", "-")
}

func (l *Lab) join(c *container, n deployed.Network) error {
	bridge := "br-" + fmt.Sprint(len(n.Name)) + n.Name // as the packet filter expects it
	bridge = bridge[:min(len(bridge), 15)]
	if !l.bridges[bridge] {
		address := ""
		if !n.Internal {
			address = netip.PrefixFrom(n.Gateway, n.Address.Bits()).String()
		}
		if err := l.machine.Switch(bridge, address); err != nil {
			return err
		}
		l.bridges[bridge] = true
	}
	l.links++
	inner, outer := fmt.Sprintf("e%d", l.links), fmt.Sprintf("v%d", l.links)
	steps := []error{
		netns.Connect(c.network, inner, l.machine, outer),
		l.machine.IP("link set " + outer + " master " + bridge + " up"),
		c.network.IP("address add " + n.Address.String() + " dev " + inner),
		c.network.IP("link set " + inner + " up"),
	}
	// Docker's default route is one, too: through the first network that has a way out.
	if !n.Internal && !c.routed {
		c.routed = true
		steps = append(steps, c.network.IP("route add default via "+n.Gateway.String()))
	}
	return errors.Join(steps...)
}

// Outside is a network beyond the machine with one computer in it, from which every published port
// of the machine can be reached.
func (l *Lab) Outside(name string, address netip.Prefix) (*netns.Namespace, error) {
	outside, err := netns.New(name)
	if err != nil {
		return nil, err
	}
	l.links++
	inner, outer := fmt.Sprintf("e%d", l.links), fmt.Sprintf("v%d", l.links)
	router := address.Masked().Addr().Next()
	return outside, errors.Join(
		netns.Connect(outside, inner, l.machine, outer),
		l.machine.IP(fmt.Sprintf("address add %s/%d dev %s", router, address.Bits(), outer)),
		l.machine.IP("link set "+outer+" up"),
		outside.IP("address add "+address.String()+" dev "+inner),
		outside.IP("link set "+inner+" up"),
		outside.IP("route add default via "+router.String()))
}

// writeHosts gives every container the names of those it shares a network with.
func (l *Lab) writeHosts() error {
	for name, c := range l.containers {
		lines := []string{"127.0.0.1 localhost"}
		for other, o := range l.containers {
			for _, n := range o.Networks {
				shared := slices.ContainsFunc(c.Networks, func(mine deployed.Network) bool { return mine.Name == n.Name })
				if shared {
					lines = append(lines, n.Address.Addr().String()+" "+other)
				}
			}
		}
		slices.Sort(lines)
		if err := os.MkdirAll(filepath.Join(l.folder, "image", name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(l.image(name, "hosts"), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) image(name, file string) string { return filepath.Join(l.folder, "image", name, file) }

// Address is where a container is on the first of its networks.
func (l *Lab) Address(name string, port int) string {
	return netip.AddrPortFrom(l.containers[name].Networks[0].Address.Addr(), uint16(port)).String()
}

// Inside is the network namespace of a container: what an intruder in it could reach.
func (l *Lab) Inside(name string) *netns.Namespace { return l.containers[name].network }

// Service is a running service.
func (l *Lab) Service(name string) *echo.Service { return l.containers[name].service }

// StartService starts one of the services.
func (l *Lab) StartService(name string) error {
	c := l.containers[name]
	listener, err := c.network.Listen(fmt.Sprintf("0.0.0.0:%d", services[name]))
	if err != nil {
		return fmt.Errorf("starting the service %s: %w", name, err)
	}
	c.service = echo.Start(name, listener)
	return nil
}

// StopService stops one of the services.
func (l *Lab) StopService(name string) { l.containers[name].service.Stop() }

// StartContainer starts a container that is not running, from the files as they are now, and
// returns once it is healthy.
func (l *Lab) StartContainer(ctx context.Context, name string) error {
	if err := l.Launch(name); err != nil {
		return err
	}
	return l.Healthy(ctx, name)
}

// AddEnv adds to the environment that a container gets when it starts the next time.
func (l *Lab) AddEnv(name string, pairs ...string) {
	c := l.containers[name]
	c.Spec.Env = slices.Concat(c.Spec.Env, pairs)
}

// Launch is StartContainer without the wait.
func (l *Lab) Launch(name string) error {
	c := l.containers[name]
	spec, err := l.furnish(name, c.Spec)
	if err != nil {
		return fmt.Errorf("preparing the image of %s: %w", name, err)
	}
	if c.log == nil {
		if c.log, err = os.OpenFile(l.logPath(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return err
		}
	}
	c.starts++
	c.box, err = box.Start(spec, c.network, filepath.Join(l.folder, "box", fmt.Sprintf("%s-%d", name, c.starts)), c.log)
	return err
}

// Healthy waits until the container's own health check passes.
func (l *Lab) Healthy(ctx context.Context, name string) error {
	c := l.containers[name]
	deadline := time.Now().Add(60 * time.Second)
	for {
		_, err := c.box.Exec(nil, c.Health...)
		if err == nil {
			return nil
		}
		select {
		case <-c.box.Ended():
			return fmt.Errorf("%s ended:\n%s", name, l.Log(name))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not healthy: %w\n%s", name, err, l.Log(name))
		}
	}
}

// StopContainer ends a container as `docker stop` would.
func (l *Lab) StopContainer(name string) { l.containers[name].box.Stop() }

// Box is a running container.
func (l *Lab) Box(name string) *box.Box { return l.containers[name].box }

func (l *Lab) logPath(name string) string { return filepath.Join(l.folder, name+".log") }

// Log is the end of what the container wrote.
func (l *Lab) Log(name string) string {
	text, err := os.ReadFile(l.logPath(name))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8000):])
}

// Close ends every container and removes every file.
func (l *Lab) Close() error {
	var problems []error
	for _, c := range l.containers {
		if c.box != nil {
			c.box.Kill()
			problems = append(problems, c.log.Close())
		}
		if c.service != nil {
			c.service.Stop()
		}
		if c.network != nil {
			problems = append(problems, c.network.Close())
		}
	}
	if l.machine != nil {
		problems = append(problems, l.machine.Close())
	}
	if l.Deployment != nil {
		problems = append(problems, l.Deployment.Close())
	}
	return errors.Join(append(problems, os.RemoveAll(l.folder))...)
}
