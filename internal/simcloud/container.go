package simcloud

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

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
	// As many mounts as before, and no tmpfs changed: the provider updates in place, and sends nothing.
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
})

const goneContainer = "1 error occurred: * Error stopping container %s: Error response from daemon: No such container: %s"

var containerName = regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// askContainer is what only the daemon refuses, or the plugin when it makes the container.
func askContainer(c *checking) {
	if s, ok := c.text("name"); ok && !containerName.MatchString(s) {
		c.refuse("name", "invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", s)
	}
	for name, check := range map[string]func(map[string]any) error{"mounts": checkMount, "ports": checkPort, "volumes": checkVolumeMount, "uploads": checkUpload} {
		v := c.news[resource.PropertyKey(name)]
		if !v.IsArray() {
			continue
		}
		for i, e := range v.ArrayValue() {
			if !e.IsObject() || e.ContainsUnknowns() {
				continue
			}
			if err := check(plain(e.ObjectValue())); err != nil {
				c.refuse(fmt.Sprintf("%s[%d]", name, i), "%v", err)
			}
		}
	}
	if v := c.news["envs"]; v.IsArray() {
		for i, e := range v.ArrayValue() {
			if e.IsString() && !strings.Contains(e.StringValue(), "=") {
				c.refuse(fmt.Sprintf("envs[%d]", i), "an environment variable has the form NAME=value")
			}
		}
	}
}

var (
	cpuList     = regexp.MustCompile(`^\d+([,-]\d+)*$`)
	permissions = regexp.MustCompile(`^0[0-7]{3}$`)
)

// checkContainer is what the plugin refuses in a preview.
func checkContainer(c *checking) {
	if s, ok := c.text("restart"); ok && s != "no" && s != "always" && s != "unless-stopped" && s != "on-failure" {
		c.refuse("restart", "expected restart to be one of [no on-failure always unless-stopped], got %s", s)
	}
	if s, ok := c.text("cpuSet"); ok && !cpuList.MatchString(s) {
		c.refuse("cpuSet", "'%s' doesn't match the pattern '%s'", s, cpuList)
	}
	c.each("mounts", func(at string, m resource.PropertyMap) {
		if typ := m["type"]; typ.IsString() && !contains([]string{"bind", "volume", "tmpfs"}, typ.StringValue()) {
			c.refuse(at, "'%s' doesn't match the pattern '^(bind|volume|tmpfs)$'", typ.StringValue())
		}
	})
	c.each("volumes", func(at string, m resource.PropertyMap) {
		if s := m["hostPath"]; s.IsString() && s.StringValue() != "" && !strings.HasPrefix(s.StringValue(), "/") {
			c.refuse(at, "host_path must be an absolute path, got %q", s.StringValue())
		}
	})
	c.each("uploads", func(at string, m resource.PropertyMap) {
		if s := m["permissions"]; s.IsString() && s.StringValue() != "" && !permissions.MatchString(s.StringValue()) {
			c.refuse(at, "'%s' doesn't match the pattern '%s'", s.StringValue(), permissions)
		}
		if s := m["contentBase64"]; s.IsString() {
			if _, err := base64.StdEncoding.DecodeString(s.StringValue()); err != nil {
				c.refuse(at, "'%s' is not base64 decodeable", s.StringValue())
			}
		}
	})
	if v := c.news["healthcheck"]; v.IsObject() {
		if tests := v.ObjectValue()["tests"]; tests.IsNull() {
			c.refuse("healthcheck.tests", "missing required argument. The argument \"healthcheck.0.test\" is required, but no definition was found.")
		}
		for _, name := range []string{"interval", "timeout", "startPeriod", "startInterval"} {
			if s := v.ObjectValue()[resource.PropertyKey(name)]; s.IsString() {
				if _, err := time.ParseDuration(s.StringValue()); err != nil {
					c.refuse("healthcheck."+name, "%q is not a duration", s.StringValue())
				}
			}
		}
	}
	if v := c.news["memory"]; v.IsNumber() && v.NumberValue() < 0 {
		c.refuse("memory", "expected memory to be at least (0), got %.0f", v.NumberValue())
	}
}

func checkMount(m map[string]any) error {
	source, typ := text(m, "source"), text(m, "type")
	switch typ {
	case "bind":
		if !strings.HasPrefix(source, "/") {
			return fail("invalid mount config for type \"bind\": invalid mount path: '%s' mount path must be absolute", source)
		}
	case "volume":
	case "tmpfs":
		if source != "" {
			return fail("invalid mount config for type \"tmpfs\": source must not be given")
		}
	}
	if !strings.HasPrefix(text(m, "target"), "/") {
		return fail("invalid mount target %q: must be an absolute path", text(m, "target"))
	}
	if p := text(section(m, "bindOptions"), "propagation"); p != "" && !contains([]string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}, p) {
		return fail("unknown propagation %q", p)
	}
	return nil
}

func checkPort(m map[string]any) error {
	if p := text(m, "protocol"); p != "" && p != "tcp" && p != "udp" && p != "sctp" {
		return fail("expected protocol to be one of [tcp udp sctp], got %s", p)
	}
	for _, n := range []string{"internal", "external"} {
		if v, given := m[n].(float64); given && (v < 0 || v > 65535) {
			return fail("%s port %.0f is out of range", n, v)
		}
	}
	if ip := text(m, "ip"); ip != "" {
		if _, err := netip.ParseAddr(ip); err != nil {
			return fail("invalid host IP address: %s", ip)
		}
	}
	return nil
}

func checkVolumeMount(m map[string]any) error {
	if p := text(m, "containerPath"); p != "" && !strings.HasPrefix(p, "/") {
		return fail("container_path must be an absolute path, got %q", p)
	}
	if text(m, "volumeName") == "" && text(m, "hostPath") == "" && text(m, "fromContainer") == "" && text(m, "containerPath") == "" {
		return fail("volume entry without container path or source container")
	}
	return nil
}

func checkUpload(m map[string]any) error {
	n := 0
	for _, s := range []string{"content", "contentBase64", "source"} {
		if text(m, s) != "" {
			n++
		}
	}
	if n > 1 {
		return fail("error with upload content: only one of 'content', 'content_base64', or 'source' can be set")
	}
	return nil
}

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
		"hostname": id[:12], "ipcMode": "private", "logDriver": "json-file", "runtime": "runc", "shmSize": float64(64),
		"init": false, "stopSignal": "", "stopTimeout": float64(0), "command": []any{}, "entrypoints": []any{}, "securityOpts": []any{},
	} {
		if _, given := t.in[name]; !given {
			t.out[name] = v
		}
	}
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
	in := plain(news)
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
