package rules

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// tunnelCapabilities are what Gluetun makes a network device, routes and rules of its own network
// with.
var tunnelCapabilities = []string{"NET_ADMIN", "NET_RAW"}

// gatesFolder holds the folders without which Docker starts no container that binds them.
const gatesFolder = "/run/homelab/gates/"

// behind returns the container of the tunnel whose network the container has in place of one of its
// own, or nil. A preview does not know the tunnel's ID: then the container must depend on it, and
// have no network of its own.
func (g *Graph) behind(c *Resource) *Resource {
	mode := c.At("networkMode")
	name, shares := strings.CutPrefix(mode.Text(), "container:")
	if !shares && !mode.Hidden() || mode.Hidden() && len(c.At("networksAdvanced").List()) > 0 {
		return nil
	}
	tunnels := g.running(gluetun)
	if shares {
		for _, other := range g.Of(typeContainer) {
			// Docker calls a container's host by the beginning of its ID.
			host := other.Text("hostname")
			if name != other.Text("name") && (len(host) < 12 || !strings.HasPrefix(name, host)) {
				continue
			}
			if strings.HasPrefix(other.Text("networkMode"), "container:") {
				continue // it has the host name of the container whose network it has
			}
			if slices.Contains(tunnels, other) {
				return other
			}
			return nil
		}
	}
	for _, t := range tunnels {
		if slices.Contains(c.Dependencies, t.URN) {
			return t
		}
	}
	return nil
}

// users are the containers behind a tunnel.
func (g *Graph) users(tunnel *Resource) []*Resource {
	return slices.DeleteFunc(g.Of(typeContainer), func(c *Resource) bool { return c == tunnel || g.behind(c) != tunnel })
}

// answering returns the containers that answer at the name of one: those behind it, if it is a
// tunnel, which has nothing of its own to answer with.
func (g *Graph) answering(name string) []*Resource {
	c := g.container(name)
	switch {
	case c == nil:
		return nil
	case slices.Contains(g.running(gluetun), c):
		return g.users(c)
	}
	return []*Resource{c}
}

// environment returns a container's variables.
func environment(c *Resource) map[string]string {
	out := map[string]string{}
	for _, pair := range c.At("envs").Texts() {
		name, value, _ := strings.Cut(pair, "=")
		out[name] = value
	}
	return out
}

// eachTunnel judges the tunnels whose environment is known.
func eachTunnel(judge func(g *Graph, tunnel *Resource, told map[string]string, out *report)) func(*Graph, *report) {
	return func(g *Graph, out *report) {
		out.absent("tunnel")
		for _, t := range g.running(gluetun) {
			out.look()
			if t.At("envs").Hidden() {
				out.undecided(t, "what %s is told is not known", t.Name())
				continue
			}
			judge(g, t, environment(t), out)
		}
	}
}

var tunnelRules = []Rule{
	{
		ID: "tunnel-server", Title: "A tunnel reaches one VPN server, the one that it is told, and nobody else reaches any", Severity: Critical, Layer: LayerNetwork,
		Remedy:  "give the tunnel's container the way out of its VPN server alone, and Gluetun the same address and port",
		Unknown: "a file of the filter or an environment that is unknown is left open",
		check: func(g *Graph, out *report) {
			eachTunnel(judgeTunnel)(g, out)
			for _, urn := range slices.Sorted(maps.Keys(g.layers.reaches)) {
				for _, r := range g.layers.reaches[urn] {
					if r.server != "" && !slices.Contains(g.running(gluetun), r.from) {
						out.fail(r.file, "a way to a VPN server for what is no tunnel: %s", r.line)
					}
				}
			}
		},
	},
	{
		ID: "tunnel-behind", Title: "What is behind a tunnel has no way but the tunnel, and waits for it", Severity: Critical, Layer: LayerNetwork,
		Remedy:  "give it no network and no file of the filter, let it depend on the healthy tunnel, and bind the tunnel's gate",
		Unknown: "an unknown mode is accepted if the container depends on the tunnel's and has no network of its own",
		check: func(g *Graph, out *report) {
			out.absent("container behind a tunnel")
			for _, c := range g.Of(typeContainer) {
				if t := g.behind(c); t != nil {
					out.look()
					judgeBehind(g, c, t, out)
				}
			}
		},
	},
	{
		ID: "tunnel-settings", Title: "Gluetun has the version whose settings are known, and none that opens it", Severity: High, Layer: LayerNetwork,
		Remedy:  "run Gluetun 3.41, its control server on loopback, its firewall on, no subnets let out and no resolver but its own",
		Unknown: unknownOpen,
		check:   eachTunnel(judgeSettings),
	},
}

// judgeTunnel judges where a tunnel may go.
func judgeTunnel(g *Graph, t *Resource, told map[string]string, out *report) {
	for _, f := range g.layers.reachFiles {
		if isReachOf(f, t) && f.At("stdin").Hidden() {
			out.undecided(f, "what %s may reach is not known", t.Name())
			return
		}
	}
	servers := map[string]reach{}
	for _, r := range g.layers.reaches[t.URN] {
		switch {
		case r.internet:
			out.fail(r.file, "%s may reach the internet past its tunnel", t.Name())
		case r.server != "":
			servers[r.server] = r
		default:
			out.fail(r.file, "%s may reach a container, and with it what is behind it: %s", t.Name(), r.line)
		}
	}
	out.require(len(servers) == 1, t, "%s may reach %d VPN servers, and must reach one", t.Name(), len(servers))
	if len(servers) != 1 {
		return
	}
	for _, r := range servers {
		out.require(public(r.address), r.file, "the VPN server %s has no public address", r.server)
		want := r.address + ":" + r.port + "/" + r.protocol
		is := told["WIREGUARD_ENDPOINT_IP"] + ":" + told["WIREGUARD_ENDPOINT_PORT"] + "/udp"
		if told["VPN_TYPE"] == "openvpn" { // its address is in a file, which is a secret
			is = r.address + ":" + told["OPENVPN_ENDPOINT_PORT"] + "/" + r.protocol
		}
		out.require(is == want, t, "%s is told the VPN server %s, and may reach %s", t.Name(), is, want)
	}
}

func judgeBehind(g *Graph, c, tunnel *Resource, out *report) {
	out.require(len(c.At("networksAdvanced").List()) == 0, c, "%s has a network beside that of %s", c.Name(), tunnel.Name())
	for _, f := range g.layers.reachFiles {
		out.require(!isReachOf(f, c), f, "the filter lets %s out past %s", c.Name(), tunnel.Name())
	}
	waits := slices.ContainsFunc(g.layers.gates[tunnel.URN], func(gate *Resource) bool { return g.Needs(c, gate) })
	out.require(waits, c, "%s does not wait until %s is healthy", c.Name(), tunnel.Name())
	bound := slices.ContainsFunc(bindSources(c), func(source string) bool { return source == gatesFolder+"tunnel-"+tunnel.Text("name") })
	out.require(bound, c, "%s may start while %s is not healthy: it binds no gate of it", c.Name(), tunnel.Name())
}

// knownGluetun is the version whose names of settings the rules know; those of the next differ.
var knownGluetun = regexp.MustCompile(`:v3\.41(?:\.\d+)?(?:@|$)`)

// judgeSettings judges what Gluetun is told, by the names of version 3.41.
func judgeSettings(g *Graph, t *Resource, told map[string]string, out *report) {
	image := g.reference(t)
	out.require(knownGluetun.MatchString(image), t, "%s runs %q, and only the settings of 3.41 are known", t.Name(), image)
	control, err := netip.ParseAddrPort(told["HTTP_CONTROL_SERVER_ADDRESS"])
	out.require(err == nil && control.Addr().IsLoopback(), t,
		"the control server of %s listens on %q: whoever reaches it can stop the tunnel", t.Name(), told["HTTP_CONTROL_SERVER_ADDRESS"])
	const firewall = "FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT"
	enabled, given := told[firewall]
	out.require(!given || enabled == "on", t, "the firewall of %s is %q", t.Name(), enabled)
	keeps, given := told["DNS_KEEP_NAMESERVER"]
	out.require(!given || keeps == "off", t, "%s asks Docker's resolver for names, past the tunnel", t.Name())
	for _, name := range []string{"FIREWALL_OUTBOUND_SUBNETS", "EXTRA_SUBNETS"} {
		out.require(told[name] == "", t, "%s lets %s out past the tunnel (%s)", t.Name(), told[name], name)
	}
}
