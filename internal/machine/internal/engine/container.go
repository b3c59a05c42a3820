package engine

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"homelab/internal/rehearsal"
)

// Errors of the provider.
var (
	errExitedImmediately = errors.New("container exited immediately")
	errUnhealthy         = errors.New("container failed to be in healthy state")
	errNoHealthcheck     = errors.New("you have supplied a 'wait' argument, but the container does not have a healthcheck defined. " +
		"Please remove the 'wait' argument or add a 'healthcheck' attribute")
)

// createContainer makes a container, joins its networks, starts it and waits for its health. From
// its creation on it exists, whatever fails.
func createContainer(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[containerInputs](s.call)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	if _, err := s.findImage(in.Image, ""); err != nil {
		return rehearsal.DockerResult{}, said("Unable to create container with image %s: %w", in.Image, err)
	}
	config, err := in.config()
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	hostConfig, err := in.hostConfig()
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	if slow := s.slowness(); slow > 1 {
		config.Labels[slownessLabel] = strconv.Itoa(slow)
		config.Healthcheck = stretched(config.Healthcheck, slow)
	}
	made, err := s.api.ContainerCreate(s.ctx, client.ContainerCreateOptions{
		Config: config, HostConfig: hostConfig, NetworkingConfig: &network.NetworkingConfig{}, Name: in.Name,
	})
	if err != nil {
		return rehearsal.DockerResult{}, said("Unable to create container: %w", err)
	}
	created := time.Now()
	if err := s.run(made.ID, in); err != nil {
		return s.unready(made.ID, err)
	}
	return s.settled(made.ID, in, created)
}

// run joins the networks of a container, and starts it.
func (s *session) run(id string, in containerInputs) error {
	if err := s.join(id, in); err != nil {
		return err
	}
	if !or(in.Start, true) {
		return nil
	}
	if _, err := s.api.ContainerStart(s.ctx, id, client.ContainerStartOptions{}); err != nil {
		return said("Unable to start container: %w", err)
	}
	if !in.Wait {
		return nil
	}
	return s.waitHealthy(id, time.Duration(or(in.WaitTimeout, 60)*s.slowness())*time.Second)
}

func (s *session) slowness() int {
	if s.options.Slowness == nil {
		return 1
	}
	return s.options.Slowness()
}

// slownessLabel says how slow the machine was when the container was made.
const slownessLabel = "homelab.invalid/slowness"

// Docker's defaults for what a health check does not say.
const (
	defaultInterval, defaultTimeout = 30 * time.Second, 30 * time.Second
	defaultStartInterval            = 5 * time.Second
)

// stretched is a health check on a machine that is so many times as slow. Each check starts a program
// in the container: as often as declared they would need more than all of an emulated machine's
// time, and not end in theirs. While a container starts it is asked more often, or everything that
// waits for it would take so long, too.
func stretched(h *container.HealthConfig, slow int) *container.HealthConfig {
	if h == nil {
		return nil
	}
	factor := time.Duration(slow)
	out := *h
	out.Interval = cmp.Or(h.Interval, defaultInterval) * factor
	out.Timeout = cmp.Or(h.Timeout, defaultTimeout) * factor
	out.StartPeriod *= factor
	out.StartInterval = cmp.Or(h.StartInterval, defaultStartInterval) * max(1, factor/4)
	return &out
}

// asDeclared is a container's health check as it was declared, if it was stretched, and else as it is.
func asDeclared(c *container.Config, in containerInputs) *container.HealthConfig {
	slow, err := strconv.Atoi(c.Labels[slownessLabel])
	if err != nil {
		return c.Healthcheck
	}
	declared, err := in.config()
	if err != nil || declared.Healthcheck == nil || c.Healthcheck == nil {
		return c.Healthcheck
	}
	made := stretched(declared.Healthcheck, slow)
	if c.Healthcheck.StartInterval == 0 {
		made.StartInterval = 0 // an engine before Docker 25 does not know it
	}
	if !reflect.DeepEqual(made, c.Healthcheck) {
		return c.Healthcheck
	}
	return declared.Healthcheck
}

// join takes the container out of the default network and into its own.
func (s *session) join(id string, in containerInputs) error {
	if len(in.NetworksAdvanced) == 0 {
		return nil
	}
	_, err := s.api.NetworkDisconnect(s.ctx, "bridge", client.NetworkDisconnectOptions{Container: id})
	if err != nil && !strings.Contains(err.Error(), "is not connected to") {
		return said("Unable to disconnect the default network: %w", err)
	}
	for _, n := range in.NetworksAdvanced {
		endpoint := &network.EndpointSettings{Aliases: n.Aliases, IPAMConfig: &network.EndpointIPAMConfig{}}
		for text, to := range map[string]*netip.Addr{n.IPv4Address: &endpoint.IPAMConfig.IPv4Address, n.IPv6Address: &endpoint.IPAMConfig.IPv6Address} {
			if text == "" {
				continue
			}
			if *to, err = netip.ParseAddr(text); err != nil {
				return err
			}
		}
		if _, err := s.api.NetworkConnect(s.ctx, n.Name, client.NetworkConnectOptions{Container: id, EndpointConfig: endpoint}); err != nil {
			return said("Unable to connect to network '%s': %w", n.Name, err)
		}
	}
	return nil
}

// waitHealthy asks every second whether the container is healthy.
func (s *session) waitHealthy(id string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		found, err := s.api.ContainerInspect(s.ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return fmt.Errorf("error inspecting container state: %w", err)
		}
		state := found.Container.State
		if state == nil || state.Health == nil {
			return errNoHealthcheck
		}
		if state.Health.Status == container.Healthy {
			return nil
		}
		if err := s.sleep(time.Second); err != nil {
			return err
		}
	}
	return errUnhealthy
}

// unready is the result for a container that exists and is not what it should be.
func (s *session) unready(id string, why error) (rehearsal.DockerResult, error) {
	return rehearsal.DockerResult{ID: id, NotReady: why.Error(), Outputs: map[string]any{}}, nil
}

// settled reads a container that was just made. One that has ended already is removed, as the
// provider does, unless it need not run.
func (s *session) settled(id string, in containerInputs, created time.Time) (rehearsal.DockerResult, error) {
	found, err := s.api.ContainerInspect(s.ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return s.unready(id, err)
	}
	state := found.Container.State
	if state.Running || !or(in.MustRun, true) {
		return rehearsal.DockerResult{ID: id, Outputs: containerOutputs(found.Container, in)}, nil
	}
	finished, err := time.Parse(time.RFC3339, state.FinishedAt)
	if err == nil && !finished.After(created) {
		return s.unready(id, errors.New("container failed to be in running state"))
	}
	if err := s.delete(id, in); err != nil {
		return s.unready(id, err)
	}
	return rehearsal.DockerResult{}, errExitedImmediately
}

// readContainer reads a container. One that stopped although it must run is removed: that is what
// the provider does when it reads one.
func readContainer(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[containerInputs](s.call)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	found, err := s.api.ContainerInspect(s.ctx, s.call.ID, client.ContainerInspectOptions{})
	if gone(err) {
		return rehearsal.DockerResult{Gone: true}, nil
	}
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	if !found.Container.State.Running && or(in.MustRun, true) {
		if err := s.delete(s.call.ID, in); err != nil {
			return rehearsal.DockerResult{}, err
		}
		return rehearsal.DockerResult{Gone: true}, nil
	}
	return rehearsal.DockerResult{ID: s.call.ID, Outputs: containerOutputs(found.Container, in)}, nil
}

// updateContainer sends what the provider sends, and nothing else.
func updateContainer(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[containerInputs](s.call)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	resources := container.Resources{
		CPUShares: in.CPUShares, Memory: in.Memory << 20, MemoryReservation: in.MemoryReservation << 20, CpusetCpus: in.CPUSet, MemorySwap: swap(in.MemorySwap),
	}
	_, err = s.api.ContainerUpdate(s.ctx, s.call.ID, client.ContainerUpdateOptions{Resources: &resources, RestartPolicy: in.restartPolicy()})
	if err != nil {
		return rehearsal.DockerResult{}, said("Unable to update a container: %w", err)
	}
	return readContainer(s)
}

func removeContainer(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[containerInputs](s.call)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	return rehearsal.DockerResult{}, s.delete(s.call.ID, in)
}

// delete stops and removes a container. One that is gone is an error: of the provider too.
func (s *session) delete(id string, in containerInputs) error {
	grace := in.DestroyGraceSeconds
	if _, err := s.api.ContainerStop(s.ctx, id, client.ContainerStopOptions{Timeout: &grace}); err != nil {
		return fmt.Errorf("1 error occurred: * Error stopping container %s: %w", id, err)
	}
	_, err := s.api.ContainerRemove(s.ctx, id, client.ContainerRemoveOptions{RemoveVolumes: or(in.RemoveVolumes, true), Force: true})
	if err != nil && !gone(err) && !strings.Contains(err.Error(), "is already in progress") {
		return fmt.Errorf("1 error occurred: * Error deleting container %s: %w", id, err)
	}
	condition := container.WaitConditionNotRunning
	if in.Rm {
		condition = container.WaitConditionRemoved
	}
	wait := s.api.ContainerWait(s.ctx, id, client.ContainerWaitOptions{Condition: condition})
	select {
	case <-wait.Result:
	case err := <-wait.Error:
		if !gone(err) {
			return fmt.Errorf("1 error occurred: * Error waiting for container removal '%s': %w", id, err)
		}
	}
	return nil
}

// config is what of the inputs is the container's own.
func (in containerInputs) config() (*container.Config, error) {
	if slices.Contains(in.Command, "") {
		return nil, errors.New("values for command may not be empty")
	}
	out := &container.Config{
		Image: in.Image, Hostname: in.Hostname, Domainname: in.Domainname, StopSignal: in.StopSignal, StopTimeout: in.StopTimeout,
		Env: in.Envs, Cmd: in.Command, Entrypoint: in.Entrypoints, User: in.User, WorkingDir: in.WorkingDir, Labels: labelMap(in.Labels),
		ExposedPorts: network.PortSet{}, Volumes: map[string]struct{}{},
	}
	for _, p := range in.Ports {
		port, err := p.port()
		if err != nil {
			return nil, err
		}
		out.ExposedPorts[port] = struct{}{}
	}
	for _, v := range in.Volumes {
		if v.ContainerPath != "" {
			out.Volumes[v.ContainerPath] = struct{}{}
		}
	}
	if h := in.Healthcheck; h != nil {
		check := &container.HealthConfig{Test: h.Tests, Retries: h.Retries}
		for text, to := range map[*string]*time.Duration{
			&h.Interval: &check.Interval, &h.Timeout: &check.Timeout, &h.StartPeriod: &check.StartPeriod, &h.StartInterval: &check.StartInterval,
		} {
			if *text == "" {
				continue
			}
			var err error
			if *to, err = time.ParseDuration(*text); err != nil {
				return nil, err
			}
		}
		out.Healthcheck = check
	}
	return out, nil
}

func (p portInput) port() (network.Port, error) {
	protocol := p.Protocol
	if protocol == "" {
		protocol = "tcp"
	}
	return network.ParsePort(fmt.Sprintf("%d/%s", p.Internal, protocol))
}

func (in containerInputs) restartPolicy() *container.RestartPolicy {
	name := in.Restart
	if name == "" {
		name = "no"
	}
	return &container.RestartPolicy{Name: container.RestartPolicyMode(name), MaximumRetryCount: in.MaxRetryCount}
}

// swap is a limit of memory and swap in MiB as bytes; -1 stays: no limit.
func swap(limit int64) int64 {
	if limit > 0 {
		return limit << 20
	}
	return limit
}

// hostConfig is what of the inputs is the engine's.
func (in containerInputs) hostConfig() (*container.HostConfig, error) {
	mode := in.NetworkMode
	if mode == "" {
		mode = "bridge"
	}
	out := &container.HostConfig{
		Privileged: in.Privileged, PublishAllPorts: in.PublishAllPorts, RestartPolicy: *in.restartPolicy(), Runtime: in.Runtime,
		AutoRemove: in.Rm, ReadonlyRootfs: in.ReadOnly, LogConfig: container.LogConfig{Type: in.LogDriver, Config: in.LogOpts}, Tmpfs: in.Tmpfs,
		NetworkMode: container.NetworkMode(mode), UsernsMode: container.UsernsMode(in.UsernsMode), PidMode: container.PidMode(in.PidMode),
		Sysctls: in.Sysctls, IpcMode: container.IpcMode(in.IpcMode), GroupAdd: in.GroupAdds, CgroupnsMode: container.CgroupnsMode(in.CgroupnsMode),
		Init: &in.Init, ShmSize: in.ShmSize << 20, DNSOptions: in.DNSOpts, DNSSearch: in.DNSSearches, SecurityOpt: in.SecurityOpts,
		Resources: container.Resources{
			Memory: in.Memory << 20, MemoryReservation: in.MemoryReservation << 20, MemorySwap: swap(in.MemorySwap), CPUPeriod: in.CPUPeriod,
			CPUQuota: in.CPUQuota, CPUShares: in.CPUShares, CpusetCpus: in.CPUSet, CgroupParent: in.CgroupParent,
		},
	}
	if c := in.Capabilities; c != nil {
		out.CapAdd, out.CapDrop = c.Adds, c.Drops
	}
	for _, h := range in.Hosts {
		out.ExtraHosts = append(out.ExtraHosts, h.Host+":"+h.IP)
	}
	for _, d := range in.Devices {
		inside := d.ContainerPath
		if inside == "" {
			inside = d.HostPath
		}
		out.Devices = append(out.Devices, container.DeviceMapping{PathOnHost: d.HostPath, PathInContainer: inside, CgroupPermissions: d.Permissions})
	}
	for _, u := range in.Ulimits {
		out.Ulimits = append(out.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, text := range in.DNS {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		out.DNS = append(out.DNS, address)
	}
	if err := in.volumes(out); err != nil {
		return nil, err
	}
	for _, m := range in.Mounts {
		out.Mounts = append(out.Mounts, m.mount())
	}
	return out, in.bindings(out)
}

// bindings publishes ports.
func (in containerInputs) bindings(out *container.HostConfig) error {
	out.PortBindings = network.PortMap{}
	for _, p := range in.Ports {
		port, err := p.port()
		if err != nil {
			return err
		}
		binding := network.PortBinding{HostIP: netip.IPv4Unspecified()}
		if p.External != nil {
			binding.HostPort = strconv.Itoa(*p.External)
		}
		if p.IP != "" {
			if binding.HostIP, err = netip.ParseAddr(p.IP); err != nil {
				return err
			}
		}
		out.PortBindings[port] = append(out.PortBindings[port], binding)
	}
	return nil
}

func (in containerInputs) volumes(out *container.HostConfig) error {
	for _, v := range in.Volumes {
		source := v.VolumeName
		if v.HostPath != "" {
			source = v.HostPath
		}
		switch {
		case v.FromContainer == "" && v.ContainerPath == "":
			return said("Unable to parse volumes: volume entry without container path or source container")
		case v.FromContainer != "" && v.ContainerPath != "":
			return said("Unable to parse volumes: both a container and a path specified in a volume entry")
		case v.FromContainer != "":
			out.VolumesFrom = append(out.VolumesFrom, v.FromContainer)
		case source != "" && v.ReadOnly:
			out.Binds = append(out.Binds, source+":"+v.ContainerPath+":ro")
		case source != "":
			out.Binds = append(out.Binds, source+":"+v.ContainerPath+":rw")
		}
	}
	return nil
}

func (m mountInput) mount() mount.Mount {
	out := mount.Mount{Type: mount.Type(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
	switch {
	case out.Type == mount.TypeBind && m.BindOptions != nil:
		out.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(m.BindOptions.Propagation)}
	case out.Type == mount.TypeTmpfs && m.TmpfsOptions != nil:
		out.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.TmpfsOptions.SizeBytes, Mode: os.FileMode(m.TmpfsOptions.Mode)}
	case out.Type == mount.TypeVolume && m.VolumeOptions != nil:
		out.VolumeOptions = &mount.VolumeOptions{NoCopy: m.VolumeOptions.NoCopy, Labels: maps.Clone(labelMap(m.VolumeOptions.Labels))}
	}
	return out
}
