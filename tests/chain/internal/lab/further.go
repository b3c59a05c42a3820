//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path"

	"homelab/tests/chain/internal/box"
	"homelab/tests/chain/internal/programs"
	"homelab/tests/internal/netns"
)

// asDocker sets in a container's network what Docker sets there: whoever may bind a port may bind
// any (moby, daemon/oci_linux.go, WithCommonOptions; since Docker 20.10).
func asDocker(network *netns.Namespace) error {
	err := network.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0o600) })
	if err != nil {
		return fmt.Errorf("letting a container bind any port: %w", err)
	}
	return nil
}

// AddressIn is where a container is in one of its networks; it is not valid if the container is not
// there.
func (l *Lab) AddressIn(network, name string) netip.Addr {
	for _, n := range l.containers[name].Networks {
		if n.Name == network {
			return n.Address.Addr()
		}
	}
	return netip.Addr{}
}

// Join adds further containers of the deployment to the machine: their namespaces, addresses and
// names. The packet filter has their edges already. None of them runs.
func (l *Lab) Join(names ...string) error {
	for _, name := range names {
		made, err := l.Deployment.Container(name)
		if err != nil {
			return err
		}
		c := &container{Container: made}
		if c.network, err = netns.New(name); err != nil {
			return err
		}
		l.containers[name] = c
		if err := asDocker(c.network); err != nil {
			return err
		}
		for _, n := range c.Networks {
			if err := l.join(c, n); err != nil {
				return err
			}
		}
	}
	// Who runs already finds the new ones, too: the files stay the same ones.
	return l.writeHosts()
}

// Run starts a container that has been added, with a program in the place of its image and further
// mounts, and leaves it running until the end.
func (l *Lab) Run(name string, p programs.Program, mounts ...box.Mount) error {
	c := l.containers[name]
	c.further = &p
	c.Spec.Mounts = append(c.Spec.Mounts, mounts...)
	return l.Launch(name)
}

// furnishFurther adds what the image of a container would bring that has been added: its program,
// and for the health check the shell's wget.
func (l *Lab) furnishFurther(name string, spec box.Spec, p programs.Program) box.Spec {
	image := []box.Mount{
		{Target: "/etc/hosts", Source: l.image(name, "hosts"), ReadOnly: true},
		{Target: "/sys", Source: "/sys", ReadOnly: true}, // every container has it
	}
	folders := path.Dir(p.Entrypoint)
	if !p.Scratch {
		folders = program + ":/usr/bin:/bin"
		p.Entrypoint = path.Join(program, path.Base(p.Entrypoint))
		image = append(image, box.Mount{Target: program + "/wget", Source: l.Programs.Busybox, ReadOnly: true})
		image = append(image, libraries()...)
	}
	image = append(image, box.Mount{Target: p.Entrypoint, Source: p.Path, ReadOnly: true})
	spec.Command = append([]string{p.Entrypoint}, spec.Command...)
	spec.Mounts = append(image, spec.Mounts...)
	spec.Env = append([]string{fmt.Sprintf("PATH=%s", folders)}, spec.Env...)
	return spec
}
