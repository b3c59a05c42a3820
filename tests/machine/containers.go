package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// container is what the program declares of a container, and what Docker runs of it, both in the
// words of the declaration. Two that are equal are the same in all that protects a server.
type container struct {
	Name         string
	User         string
	Privileged   bool
	ReadOnly     bool
	Init         bool
	Added        []string // capabilities
	Dropped      []string // capabilities
	SecurityOpts []string
	MemoryMiB    int64
	SwapMiB      int64 // memory and swap
	Restart      string
	StopTimeout  int // seconds
	LogDriver    string
	LogOptions   map[string]string
	// Mounts are type:source:target and :ro; Devices are paths with what may be done to them.
	Mounts  []string
	Devices []string
	// Networks are the addresses by the names of the networks; NetworkMode is set where the container
	// has another one's.
	Networks    map[string]string
	NetworkMode string
	// Ports are address:port->port/protocol, and AllPorts is whether Docker chooses them.
	Ports       []string
	AllPorts    bool
	DNS         []string
	Hosts       []string
	Healthcheck []string
	// Entrypoint and Command are empty where the image's are taken.
	Entrypoint []string
	Command    []string
}

// state is what Docker says of how a container does.
type state struct {
	// Status is running or another word of Docker's; Health is healthy, or another one.
	Status string
	Health string
	// StartedAt is the time of its start, as Docker writes it.
	StartedAt string
	// OOMKilled is whether memory ran out in it.
	OOMKilled bool
	// ID is Docker's.
	ID string
}

// declaration is a container of the state, by the names of the provider's schema.
type declaration struct {
	Name            string   `json:"name"`
	User            string   `json:"user"`
	Privileged      bool     `json:"privileged"`
	PublishAllPorts bool     `json:"publishAllPorts"`
	ReadOnly        bool     `json:"readOnly"`
	Init            bool     `json:"init"`
	SecurityOpts    []string `json:"securityOpts"`
	Memory          int64    `json:"memory"`
	MemorySwap      int64    `json:"memorySwap"`
	Restart         string   `json:"restart"`
	StopTimeout     int      `json:"stopTimeout"`
	Capabilities    struct {
		Adds  []string `json:"adds"`
		Drops []string `json:"drops"`
	} `json:"capabilities"`
	LogDriver string            `json:"logDriver"`
	LogOpts   map[string]string `json:"logOpts"`
	Mounts    []struct {
		Type     string `json:"type"`
		Source   string `json:"source"`
		Target   string `json:"target"`
		ReadOnly bool   `json:"readOnly"`
	} `json:"mounts"`
	Devices []struct {
		HostPath      string `json:"hostPath"`
		ContainerPath string `json:"containerPath"`
		Permissions   string `json:"permissions"`
	} `json:"devices"`
	NetworksAdvanced []struct {
		Name        string `json:"name"`
		IPv4Address string `json:"ipv4Address"`
	} `json:"networksAdvanced"`
	NetworkMode string `json:"networkMode"`
	Ports       []struct {
		Internal int    `json:"internal"`
		External int    `json:"external"`
		IP       string `json:"ip"`
		Protocol string `json:"protocol"`
	} `json:"ports"`
	DNS   []string `json:"dns"`
	Hosts []struct {
		Host string `json:"host"`
		IP   string `json:"ip"`
	} `json:"hosts"`
	Healthcheck struct {
		Tests []string `json:"tests"`
	} `json:"healthcheck"`
	Entrypoints []string `json:"entrypoints"`
	Command     []string `json:"command"`
}

// containerType is the type of a container in a state.
const containerType = "docker:index/container:Container"

// readDeclared reads the containers that the program has declared from a stack's state, as the engine
// keeps it in a folder: those inputs that the program gave, not what a provider has read since.
func readDeclared(from io.Reader) (map[string]container, error) {
	var file struct {
		Checkpoint struct {
			Latest *struct {
				Pending   []json.RawMessage `json:"pending_operations"`
				Resources []struct {
					Type   string          `json:"type"`
					URN    string          `json:"urn"`
					Delete bool            `json:"delete"`
					Inputs json.RawMessage `json:"inputs"`
				} `json:"resources"`
			} `json:"latest"`
		} `json:"checkpoint"`
	}
	if err := json.NewDecoder(from).Decode(&file); err != nil {
		return nil, fmt.Errorf("reading the stack's state: %w", err)
	}
	if file.Checkpoint.Latest == nil {
		return nil, errors.New("this is no state of a stack: it has no latest checkpoint")
	}
	if n := len(file.Checkpoint.Latest.Pending); n > 0 {
		return nil, fmt.Errorf("%d operations of the stack have not ended", n)
	}
	out := map[string]container{}
	for _, r := range file.Checkpoint.Latest.Resources {
		if r.Type != containerType || r.Delete {
			continue
		}
		// What hides a secret is no text: labels and environment are not compared.
		var d declaration
		if err := json.Unmarshal(r.Inputs, &d); err != nil {
			return nil, fmt.Errorf("reading %s: %w", r.URN, err)
		}
		if _, twice := out[d.Name]; twice {
			return nil, fmt.Errorf("two containers are called %s", d.Name)
		}
		out[d.Name] = d.container()
	}
	return out, nil
}

func (d declaration) container() container {
	out := container{
		Name: d.Name, User: d.User, Privileged: d.Privileged, ReadOnly: d.ReadOnly, Init: d.Init,
		Added: names(d.Capabilities.Adds, capability), Dropped: names(d.Capabilities.Drops, capability), SecurityOpts: names(d.SecurityOpts),
		MemoryMiB: d.Memory, SwapMiB: d.MemorySwap, Restart: d.Restart, StopTimeout: d.StopTimeout, LogDriver: d.LogDriver, LogOptions: options(d.LogOpts),
		Networks: map[string]string{}, NetworkMode: shared(d.NetworkMode), AllPorts: d.PublishAllPorts, DNS: names(d.DNS), Healthcheck: ordered(d.Healthcheck.Tests),
		Entrypoint: ordered(d.Entrypoints), Command: ordered(d.Command),
	}
	for _, m := range d.Mounts {
		out.Mounts = append(out.Mounts, mount(m.Type, m.Source, m.Target, m.ReadOnly))
	}
	for _, v := range d.Devices {
		out.Devices = append(out.Devices, v.HostPath+":"+v.ContainerPath+":"+v.Permissions)
	}
	for _, n := range d.NetworksAdvanced {
		out.Networks[n.Name] = n.IPv4Address
	}
	for _, p := range d.Ports {
		out.Ports = append(out.Ports, port(p.IP, strconv.Itoa(p.External), p.Internal, p.Protocol))
	}
	for _, h := range d.Hosts {
		out.Hosts = append(out.Hosts, h.Host+":"+h.IP)
	}
	out.Mounts, out.Devices, out.Ports, out.Hosts = names(out.Mounts), names(out.Devices), names(out.Ports), names(out.Hosts)
	return out
}

// inspection is a container as docker inspect writes it.
type inspection struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Status    string
		OOMKilled bool
		StartedAt string
		Health    *struct{ Status string }
	}
	Config struct {
		User        string
		StopTimeout int
		Entrypoint  []string
		Cmd         []string
		Healthcheck *struct{ Test []string }
	}
	HostConfig struct {
		Privileged, ReadonlyRootfs, PublishAllPorts, Init bool
		CapAdd, CapDrop, SecurityOpt                      []string
		Memory, MemorySwap                                int64 // bytes
		RestartPolicy                                     struct{ Name string }
		LogConfig                                         struct {
			Type   string
			Config map[string]string
		}
		Binds  []string
		Mounts []struct {
			Type, Source, Target string
			ReadOnly             bool
		}
		Tmpfs        map[string]string
		Devices      []struct{ PathOnHost, PathInContainer, CgroupPermissions string }
		NetworkMode  string
		PortBindings map[string][]struct{ HostIP, HostPort string }
		DNS          []string `json:"Dns"`
		ExtraHosts   []string
	}
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
}

// readRunning reads what docker inspect says of containers. Of entrypoint and command it keeps what the
// declaration has: the rest is the image's.
func readRunning(from io.Reader, declared map[string]container) (map[string]container, map[string]state, error) {
	var all []inspection
	if err := json.NewDecoder(from).Decode(&all); err != nil {
		return nil, nil, fmt.Errorf("reading what docker inspect says: %w", err)
	}
	containers, states := map[string]container{}, map[string]state{}
	for _, i := range all {
		c, err := i.container()
		if err != nil {
			return nil, nil, err
		}
		if len(declared[c.Name].Entrypoint) == 0 {
			c.Entrypoint = []string{}
		}
		if len(declared[c.Name].Command) == 0 {
			c.Command = []string{}
		}
		containers[c.Name] = c
		how := state{Status: i.State.Status, StartedAt: i.State.StartedAt, OOMKilled: i.State.OOMKilled, ID: i.ID}
		if i.State.Health != nil {
			how.Health = i.State.Health.Status
		}
		states[c.Name] = how
	}
	return containers, states, nil
}

func (i inspection) container() (container, error) {
	h := i.HostConfig
	out := container{
		Name: strings.TrimPrefix(i.Name, "/"), User: i.Config.User, Privileged: h.Privileged, ReadOnly: h.ReadonlyRootfs, Init: h.Init,
		Added: names(h.CapAdd, capability), Dropped: names(h.CapDrop, capability), SecurityOpts: names(h.SecurityOpt),
		MemoryMiB: h.Memory >> 20, SwapMiB: h.MemorySwap >> 20, Restart: h.RestartPolicy.Name, StopTimeout: i.Config.StopTimeout,
		LogDriver: h.LogConfig.Type, LogOptions: options(h.LogConfig.Config), Networks: map[string]string{}, NetworkMode: shared(h.NetworkMode),
		AllPorts: h.PublishAllPorts, DNS: names(h.DNS), Hosts: names(h.ExtraHosts), Healthcheck: []string{},
		Entrypoint: ordered(i.Config.Entrypoint), Command: ordered(i.Config.Cmd),
	}
	if i.Config.Healthcheck != nil {
		out.Healthcheck = ordered(i.Config.Healthcheck.Test)
	}
	// The program declares mounts; a volume or a temporary file system by another way is not equal to
	// any of them.
	for _, b := range h.Binds {
		out.Mounts = append(out.Mounts, "volume option "+b)
	}
	for target, how := range h.Tmpfs {
		out.Mounts = append(out.Mounts, "tmpfs option "+target+" "+how)
	}
	for _, m := range h.Mounts {
		out.Mounts = append(out.Mounts, mount(m.Type, m.Source, m.Target, m.ReadOnly))
	}
	for _, d := range h.Devices {
		out.Devices = append(out.Devices, d.PathOnHost+":"+d.PathInContainer+":"+d.CgroupPermissions)
	}
	for name, n := range i.NetworkSettings.Networks {
		out.Networks[name] = n.IPAddress
	}
	for inside, bindings := range h.PortBindings {
		number, protocol, _ := strings.Cut(inside, "/")
		internal, err := strconv.Atoi(number)
		if err != nil {
			return container{}, fmt.Errorf("%s publishes %q: %w", out.Name, inside, err)
		}
		for _, b := range bindings {
			out.Ports = append(out.Ports, port(b.HostIP, b.HostPort, internal, protocol))
		}
	}
	out.Mounts, out.Devices, out.Ports = names(out.Mounts), names(out.Devices), names(out.Ports)
	return out, nil
}

// names sorts what has no order, after change has made one spelling of it.
func names(in []string, change ...func(string) string) []string {
	out := []string{}
	for _, name := range in {
		for _, f := range change {
			name = f(name)
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// ordered is a list in its order, never nil.
func ordered(in []string) []string { return append([]string{}, in...) }

func options(in map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, in)
	return out
}

// capability is a capability without the kernel's prefix, which Docker takes with and without.
func capability(name string) string { return strings.TrimPrefix(name, "CAP_") }

// shared is a network mode that names another container; the others follow from the networks.
func shared(mode string) string {
	if strings.HasPrefix(mode, "container:") {
		return mode
	}
	return ""
}

func mount(kind, source, target string, readOnly bool) string {
	out := kind + ":" + source + ":" + target
	if readOnly {
		out += ":ro"
	}
	return out
}

func port(address, external string, internal int, protocol string) string {
	if protocol == "" {
		protocol = "tcp"
	}
	return fmt.Sprintf("%s:%s->%d/%s", address, external, internal, protocol)
}
