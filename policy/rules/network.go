package rules

import (
	"regexp"
	"slices"
	"strings"
)

// reach is one line of what a container may reach.
type reach struct {
	from, to *Resource // nil where no container has the address
	port     string
	internet bool
	// address and protocol are a VPN server's, and server is the whole of it; empty for any other way.
	address, protocol, server string
	line                      string
	file                      *Resource
}

var (
	edgeLine     = regexp.MustCompile(`^add element (?:bridge|inet) \S+ edges \{ (\S+) \. (\S+) \. (\d+) \}$`)
	internetLine = regexp.MustCompile(`^add element inet \S+ internet \{ (\S+) \}$`)
	tunnelLine   = regexp.MustCompile(`^add element inet \S+ tunnels \{ (\S+) \. (\S+) \. (udp|tcp) \. (\d+) \}$`)
)

// findReaches reads the packet filter's files, one per container, and finds the containers by the
// addresses in them.
func (l *layers) findReaches(g *Graph) {
	at := map[string]*Resource{}
	for _, c := range g.Of(typeContainer) {
		for _, n := range c.At("networksAdvanced").List() {
			at[n.text("ipv4Address")] = c
		}
	}
	delete(at, "")
	for _, path := range l.paths {
		file := l.files[path]
		if !strings.Contains(path, "/firewall/") || !strings.HasSuffix(path, ".nft") {
			continue
		}
		for _, line := range strings.Split(file.Text("stdin"), "\n") {
			var r reach
			if m := edgeLine.FindStringSubmatch(line); m != nil {
				r = reach{from: at[m[1]], to: at[m[2]], port: m[3]}
			} else if m := internetLine.FindStringSubmatch(line); m != nil {
				r = reach{from: at[m[1]], internet: true}
			} else if m := tunnelLine.FindStringSubmatch(line); m != nil {
				r = reach{from: at[m[1]], address: m[2], protocol: m[3], port: m[4], server: m[2] + ":" + m[4] + "/" + m[3]}
			} else {
				continue
			}
			r.line, r.file = line, file
			key := ""
			if r.from != nil {
				key = r.from.URN
			}
			l.reaches[key] = append(l.reaches[key], r)
		}
	}
}

// isReachOf reports whether a file of the packet filter is a container's own, or what it may reach
// later.
func isReachOf(file, c *Resource) bool {
	create, name := file.Text("create"), "/firewall/container-"+c.Text("name")
	return strings.Contains(create, name+".nft") || strings.Contains(create, name+"-later.nft")
}

var networkRules = []Rule{
	{
		ID: "network-filter", Title: "Between containers everything is dropped that is not an edge", Severity: Critical, Layer: LayerNetwork,
		Remedy: "load a packet filter whose forward chain between containers drops by default", Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			out.absent("container")
			if len(g.Of(typeContainer)) == 0 {
				return
			}
			for _, path := range g.layers.paths {
				file := g.layers.files[path]
				text := file.Text("stdin")
				if !strings.HasSuffix(path, ".nft") || !strings.Contains(text, "hook forward") {
					continue
				}
				dropped := strings.Contains(text, "table bridge") && strings.Contains(text, "policy drop;") && strings.Contains(text, "@edges accept")
				out.require(dropped, file, "the packet filter lets containers of one network talk to each other")
				return
			}
			out.fail(nil, "there is no packet filter between containers")
		},
	},
	{
		ID: "network-filter-first", Title: "A container starts only once the filter knows what it may reach", Severity: Critical, Layer: LayerNetwork,
		Remedy: "make the container depend on the command that writes and loads its file of the filter", Unknown: unknownNone,
		check: eachContainer(func(g *Graph, c *Resource, out *report) {
			if g.behind(c) != nil {
				return // it may reach what the tunnel may
			}
			var own *Resource
			for _, f := range g.layers.reachFiles {
				if strings.Contains(f.Text("create"), "/firewall/container-"+c.Text("name")+".nft") {
					own = f
				}
			}
			if own == nil {
				out.fail(c, "the filter has no file for %s", c.Name())
				return
			}
			out.require(g.Needs(c, own), c, "%s may start before the filter knows what it may reach", c.Name())
			loads := filters.MatchString(own.Text("create"))
			out.require(loads, own, "the file is written and not loaded")
			filter := slices.ContainsFunc(g.layers.filters, func(f *Resource) bool { return g.Needs(own, f) })
			out.require(filter, own, "%s may start before everything else is dropped", c.Name())
		}),
	},
	{
		ID: "network-edges", Title: "Every way between containers is an edge of the graph", Severity: Critical, Layer: LayerNetwork,
		Remedy: "give the container the other's endpoint, which is the dependency and the filter's entry in one", Unknown: "an address that is unknown is left open",
		check: func(g *Graph, out *report) {
			out.absent("container")
			for range g.Of(typeContainer) {
				out.look()
			}
			for _, reaches := range g.layers.reaches {
				for _, r := range reaches {
					judgeEdge(g, r, out)
				}
			}
			for _, f := range g.layers.reachFiles {
				if f.At("stdin").Hidden() {
					out.undecided(f, "what it allows is not known")
					continue
				}
				for _, line := range strings.Split(f.Text("stdin"), "\n") {
					known := line == "" || strings.HasPrefix(line, "#") || edgeLine.MatchString(line) || internetLine.MatchString(line) ||
						tunnelLine.MatchString(line)
					out.require(known, f, "a line of the filter that is no edge: %q", line)
				}
			}
		},
	},
	{
		ID: "network-addresses", Title: "A container has a fixed address of its own in each of its networks", Severity: High, Layer: LayerNetwork,
		Remedy: "give the container a slot", Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			out.absent("container")
			seen := map[string]*Resource{}
			for _, c := range g.Of(typeContainer) {
				networks := c.At("networksAdvanced")
				if networks.Hidden() {
					out.undecided(c, "the networks of %s are not known", c.Name())
					continue
				}
				own := len(networks.List()) > 0 || g.behind(c) != nil || c.Text("networkMode") == "none"
				out.require(own, c, "%s names no network, so it gets Docker's own, in which the filter knows nobody", c.Name())
				for _, n := range networks.List() {
					address := n.At("ipv4Address")
					if address.Hidden() {
						out.undecided(c, "the address of %s in %s is not known", c.Name(), n.text("name"))
						continue
					}
					out.require(address.Text() != "", c, "%s has no fixed address in %s, so the filter cannot know it", c.Name(), n.text("name"))
					if other := seen[address.Text()]; other != nil && address.Text() != "" {
						out.fail(c, "%s has the address of %s", c.Name(), other.Name())
					}
					seen[address.Text()] = c
				}
			}
		},
	},
	{
		ID: "network-names", Title: "A container asks name servers from its own network, where the filter decides", Severity: High, Layer: LayerNetwork,
		Remedy:  "give the container name servers (dns): those of the machine Docker asks from the machine's network, from version 28 on always",
		Unknown: unknownOpen,
		check: eachContainer(func(_ *Graph, c *Resource, out *report) {
			networks, servers := c.At("networksAdvanced"), c.At("dns")
			if servers.Hidden() || networks.Hidden() {
				out.undecided(c, "the name servers of %s are not known", c.Name())
				return
			}
			out.require(len(networks.List()) == 0 || len(servers.List()) > 0, c, "%s asks for names past the filter", c.Name())
		}),
	},
	{
		ID: "network-monitoring", Title: "The network of the monitoring leads nowhere", Severity: High, Layer: LayerNetwork,
		Remedy: "make the network internal", Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			out.absent("network of a monitoring")
			for _, n := range g.Of(typeNetwork) {
				if strings.Contains(n.Text("name"), "monitoring") {
					out.require(n.At("internal").True(), n, "%s has a way out", n.Text("name"))
				}
			}
		},
	},
}

func judgeEdge(g *Graph, r reach, out *report) {
	switch {
	case r.from == nil:
		out.fail(r.file, "a way for an address that no container has: %s", r.line)
	case !isReachOf(r.file, r.from):
		out.fail(r.file, "a way for %s in the file of another: %s", r.from.Name(), r.line)
	case r.internet || r.server != "":
	case r.to == nil:
		out.fail(r.file, "a way to an address that no container has: %s", r.line)
	case !g.Needs(r.from, r.to) && !g.Needs(r.file, r.to):
		out.fail(r.file, "%s may reach %s, which it does not depend on", r.from.Name(), r.to.Name())
	}
}
