package deployed

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"homelab/tests/chain/internal/box"
)

// Container is a container of the deployment, as the engine was told to run it.
type Container struct {
	// Spec is what becomes a box once an image is added: mounts, user, environment, and the command
	// unless it is the image's.
	Spec box.Spec
	// Networks are where it is.
	Networks []Network
	// Published are the container's own ports that the machine publishes.
	Published []int
	// Health is the command of its health check.
	Health []string
	// MemoryBytes is the most memory that it may use.
	MemoryBytes int64
}

// Network is a container's place in a network.
type Network struct {
	// Name is the network's.
	Name string
	// Address is the container's, with the network's length.
	Address netip.Prefix
	// Gateway is the machine's own address there.
	Gateway netip.Addr
	// Internal networks have no way out.
	Internal bool
}

type liveContainer struct {
	Name        string   `json:"name"`
	User        string   `json:"user"`
	Command     []string `json:"command"`
	Envs        []string `json:"envs"`
	ReadOnly    bool     `json:"readOnly"`
	MemoryMiB   int64    `json:"memory"`
	Healthcheck struct {
		Tests []string `json:"tests"`
	} `json:"healthcheck"`
	Mounts []struct {
		Type         string `json:"type"`
		Source       string `json:"source"`
		Target       string `json:"target"`
		ReadOnly     bool   `json:"readOnly"`
		TmpfsOptions struct {
			SizeBytes int64  `json:"sizeBytes"`
			Mode      uint32 `json:"mode"`
		} `json:"tmpfsOptions"`
	} `json:"mounts"`
	Ports []struct {
		Internal int `json:"internal"`
	} `json:"ports"`
	NetworkDatas []struct {
		NetworkName string `json:"networkName"`
		IPAddress   string `json:"ipAddress"`
		PrefixLen   int    `json:"ipPrefixLength"`
		Gateway     string `json:"gateway"`
	} `json:"networkDatas"`
}

// Container reads a container back from the simulated Docker engine.
func (d *Deployment) Container(name string) (*Container, error) {
	var live liveContainer
	if err := d.live("docker:index/container:Container", name, &live); err != nil {
		return nil, err
	}
	c := &Container{Spec: box.Spec{Name: name, Command: live.Command, Env: live.Envs, ReadOnly: live.ReadOnly}, Health: live.Healthcheck.Tests[1:], MemoryBytes: live.MemoryMiB << 20}
	user, group, _ := strings.Cut(live.User, ":")
	var err error
	if c.Spec.User, err = strconv.Atoi(user); err != nil {
		return nil, fmt.Errorf("user of container %s: %w", name, err)
	}
	if c.Spec.Group, err = strconv.Atoi(group); err != nil {
		return nil, fmt.Errorf("group of container %s: %w", name, err)
	}
	for _, m := range live.Mounts {
		mount := box.Mount{Target: m.Target, ReadOnly: m.ReadOnly, SizeBytes: m.TmpfsOptions.SizeBytes, Mode: m.TmpfsOptions.Mode}
		if m.Type == "bind" {
			mount.Source = d.Path(m.Source)
		}
		c.Spec.Mounts = append(c.Spec.Mounts, mount)
	}
	// Outer folders first, as Docker does.
	slices.SortStableFunc(c.Spec.Mounts, func(a, b box.Mount) int {
		return strings.Count(path.Clean(a.Target), "/") - strings.Count(path.Clean(b.Target), "/")
	})
	for _, p := range live.Ports {
		c.Published = append(c.Published, p.Internal)
	}
	for _, n := range live.NetworkDatas {
		network := Network{Name: n.NetworkName}
		address, err := netip.ParseAddr(n.IPAddress)
		if err != nil {
			return nil, fmt.Errorf("address of container %s: %w", name, err)
		}
		network.Address = netip.PrefixFrom(address, n.PrefixLen)
		if network.Gateway, err = netip.ParseAddr(n.Gateway); err != nil {
			return nil, fmt.Errorf("gateway of container %s: %w", name, err)
		}
		var properties struct {
			Internal bool `json:"internal"`
		}
		if err := d.live("docker:index/network:Network", n.NetworkName, &properties); err != nil {
			return nil, err
		}
		network.Internal = properties.Internal
		c.Networks = append(c.Networks, network)
	}
	return c, nil
}

// live reads what a simulated cloud holds.
func (d *Deployment) live(token, name string, into any) error {
	properties, err := d.workspace.World().Live(token, name)
	if err != nil {
		return err
	}
	text, err := json.Marshal(properties)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading %s %s: %w", token, name, err)
	}
	return nil
}
