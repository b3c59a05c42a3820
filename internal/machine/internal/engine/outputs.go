package engine

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// containerOutputs are the properties that the provider reads of a container. Environment, labels
// and what only the provider uses it does not read: those stay as the program gave them.
func containerOutputs(c container.InspectResponse, in containerInputs) map[string]any {
	h := c.HostConfig
	out := map[string]any{
		"name": strings.TrimPrefix(c.Name, "/"), "rm": h.AutoRemove, "readOnly": h.ReadonlyRootfs, "image": imageOutput(c, in.Image),
		"hostname": c.Config.Hostname, "domainname": c.Config.Domainname, "command": list(c.Config.Cmd), "entrypoints": list(c.Config.Entrypoint),
		"user": c.Config.User, "dns": addresses(h.DNS), "dnsOpts": list(h.DNSOptions), "dnsSearches": list(h.DNSSearch), "securityOpts": list(h.SecurityOpt),
		"publishAllPorts": h.PublishAllPorts, "restart": string(h.RestartPolicy.Name), "maxRetryCount": h.RestartPolicy.MaximumRetryCount,
		"init": or(h.Init, false), "workingDir": c.Config.WorkingDir, "runtime": h.Runtime, "mounts": mountOutputs(h.Mounts), "tmpfs": texts(h.Tmpfs),
		"hosts": hostOutputs(h.ExtraHosts), "privileged": h.Privileged, "memory": h.Memory >> 20, "memoryReservation": h.MemoryReservation >> 20,
		"memorySwap": mebibytes(h.MemorySwap), "shmSize": h.ShmSize >> 20, "cpuShares": h.CPUShares, "cpuSet": h.CpusetCpus,
		"logDriver": h.LogConfig.Type, "logOpts": texts(h.LogConfig.Config), "storageOpts": texts(h.StorageOpt), "networkMode": string(h.NetworkMode),
		"pidMode": string(h.PidMode), "usernsMode": string(h.UsernsMode), "sysctls": texts(h.Sysctls), "ipcMode": string(h.IpcMode),
		"groupAdds": list(h.GroupAdd), "tty": c.Config.Tty, "stdinOpen": c.Config.OpenStdin, "stopSignal": c.Config.StopSignal,
		"stopTimeout": or(c.Config.StopTimeout, 0), "bridge": "", "exitCode": 0, "containerLogs": "",
	}
	if len(h.CapAdd)+len(h.CapDrop) > 0 {
		out["capabilities"] = capabilities{Adds: h.CapAdd, Drops: h.CapDrop}
	}
	if check := asDeclared(c.Config, in); check != nil {
		out["healthcheck"] = healthInput{
			Tests: check.Test, Interval: check.Interval.String(), Timeout: check.Timeout.String(), StartPeriod: check.StartPeriod.String(),
			StartInterval: check.StartInterval.String(), Retries: check.Retries,
		}
	}
	ulimits := []any{}
	for _, u := range h.Ulimits {
		ulimits = append(ulimits, map[string]any{"name": u.Name, "soft": u.Soft, "hard": u.Hard})
	}
	devices := []any{}
	for _, d := range h.Devices {
		devices = append(devices, map[string]any{"hostPath": d.PathOnHost, "containerPath": d.PathInContainer, "permissions": d.CgroupPermissions})
	}
	out["ulimits"], out["devices"] = ulimits, devices
	if !c.State.Running {
		out["exitCode"] = c.State.ExitCode
	}
	if n := c.NetworkSettings; n != nil {
		out["ports"], out["networkDatas"] = portOutputs(n.Ports), networkOutputs(n.Networks)
	}
	return out
}

// imageOutput is the ID of the image where the program named it by that, and else its name.
func imageOutput(c container.InspectResponse, given string) string {
	if strings.HasPrefix(given, "sha256:") {
		return c.Image
	}
	return c.Config.Image
}

func mebibytes(bytes int64) int64 {
	if bytes > 0 {
		return bytes >> 20
	}
	return bytes
}

func list(in []string) []string {
	if in == nil {
		return []string{}
	}
	return in
}

func texts(in map[string]string) map[string]string {
	if in == nil {
		return map[string]string{}
	}
	return in
}

func addresses(in []netip.Addr) []string {
	out := []string{}
	for _, a := range in {
		out = append(out, a.String())
	}
	return out
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func hostOutputs(in []string) []hostInput {
	out := []hostInput{}
	for _, line := range in {
		host, ip, _ := strings.Cut(line, ":")
		out = append(out, hostInput{host, ip})
	}
	return out
}

func mountOutputs(in []mount.Mount) []mountInput {
	out := []mountInput{}
	for _, m := range in {
		o := mountInput{Type: string(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		if m.BindOptions != nil {
			o.BindOptions = &bindOptions{string(m.BindOptions.Propagation)}
		}
		if m.TmpfsOptions != nil {
			o.TmpfsOptions = &tmpfsOptions{m.TmpfsOptions.SizeBytes, uint32(m.TmpfsOptions.Mode)}
		}
		if m.VolumeOptions != nil {
			o.VolumeOptions = &volumeOptions{m.VolumeOptions.NoCopy, labelList(m.VolumeOptions.Labels)}
		}
		out = append(out, o)
	}
	return out
}

func portOutputs(in network.PortMap) []portInput {
	out := []portInput{}
	for _, port := range slices.SortedFunc(maps.Keys(in), func(a, b network.Port) int {
		return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
	}) {
		for _, b := range in[port] {
			external, _ := strconv.Atoi(b.HostPort) // the engine's own number
			out = append(out, portInput{Internal: int(port.Num()), External: &external, IP: address(b.HostIP), Protocol: string(port.Proto())})
		}
	}
	return out
}

// networkOutputs are in the order of the networks' names; the provider's order is that of a map.
func networkOutputs(in map[string]*network.EndpointSettings) []any {
	out := []any{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		n := in[name]
		out = append(out, map[string]any{
			"networkName": name, "ipAddress": address(n.IPAddress), "ipPrefixLength": n.IPPrefixLen, "gateway": address(n.Gateway),
			"globalIpv6Address": address(n.GlobalIPv6Address), "globalIpv6PrefixLength": n.GlobalIPv6PrefixLen, "ipv6Gateway": address(n.IPv6Gateway),
			"macAddress": n.MacAddress.String(),
		})
	}
	return out
}
