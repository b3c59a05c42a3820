package rules

import (
	"regexp"
	"slices"
	"strings"
)

// Capabilities that a container may add without a reason that this package knows. A tunnel has
// others.
var allowedCapabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}

// Devices that a container may have.
const (
	deviceTunnel   = "/dev/net/tun"
	deviceGraphics = "/dev/dri"
)

func eachContainer(judge func(*Graph, *Resource, *report)) func(*Graph, *report) {
	return func(g *Graph, out *report) {
		out.absent("container")
		for _, c := range g.Of(typeContainer) {
			out.look()
			judge(g, c, out)
		}
	}
}

// property makes a rule for every container from a property that must be good.
func property(keys []string, good func(Value) bool, problem string) func(*Graph, *report) {
	return eachContainer(func(_ *Graph, c *Resource, out *report) {
		v := c.At(keys...)
		if v.Hidden() {
			out.undecided(c, "%s of %s is not known", strings.Join(keys, "."), c.Name())
			return
		}
		out.require(good(v), c, "%s: %s", c.Name(), problem)
	})
}

// unless leaves out some containers.
func unless(excepted func(*Graph, *Resource) bool, check func(*Graph, *report)) func(*Graph, *report) {
	return func(g *Graph, out *report) {
		var found report
		check(g, &found)
		for _, list := range []*[]Finding{&found.findings, &found.open} {
			*list = slices.DeleteFunc(*list, func(f Finding) bool {
				c := g.Get(f.URN)
				return c != nil && excepted(g, c)
			})
		}
		out.looked, out.reason = found.looked, found.reason
		out.findings, out.open = append(out.findings, found.findings...), append(out.open, found.open...)
	}
}

// writesItsRoot reports whether a container runs one of two programs. CrowdSec's image (1.7) has no
// user of its own, and its start writes the hub's files below /etc; it has no capability and
// nothing of the machine. Gluetun makes a device, routes and rules of its own network, and writes
// /etc/resolv.conf.
func writesItsRoot(g *Graph, c *Resource) bool {
	return slices.Contains(g.running(gluetun), c) || slices.Contains(g.running(crowdsec), c)
}

// mayBeRoot reports whether a container runs a program that is nothing without root: one that
// writes its root, or a log shipper or a socket proxy that reads what is root's on the machine, and
// has no capability, so that it is root over nothing else.
func mayBeRoot(g *Graph, c *Resource) bool {
	if slices.Contains(g.running(gluetun), c) {
		return true
	}
	capable := c.At("capabilities").Hidden() || len(c.At("capabilities", "adds").List()) > 0
	reads := slices.ContainsFunc(binds(c), func(b bind) bool { return b.ofMachine() && g.mayRead(c, b) })
	return !capable && (writesItsRoot(g, c) || reads && (g.isShipper(c) || g.isSocketProxy(c)))
}

var digest = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)

var containerRules = []Rule{
	{
		ID: "container-ports", Title: "No port is published on all interfaces", Severity: Critical, Layer: LayerContainer,
		Remedy: "publish the port on an address that host.Host gives", Unknown: "an address that is unknown is one that is named",
		check: eachContainer(func(_ *Graph, c *Resource, out *report) {
			out.require(!c.At("publishAllPorts").True(), c, "%s publishes every port", c.Name())
			for _, p := range c.At("ports").List() {
				ip := p.At("ip")
				everywhere := ip.Missing() || ip.Text() == "" && !ip.Hidden() || ip.Text() == "0.0.0.0" || ip.Text() == "::"
				out.require(!everywhere, c, "%s publishes port %s on all interfaces, past the firewall", c.Name(), p.text("internal"))
			}
		}),
	},
	{
		ID: "container-proxy-only", Title: "Only the proxy publishes ports", Severity: Critical, Layer: LayerContainer,
		Remedy: "give the service a route instead of a port", Unknown: unknownNone,
		check: eachContainer(func(g *Graph, c *Resource, out *report) {
			out.require(len(c.At("ports").List()) == 0 || slices.Contains(g.running(caddy), c), c, "%s publishes a port past the proxy", c.Name())
		}),
	},
	{
		ID: "container-image", Title: "Every image is pinned by its digest, or built from the program's folder", Severity: High, Layer: LayerContainer,
		Remedy: "pin the image as NAME:TAG@sha256:DIGEST", Unknown: unknownNone,
		check: func(g *Graph, out *report) {
			out.absent("container")
			for _, image := range g.Of(typeRemoteImage) {
				out.require(digest.MatchString(image.Text("name")), image, "%s is not pinned by a digest", image.Text("name"))
			}
			for _, c := range g.Of(typeContainer) {
				known := digest.MatchString(c.Text("image"))
				for _, urn := range c.Dependencies {
					known = known || g.Get(urn).Type == typeRemoteImage || g.Get(urn).Type == typeBuiltImage
				}
				out.require(known, c, "%s runs %q, which no digest pins", c.Name(), c.Text("image"))
			}
		},
	},
	{
		ID: "container-isolated", Title: "No container is privileged or shares a namespace of the machine", Severity: Critical, Layer: LayerContainer,
		Remedy: "remove privileged, and the modes of network, PID, IPC and users that are the host's", Unknown: unknownOpen,
		check: eachContainer(func(_ *Graph, c *Resource, out *report) {
			out.require(!c.At("privileged").True(), c, "%s is privileged", c.Name())
			for _, mode := range []string{"networkMode", "pidMode", "ipcMode", "usernsMode"} {
				out.require(c.Text(mode) != "host", c, "%s has the machine's own namespace: %s is host", c.Name(), mode)
			}
		}),
	},
	{
		ID: "container-mounts", Title: "No container has a folder of the machine's own, but to read what its program is there for", Severity: Critical, Layer: LayerContainer,
		Remedy:  "mount a folder below /opt/homelab or the media library; the engine's socket is for a socket proxy, the journal for a log shipper, /sys/fs/cgroup for cAdvisor, each read-only",
		Unknown: unknownOpen,
		check: eachContainer(func(g *Graph, c *Resource, out *report) {
			if c.At("mounts").Hidden() {
				out.undecided(c, "the mounts of %s are not known", c.Name())
			}
			for _, b := range binds(c) {
				out.require(!b.ofMachine() || g.mayRead(c, b), c, "%s has %s of the machine", c.Name(), b.source)
			}
		}),
	},
	{
		ID: "container-shares", Title: "No container has a folder of another one, but the gateway's logs, to read", Severity: High, Layer: LayerContainer,
		Remedy: "give the container a folder of its own; only a log shipper and CrowdSec read another's folder of logs", Unknown: unknownOpen,
		check: eachContainer(judgeShares),
	},
	{
		ID: "engine-socket", Title: "The engine's socket is behind one program that lets few questions through, for the log shipper alone", Severity: Critical, Layer: LayerContainer,
		Remedy:  "run wollomatic/socket-proxy with -allowGET and -allowHEAD for the paths that a log shipper asks, on internal networks, and give an edge to it to the shipper alone",
		Unknown: unknownOpen,
		check:   judgeEngine,
	},
	{
		ID: "container-devices", Title: "A container has no device but a graphics card; /dev/net/tun is a tunnel's", Severity: High, Layer: LayerContainer,
		Remedy: "remove the device", Unknown: unknownOpen,
		check: eachContainer(func(g *Graph, c *Resource, out *report) {
			if c.At("devices").Hidden() {
				out.undecided(c, "the devices of %s are not known", c.Name())
				return
			}
			tunnel := slices.Contains(g.running(gluetun), c)
			for _, d := range c.At("devices").List() {
				path := d.text("hostPath")
				graphics := path == deviceGraphics || strings.HasPrefix(path, deviceGraphics+"/")
				out.require(tunnel && path == deviceTunnel || !tunnel && graphics, c, "%s has the device %q", c.Name(), path)
			}
		}),
	},
	{
		ID: "container-capabilities", Title: "A container drops all capabilities and adds few; NET_ADMIN and NET_RAW are a tunnel's", Severity: High, Layer: LayerContainer,
		Remedy: "drop ALL, and add only what the program cannot do without", Unknown: unknownOpen,
		check: eachContainer(judgeCapabilities),
	},
	{
		ID: "container-user", Title: "No container runs as root, but a tunnel, and without a capability CrowdSec and what reads the machine's own files", Severity: High, Layer: LayerContainer,
		Remedy: "name a user in numbers", Unknown: unknownOpen,
		check: unless(mayBeRoot, property([]string{"user"}, func(v Value) bool {
			name, _, _ := strings.Cut(v.Text(), ":")
			return name != "" && name != "0" && name != "root"
		}, "it runs as root")),
	},
	{
		ID: "container-read-only", Title: "A container's own files are read-only", Severity: Medium, Layer: LayerContainer,
		Remedy: "set readOnly, and give it folders for what it writes", Unknown: unknownOpen,
		check: unless(writesItsRoot, property([]string{"readOnly"}, Value.True, "its root is writable")),
	},
	{
		ID: "container-no-new-privileges", Title: "No program in a container gains privileges", Severity: High, Layer: LayerContainer,
		Remedy: "set the security option no-new-privileges", Unknown: unknownOpen,
		check: property([]string{"securityOpts"}, func(v Value) bool {
			opts := v.Texts()
			return (slices.Contains(opts, "no-new-privileges") || slices.Contains(opts, "no-new-privileges:true")) &&
				!slices.ContainsFunc(opts, func(o string) bool { return strings.Contains(o, "unconfined") })
		}, "a program with setuid gains privileges, or no profile confines it"),
	},
	{
		ID: "container-memory", Title: "A container has a memory limit and no swap beyond it", Severity: Medium, Layer: LayerContainer,
		Remedy: "set memory, and memorySwap to the same", Unknown: unknownOpen,
		check: eachContainer(func(_ *Graph, c *Resource, out *report) {
			memory, swap := c.At("memory"), c.At("memorySwap")
			if memory.Hidden() || swap.Hidden() {
				out.undecided(c, "the memory of %s is not known", c.Name())
				return
			}
			out.require(memory.Number() > 0, c, "%s may take all memory of the machine", c.Name())
			out.require(memory.Number() == 0 || swap.Number() == memory.Number(), c, "%s may swap", c.Name())
		}),
	},
	{
		ID: "container-health", Title: "A container has a health check, and the deployment waits for it", Severity: High, Layer: LayerContainer,
		Remedy: "give it a check that fails when the service does, and depend on the wait", Unknown: unknownOpen,
		check: eachContainer(func(g *Graph, c *Resource, out *report) {
			tests := c.At("healthcheck", "tests")
			if tests.Hidden() {
				out.undecided(c, "the health check of %s is not known", c.Name())
				return
			}
			words := tests.Texts()
			out.require(len(words) > 1 && words[0] != "NONE", c, "%s has no health check", c.Name())
			out.require(len(g.layers.gates[c.URN]) > 0, c, "nothing waits until %s is healthy", c.Name())
		}),
	},
	{
		ID: "container-restart", Title: "A container comes back by itself", Severity: Medium, Layer: LayerContainer,
		Remedy: "set restart to unless-stopped", Unknown: unknownOpen,
		check: property([]string{"restart"}, func(v Value) bool {
			return v.Text() == "unless-stopped" || v.Text() == "always" || strings.HasPrefix(v.Text(), "on-failure")
		}, "it stays down after a crash or a boot"),
	},
	{
		ID: "container-logs", Title: "A container's log is bounded", Severity: Medium, Layer: LayerContainer,
		Remedy: "set logOpts max-size and max-file", Unknown: unknownOpen,
		check: eachContainer(func(_ *Graph, c *Resource, out *report) {
			options := c.At("logOpts")
			if options.Hidden() {
				out.undecided(c, "the log of %s is not known", c.Name())
				return
			}
			out.require(options.text("max-size") != "" || c.Text("logDriver") == "none" || c.Text("logDriver") == "journald", c, "the log of %s fills the disk", c.Name())
		}),
	},
	{
		ID: "container-orphan", Title: "Every container has a route, is used by another, or connects others", Severity: Low, Layer: LayerContainer,
		Remedy: "remove it, or give it a route or a consumer", Unknown: "left open while a file of the filter is unknown",
		check: eachContainer(judgeOrphan),
	},
	{
		ID: "container-torrent", Title: "A torrent client has the tunnel's network and no other", Severity: Critical, Layer: LayerContainer,
		Remedy: "run it behind the tunnel: networkMode container:TUNNEL, and no network of its own", Unknown: "an unknown mode is accepted if the client depends on the tunnel's container",
		check: judgeTorrents,
	},
}

func judgeCapabilities(g *Graph, c *Resource, out *report) {
	if c.At("capabilities").Hidden() {
		out.undecided(c, "the capabilities of %s are not known", c.Name())
		return
	}
	out.require(slices.Contains(c.At("capabilities", "drops").Texts(), "ALL"), c, "%s keeps capabilities that it does not need", c.Name())
	allowed := allowedCapabilities
	if slices.Contains(g.running(gluetun), c) {
		allowed = tunnelCapabilities
	}
	for _, added := range c.At("capabilities", "adds").Texts() {
		added = strings.TrimPrefix(added, "CAP_")
		out.require(slices.Contains(allowed, added), c, "%s adds the capability %s", c.Name(), added)
	}
}

// judgeOrphan judges whether somebody needs a container. Who only measures it does not, unless it
// is there to be measured.
func judgeOrphan(g *Graph, c *Resource, out *report) {
	if slices.Contains(g.running(caddy), c) || len(g.users(c)) > 0 {
		return
	}
	// What is behind a tunnel answers at the tunnel's name and address.
	at := c
	if tunnel := g.behind(c); tunnel != nil {
		at = tunnel
	}
	for _, s := range g.layers.sites {
		if s.upstream == at.Text("name") {
			return
		}
	}
	for from, reaches := range g.layers.reaches {
		for _, r := range reaches {
			measures := r.from != nil && g.program(r.from) == prometheus && !slices.Contains(monitoringPrograms, g.program(c))
			if from != at.URN && r.to == at && !measures {
				return
			}
		}
	}
	// Records wait for what connects the services, and for what writes their quality profiles
	// before; nothing else needs these.
	if slices.Contains(slices.Concat(g.running(wiring), g.running(recyclarr)), c) &&
		slices.ContainsFunc(g.hostRecords(), func(r *Resource) bool { return g.Needs(r, c) }) {
		return
	}
	if g.anyReachHidden() {
		out.undecided(c, "whether another container may reach %s is not known", c.Name())
		return
	}
	out.fail(c, "%s has no route, and no other container may reach it", c.Name())
}

func judgeTorrents(g *Graph, out *report) {
	out.absent("torrent client")
	for _, c := range g.running(qbittorrent) {
		out.look()
		out.require(g.behind(c) != nil, c, "%s is not behind a tunnel", c.Name())
		out.require(len(c.At("networksAdvanced").List()) == 0, c, "%s has a network beside the tunnel", c.Name())
	}
}
