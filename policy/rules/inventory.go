package rules

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Inventory is what a stack exposes and keeps. Everything in it is sorted.
type Inventory struct {
	// Hostnames are the names under which something answers.
	Hostnames []Hostname `json:"hostnames"`
	// Containers are what runs.
	Containers []Container `json:"containers"`
	// Ports are what is open, at Hetzner's firewall and on the machine.
	Ports []Port `json:"ports"`
	// Edges are who may open a connection to whom.
	Edges []Edge `json:"edges"`
	// Engine are who may ask the container engine: the containers with its socket, and those that
	// reach one of these.
	Engine []Asker `json:"engine"`
	// Secrets are by name and age.
	Secrets []SecretName `json:"secrets"`
	// Data are the folders in which containers keep things.
	Data []Folder `json:"data"`
}

// Hostname is a name, with the evidence for its chain.
type Hostname struct {
	// Name is the full name.
	Name string `json:"name"`
	// Public is whether it leads to the internet.
	Public bool `json:"public"`
	// Exception is why it leads past Cloudflare; empty where nothing excepts it.
	Exception string `json:"exception,omitempty"`
	// Container is what answers; empty if that is not known.
	Container string `json:"container"`
	// Login is two_factor, one_factor, bypass or deny, as the portal says; native where the portal
	// is not asked; unknown where its configuration cannot be read.
	Login string `json:"login"`
	// Groups are who may enter; empty where the portal does not say.
	Groups []string `json:"groups"`
	// Open are the paths for which nobody is asked to log in, each with its methods.
	Open []string `json:"open"`
	// Chain are the layers that the name depends on, in the order in which a request meets them.
	Chain []Evidence `json:"chain"`
}

// Evidence is a layer of a hostname's chain.
type Evidence struct {
	// Layer is what the layer does.
	Layer string `json:"layer"`
	// Resources are the names of the resources that the name depends on; empty if the layer is
	// missing.
	Resources []string `json:"resources"`
}

// Container is one running container.
type Container struct {
	// Name is the container's name.
	Name string `json:"name"`
	// Image is the image with its tag and digest, or the name of one that was built.
	Image string `json:"image"`
	// User is the uid:gid.
	User string `json:"user"`
	// MemoryMiB is its memory limit.
	MemoryMiB int `json:"memoryMiB"`
	// Networks are the names of its networks; container:NAME where it has the network of a tunnel,
	// as Docker calls that.
	Networks []string `json:"networks"`
	// Internet is whether it may reach the internet, not counting by a tunnel.
	Internet bool `json:"internet"`
	// Machine are the files and folders of the machine's own that it has, such as the journal.
	Machine []string `json:"machine"`
}

// Port is something that is open.
type Port struct {
	// Where is firewall, for Hetzner's, or the address that a container publishes on.
	Where string `json:"where"`
	// Protocol is tcp, udp or icmp.
	Protocol string `json:"protocol"`
	// Port is a number or a range; empty for icmp.
	Port string `json:"port"`
	// For says for whom or what: the rule's description, or the container.
	For string `json:"for"`
	// Sources is how many ranges it is open for; 0 on the machine.
	Sources int `json:"sources"`
	// Anywhere is whether the whole internet is among them.
	Anywhere bool `json:"anywhere"`
}

// Edge is a way from one container to another, or from a tunnel to its VPN server.
type Edge struct {
	// From is the name of the container that may open a connection.
	From string `json:"from"`
	// To is the name of the one that it reaches; for a VPN server its address, port and protocol,
	// such as "VPN server 185.213.154.68:51820/udp".
	To string `json:"to"`
	// Port is the TCP port, or the VPN server's.
	Port int `json:"port"`
}

// Asker is a container that may ask the container engine.
type Asker struct {
	// Container is its name.
	Container string `json:"container"`
	// Through is the name of the container that passes on what it asks; empty where it has the
	// engine's socket itself.
	Through string `json:"through"`
}

// vpnServer begins the name of a VPN server in an Edge.
const vpnServer = "VPN server "

// ToVPN reports whether the way leads to a VPN server.
func (e Edge) ToVPN() bool { return strings.HasPrefix(e.To, vpnServer) }

// Behind is the name of the tunnel's container whose network the container has; empty where it has
// its own.
func (c Container) Behind() string {
	for _, n := range c.Networks {
		if name, ok := strings.CutPrefix(n, "container:"); ok {
			return name
		}
	}
	return ""
}

// WayOut says how a container leaves the machine: "yes" for the internet, a tunnel's VPN server,
// the tunnel that it is behind, or "no".
func (i Inventory) WayOut(c Container) string {
	if c.Internet {
		return "yes"
	}
	for _, e := range i.Edges {
		if e.From == c.Name && e.ToVPN() {
			return e.To
		}
	}
	if tunnel := c.Behind(); tunnel != "" {
		return "through " + tunnel
	}
	return "no"
}

// SecretName is a secret that the state holds encrypted.
type SecretName struct {
	// Name is the resource's name and the property.
	Name string `json:"name"`
	// Type is the resource's type token.
	Type string `json:"type"`
	// Modified is when the resource last changed (RFC 3339); empty if the state does not say.
	Modified string `json:"modified"`
}

// Folder is where a container keeps things.
type Folder struct {
	// Path is the folder on the machine.
	Path string `json:"path"`
	// Container is the container's name.
	Container string `json:"container"`
	// BackedUp is whether the backup covers it.
	BackedUp bool `json:"backedUp"`
}

// TakeInventory lists what the stack exposes and keeps.
func TakeInventory(g *Graph) Inventory {
	out := Inventory{
		Hostnames: []Hostname{}, Containers: []Container{}, Ports: []Port{}, Edges: []Edge{}, Engine: []Asker{}, Secrets: []SecretName{}, Data: []Folder{},
	}
	for _, r := range g.hostRecords() {
		out.Hostnames = append(out.Hostnames, g.hostname(r))
	}
	b, backup := g.backup()
	for _, c := range g.Of(typeContainer) {
		out.Containers = append(out.Containers, g.describe(c))
		for _, p := range c.At("ports").List() {
			out.Ports = append(out.Ports, Port{
				Where: cmp.Or(p.text("ip"), "0.0.0.0"), Protocol: cmp.Or(p.text("protocol"), "tcp"), Port: p.text("external"), For: c.Text("name"),
			})
		}
		for _, folder := range writable(c) {
			covered := backup != nil && slices.ContainsFunc(b.Sources, func(s string) bool { return within(folder, s) }) &&
				!slices.ContainsFunc(b.Exclude, func(p string) bool { return within(folder, strings.TrimPrefix(p, "pp:")) })
			out.Data = append(out.Data, Folder{Path: folder, Container: c.Text("name"), BackedUp: covered})
		}
	}
	g.inbound(func(_ *Resource, rule Value) {
		out.Ports = append(out.Ports, Port{
			Where: "firewall", Protocol: rule.text("protocol"), Port: rule.text("port"), For: rule.text("description"),
			Sources: len(rule.At("sourceIps").List()), Anywhere: fromAnywhere(rule),
		})
	})
	for _, reaches := range g.layers.reaches {
		for _, r := range reaches {
			port, _ := strconv.Atoi(r.port) // the pattern of the line admits digits alone
			switch {
			case r.from != nil && r.to != nil:
				out.Edges = append(out.Edges, Edge{From: r.from.Text("name"), To: r.to.Text("name"), Port: port})
			case r.from != nil && r.server != "":
				out.Edges = append(out.Edges, Edge{From: r.from.Text("name"), To: vpnServer + r.server, Port: port})
			}
		}
	}
	for _, c := range g.withSocket() {
		out.Engine = append(out.Engine, Asker{Container: c.Text("name")})
		for _, r := range g.reachesTo(c) {
			out.Engine = append(out.Engine, Asker{Container: r.from.Text("name"), Through: c.Text("name")})
		}
	}
	out.Secrets = g.secrets()
	out.sort()
	return out
}

func (i *Inventory) sort() {
	slices.SortFunc(i.Hostnames, func(a, b Hostname) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(i.Containers, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(i.Ports, func(a, b Port) int {
		return cmp.Or(strings.Compare(a.Where, b.Where), strings.Compare(a.Protocol, b.Protocol), strings.Compare(a.Port, b.Port), strings.Compare(a.For, b.For))
	})
	slices.SortFunc(i.Edges, func(a, b Edge) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To), cmp.Compare(a.Port, b.Port))
	})
	i.Edges = slices.Compact(i.Edges)
	slices.SortFunc(i.Engine, func(a, b Asker) int {
		return cmp.Or(strings.Compare(a.Through, b.Through), strings.Compare(a.Container, b.Container))
	})
	i.Engine = slices.Compact(i.Engine)
	slices.SortFunc(i.Secrets, func(a, b SecretName) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type))
	})
	slices.SortFunc(i.Data, func(a, b Folder) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Container, b.Container))
	})
}

func (g *Graph) hostname(r *Resource) Hostname {
	name := hostOf(r)
	s, known := g.layers.sites[name]
	h := Hostname{Name: name, Public: isPublic(r), Container: g.answers(s.upstream), Login: "unknown", Groups: []string{}, Open: []string{}, Chain: g.evidence(r)}
	if g.unproxied(r) {
		h.Exception = g.excepted[name]
	}
	if known && !s.guarded() && !slices.Contains(g.running(authelia), g.container(s.upstream)) {
		h.Login = "native"
		return h
	}
	config, file := g.portal()
	if file == nil || file.At("stdin").Hidden() {
		return h
	}
	h.Login = config.AccessControl.DefaultPolicy
	for _, rule := range config.AccessControl.Rules {
		if !slices.Contains(rule.Domain, name) {
			continue
		}
		if rule.Policy == "bypass" {
			for _, path := range rule.Resources {
				h.Open = append(h.Open, strings.Join(rule.Methods, " ")+" "+path)
			}
			continue
		}
		h.Login = rule.Policy
		for _, subjects := range rule.Subject {
			for _, subject := range subjects {
				h.Groups = append(h.Groups, strings.TrimPrefix(subject, "group:"))
			}
		}
	}
	slices.Sort(h.Groups)
	h.Groups = slices.Compact(h.Groups)
	slices.Sort(h.Open)
	return h
}

// answers is the name of the container that answers at the name of one: what is behind it, if it is
// a tunnel and only one is.
func (g *Graph) answers(upstream string) string {
	if answering := g.answering(upstream); len(answering) == 1 {
		return answering[0].Text("name")
	}
	return upstream
}

// evidence lists the layers of a record's chain, each with what the record depends on.
func (g *Graph) evidence(r *Resource) []Evidence {
	var zone []*Resource
	for _, s := range g.Of(typeZoneSetting) {
		if strings.HasPrefix(s.Text("settingId"), "ssl") || strings.Contains(s.Text("settingId"), "tls") || s.Text("settingId") == "always_use_https" {
			zone = append(zone, s)
		}
	}
	withGates := func(containers []*Resource) []*Resource {
		var out []*Resource
		for _, c := range containers {
			out = append(append(out, c), g.layers.gates[c.URN]...)
		}
		return out
	}
	var upstream []*Resource
	if answering := g.answering(g.layers.sites[hostOf(r)].upstream); len(answering) > 0 {
		upstream = withGates(answering)
	}
	layers := []struct {
		name       string
		candidates []*Resource
	}{
		{"WAF", g.rulesets("http_request_firewall_custom", "block")},
		{"rate limit", g.rulesets("http_ratelimit", "block")},
		{"no cache", g.rulesets("http_request_cache_settings", "set_cache_settings")},
		{"TLS of the zone", zone},
		{"origin pulls", g.Of(typeOriginPulls)},
		{"firewall", g.Of(typeFirewall)},
		{"packet filter", g.layers.filters},
		{"proxy", withGates(g.running(caddy))},
		{"route", g.layers.routes[hostOf(r)]},
		{"CrowdSec", withGates(g.running(crowdsec))},
		{"bans are enforced", g.layers.enforces},
		{"portal", withGates(g.running(authelia))},
		{"Fail2ban", g.layers.jails},
		{"service", upstream},
	}
	out := make([]Evidence, 0, len(layers))
	for _, l := range layers {
		names := []string{}
		for _, c := range l.candidates {
			if g.Needs(r, c) {
				names = append(names, c.Name())
			}
		}
		slices.Sort(names)
		out = append(out, Evidence{Layer: l.name, Resources: slices.Compact(names)})
	}
	return out
}

func (g *Graph) describe(c *Resource) Container {
	out := Container{
		Name: c.Text("name"), Image: g.reference(c), User: c.Text("user"), MemoryMiB: int(c.At("memory").Number()), Networks: []string{}, Machine: []string{},
	}
	for _, b := range binds(c) {
		if b.ofMachine() {
			out.Machine = append(out.Machine, b.source)
		}
	}
	slices.Sort(out.Machine)
	for _, n := range c.At("networksAdvanced").List() {
		out.Networks = append(out.Networks, n.text("name"))
	}
	if tunnel := g.behind(c); tunnel != nil {
		out.Networks = append(out.Networks, "container:"+tunnel.Text("name"))
	}
	slices.Sort(out.Networks)
	for _, r := range g.layers.reaches[c.URN] {
		out.Internet = out.Internet || r.internet
	}
	return out
}

func (g *Graph) secrets() []SecretName {
	out := []SecretName{}
	for _, r := range g.resources {
		var names []string
		for _, key := range slices.Sorted(maps.Keys(r.Properties)) {
			if key != "connection" && key != "labels" && r.At(key).Secret() {
				names = append(names, key)
			}
		}
		if len(names) == 0 {
			continue
		}
		name := r.Name() + ": " + strings.Join(names, ", ")
		if m := puts.FindStringSubmatch(r.Text("create")); m != nil {
			name = path.Clean(m[1])
		}
		out = append(out, SecretName{Name: name, Type: r.Type, Modified: r.Modified})
	}
	return out
}
