package simcloud

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

const typeContainer = "docker:index/container:Container"

// containerReplaces are the inputs that need a new container.
var containerReplaces = []string{
	"capabilities", "cgroupParent", "cgroupnsMode", "command", "cpus", "devices", "dns", "dnsOpts", "dnsSearches", "domainname", "entrypoints",
	"envs", "gpus", "groupAdds", "hostname", "hosts", "image", "ipcMode", "labels", "logDriver", "logOpts", "mounts", "name", "networkMode",
	"networksAdvanced", "pidMode", "ports", "privileged", "publishAllPorts", "readOnly", "runtime", "securityOpts", "shmSize", "stdinOpen",
	"stopSignal", "stopTimeout", "storageOpts", "sysctls", "tty", "ulimits", "uploads", "user", "usernsMode", "volumes", "workingDir",
}

// containerLive are the inputs whose update reaches the daemon. Any other
// change in place is recorded and does nothing.
var containerLive = []string{"restart", "maxRetryCount", "cpuShares", "memory", "memoryReservation", "cpuSet", "memorySwap"}

var _ = register(typeContainer, &kind{
	replaces: containerReplaces, autoname: true, deletesFirst: true, gone: goneContainer, place: dockerMachine,
	// As many mounts as before, and no tmpfs changed: the provider updates in place, and sends
	// nothing.
	inPlace: []string{"mounts.source", "mounts.target", "mounts.readOnly", "mounts.type", "mounts.bindOptions", "mounts.volumeOptions"},
	computed: []string{
		"command", "entrypoints", "envs", "healthcheck", "hostname", "init", "ipcMode", "labels", "logDriver", "runtime", "securityOpts",
		"shmSize", "stopSignal", "stopTimeout",
	},
	kept: []string{"user", "workingDir", "ports.external"},
	sets: []string{
		"capabilities.adds", "capabilities.drops", "devices", "dns", "dnsOpts", "dnsSearches", "envs", "groupAdds", "hosts", "labels", "mounts",
		"networksAdvanced", "networksAdvanced.aliases", "securityOpts", "ulimits", "volumes",
	},
	defaults: map[string]any{
		"containerReadRefreshTimeoutMilliseconds": 15000.0, "mustRun": true, "networkMode": "bridge", "removeVolumes": true, "restart": "no",
		"start": true, "waitTimeout": 60.0, "ports.ip": "0.0.0.0", "ports.protocol": "tcp",
		"healthcheck.interval": "0s", "healthcheck.startInterval": "0s", "healthcheck.startPeriod": "0s", "healthcheck.timeout": "0s",
	},
	check: checkContainer, ask: askContainer, create: createContainer, update: updateContainer, read: readContainer, extraDiff: restlessContainer,
	instead: docker,
})

const goneContainer = "1 error occurred: * Error stopping container %s: Error response from daemon: No such container: %s"

// volumesOf lists the named volumes that a container uses.
func volumesOf(c map[string]any) []string {
	var out []string
	for _, v := range objects(c, "volumes") {
		if n := text(v, "volumeName"); n != "" {
			out = append(out, n)
		}
	}
	for _, m := range objects(c, "mounts") {
		if text(m, "type") == "volume" && text(m, "source") != "" {
			out = append(out, text(m, "source"))
		}
	}
	return out
}

func createContainer(t *task) (string, error) {
	machine, name := t.place.ID, strings.TrimPrefix(text(t.in, "name"), "/")
	if !t.w.hasImage(machine, text(t.in, "image")) {
		return "", fail("Unable to create container with image %s: unable to find or pull image %s", text(t.in, "image"), text(t.in, "image"))
	}
	for _, c := range t.w.on(machine, typeContainer) {
		if text(c.live(), "name") == name {
			return "", fail("Unable to create container: Error response from daemon: Conflict. The container name \"/%s\" is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", name, c.ID)
		}
	}
	if err := t.containerNetworkMode(); err != nil {
		return "", err
	}
	for _, command := range texts(t.in, "command") {
		if command == "" {
			return "", fail("values for command may not be empty")
		}
	}
	networks, err := t.containerNetworks()
	if err != nil {
		return "", err
	}
	id := hexID(64)
	t.out["networkDatas"], t.out["bridge"], t.out["exitCode"], t.out["containerLogs"] = networks, "", float64(0), ""
	t.containerDefaults(id)
	t.daemonLogging()
	// The daemon creates the container before it binds ports or waits: what
	// fails from here on leaves it behind.
	if err := t.portsFree(machine); err != nil {
		t.stopped = true
		return id, notReady{err}
	}
	if flag(t.in, "wait") && section(t.in, "healthcheck") == nil {
		return id, notReady{fail("you have supplied a 'wait' argument, but the container does not have a healthcheck defined. Please remove the 'wait' argument or add a 'healthcheck' attribute")}
	}
	return id, nil
}

// containerDefaults fills in what the daemon decides.
func (t *task) containerDefaults(id string) {
	for name, v := range map[string]any{
		"hostname": id[:12], "ipcMode": "private", "logDriver": t.place.LogDriver, "runtime": "runc", "shmSize": float64(64),
		"init": false, "stopSignal": "", "stopTimeout": float64(0), "command": []any{}, "entrypoints": []any{}, "securityOpts": []any{},
	} {
		if _, given := t.in[name]; !given {
			t.out[name] = v
		}
	}
}

// daemonLogging adds the daemon's options to a container that logs as the daemon does. The provider
// reads them back as the container's own.
func (t *task) daemonLogging() {
	if driver, given := t.in["logDriver"]; given && driver != t.place.LogDriver || len(t.place.LogOpts) == 0 {
		return
	}
	merged := map[string]any{}
	for _, options := range []map[string]any{t.place.LogOpts, section(t.in, "logOpts")} {
		for name, v := range options {
			merged[name] = v
		}
	}
	t.out["logOpts"] = merged
}

// containerNetworkMode checks network_mode, and what it excludes.
func (t *task) containerNetworkMode() error {
	mode := text(t.in, "networkMode")
	ref, shared := strings.CutPrefix(mode, "container:")
	if !shared {
		if mode != "" && mode != "bridge" && mode != "host" && mode != "none" && mode != "default" && t.w.network(t.place.ID, mode) == nil {
			return fail("Unable to create container: Error response from daemon: network %s not found", mode)
		}
		if mode == "host" || mode == "none" {
			if len(list(t.in, "networksAdvanced")) > 0 {
				return fail("Unable to create container: conflicting options: networks with network mode %s", mode)
			}
		}
		return nil
	}
	for name, what := range map[string]string{"hostname": "hostname", "ports": "port publishing", "networksAdvanced": "networks", "dns": "dns", "hosts": "custom host-to-IP mapping", "domainname": "domainname"} {
		if text(t.in, name) != "" || len(list(t.in, name)) > 0 {
			return fail("Unable to create container: Error response from daemon: conflicting options: %s and the network mode", what)
		}
	}
	for _, c := range t.w.on(t.place.ID, typeContainer) {
		if c.ID == ref || text(c.live(), "name") == ref {
			return nil
		}
	}
	return fail("Unable to create container: Error response from daemon: No such container: %s", ref)
}

// containerNetworks connects the container and hands out addresses.
func (t *task) containerNetworks() ([]any, error) {
	out := []any{}
	machine := t.place.ID
	joined := objects(t.in, "networksAdvanced")
	if mode := text(t.in, "networkMode"); len(joined) == 0 && t.w.network(machine, mode) != nil {
		joined = []map[string]any{{"name": mode}}
	}
	seen := map[string]bool{}
	for _, j := range joined {
		n := t.w.network(machine, text(j, "name"))
		if n == nil {
			return nil, fail("Unable to create container: Error response from daemon: network %s not found", text(j, "name"))
		}
		if seen[n.ID] {
			return nil, fail("Unable to create container: Error response from daemon: network %s is given twice", text(j, "name"))
		}
		seen[n.ID] = true
		subnets := subnetsOf(n)
		address, err := t.w.containerAddress(machine, n, subnets, text(j, "ipv4Address"))
		if err != nil {
			return nil, err
		}
		out = append(out, map[string]any{
			"networkName": text(n.live(), "name"), "ipAddress": address.String(), "ipPrefixLength": float64(subnets[0].Bits()),
			"gateway": subnets[0].Addr().Next().String(), "globalIpv6Address": "", "globalIpv6PrefixLength": float64(0), "ipv6Gateway": "",
			"macAddress": "02:42:" + hexID(2) + ":" + hexID(2) + ":" + hexID(2) + ":" + hexID(2),
		})
	}
	return out, nil
}

// containerAddress gives the wanted address, or the next free one.
func (w *World) containerAddress(machine string, n *object, subnets []netip.Prefix, wanted string) (netip.Addr, error) {
	taken := map[netip.Addr]bool{}
	for _, c := range w.on(machine, typeContainer) {
		for _, d := range objects(c.Outputs, "networkDatas") {
			if text(d, "networkName") == text(n.live(), "name") {
				if a, err := netip.ParseAddr(text(d, "ipAddress")); err == nil {
					taken[a] = true
				}
			}
		}
	}
	for _, c := range objects(n.merged(), "ipamConfigs") {
		if g, err := netip.ParseAddr(text(c, "gateway")); err == nil {
			taken[g] = true
		}
	}
	taken[subnets[0].Addr().Next()] = true
	if wanted != "" {
		a, err := netip.ParseAddr(wanted)
		if err != nil {
			return a, fail("Unable to create container: invalid IPv4 address: %s", wanted)
		}
		for _, s := range subnets {
			if s.Contains(a) && taken[a] {
				return a, fail("Unable to create container: Error response from daemon: Address already in use")
			} else if s.Contains(a) {
				return a, nil
			}
		}
		return a, fail("Unable to create container: Error response from daemon: no configured subnet contains IP address %s", wanted)
	}
	for a := subnets[0].Addr().Next().Next(); subnets[0].Contains(a); a = a.Next() {
		if !taken[a] && subnets[0].Contains(a.Next()) {
			return a, nil
		}
	}
	return netip.Addr{}, fail("Unable to create container: Error response from daemon: no available IPv4 addresses on this network's address pools: %s", text(n.live(), "name"))
}

// portsFree refuses host ports that another container of the machine has.
func (t *task) portsFree(machine string) error {
	taken := map[string]string{}
	claim := func(owner string, ports []map[string]any) error {
		for _, p := range ports {
			external, given := p["external"].(float64)
			if !given || external == 0 {
				continue
			}
			protocol, ip := text(p, "protocol"), text(p, "ip")
			if protocol == "" {
				protocol = "tcp"
			}
			if ip == "" {
				ip = "0.0.0.0"
			}
			for at := range taken {
				otherIP, rest, _ := strings.Cut(at, "|")
				if rest == fmt.Sprintf("%.0f/%s", external, protocol) && (otherIP == ip || wildcard(otherIP) || wildcard(ip)) {
					return fail("Unable to start container: Error response from daemon: driver failed programming external connectivity on endpoint %s: Bind for %s:%.0f failed: port is already allocated", owner, ip, external)
				}
			}
			taken[fmt.Sprintf("%s|%.0f/%s", ip, external, protocol)] = owner
		}
		return nil
	}
	for _, c := range t.w.on(machine, typeContainer) {
		if !c.Stopped {
			// What runs already holds its ports without conflict.
			_ = claim(text(c.live(), "name"), objects(c.live(), "ports"))
		}
	}
	return claim(text(t.in, "name"), objects(t.in, "ports"))
}

func wildcard(ip string) bool { return ip == "0.0.0.0" || ip == "::" }

// updateContainer keeps everything live that the provider does not send.
func updateContainer(t *task, o *object) error {
	was := o.live()
	o.Live = map[string]any{}
	for name := range schema.Resources[typeContainer].Inputs {
		if contains(containerLive, name) || fmt.Sprint(was[name]) == fmt.Sprint(t.in[name]) {
			continue
		}
		if contains([]string{"wait", "waitTimeout", "mustRun", "rm", "start", "logs", "attach", "destroyGraceSeconds", "removeVolumes", "containerReadRefreshTimeoutMilliseconds"}, name) {
			continue // only the provider reads these
		}
		if _, given := t.in[name]; given || o.Inputs[name] != nil {
			o.Live[name] = was[name]
		}
	}
	return nil
}

// readContainer deletes a container that stopped although it must run: that is
// what the provider does when it reads one.
func readContainer(t *task, o *object) (bool, error) {
	mustRun, given := o.Inputs["mustRun"].(bool)
	if !o.Stopped && number(o.Outputs, "exitCode") == 0 || given && !mustRun {
		return true, nil
	}
	t.w.drop(o)
	return false, nil
}

// restlessContainer finds inputs that the daemon writes differently, so that the
// real provider reports a change in every preview: capabilities without CAP_, and
// ports in another order than their own.
func restlessContainer(_, news resource.PropertyMap) []change {
	if news.ContainsUnknowns() {
		return nil
	}
	var out []change
	in := toGoValues(news)
	for _, name := range []string{"adds", "drops"} {
		for i, c := range texts(section(in, "capabilities"), name) {
			if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
				out = append(out, change{fmt.Sprintf("capabilities.%s[%d]", name, i), "capabilities", pulumirpc.PropertyDiff_UPDATE, "capabilities"})
			}
		}
	}
	var order []string
	for _, p := range objects(in, "ports") {
		protocol := text(p, "protocol")
		if protocol == "" {
			protocol = "tcp"
		}
		order = append(order, fmt.Sprintf("%.0f/%s", number(p, "internal"), protocol))
	}
	if !slices.IsSorted(order) {
		out = append(out, change{"ports", "ports", pulumirpc.PropertyDiff_UPDATE, "ports"})
	}
	return out
}
