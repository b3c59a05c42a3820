package rules

import (
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Type tokens of the resources that rules speak of.
const (
	typeRecord      = "cloudflare:index/dnsRecord:DnsRecord"
	typeRuleset     = "cloudflare:index/ruleset:Ruleset"
	typeZoneSetting = "cloudflare:index/zoneSetting:ZoneSetting"
	typeOriginPulls = "cloudflare:index/authenticatedOriginPullsSettings:AuthenticatedOriginPullsSettings"
	typeFirewall    = "hcloud:index/firewall:Firewall"
	typeServer      = "hcloud:index/server:Server"
	typePrimaryIP   = "hcloud:index/primaryIp:PrimaryIp"
	typeBox         = "hcloud:index/storageBox:StorageBox"
	typeBoxAccount  = "hcloud:index/storageBoxSubaccount:StorageBoxSubaccount"
	typeContainer   = "docker:index/container:Container"
	typeNetwork     = "docker:index/network:Network"
	typeRemoteImage = "docker:index/remoteImage:RemoteImage"
	typeBuiltImage  = "docker:index/image:Image"
	typeCommand     = "command:remote:Command"
	typePassword    = "random:index/randomPassword:RandomPassword"
	typeACL         = "tailscale:index/acl:Acl"
	typeCustom      = "homelab:service:Custom"
	typeTailnetKey  = "tailscale:index/tailnetKey:TailnetKey"
	providerPrefix  = "pulumi:providers:"
)

// layers are where the security chain is in a stack.
type layers struct {
	// image is the repository of a container's image, by the container's URN.
	image map[string]string
	// gates are the commands that wait until a container is healthy, by the container's URN.
	gates map[string][]*Resource
	// files are the commands that write a file on the server, by its path.
	files map[string]*Resource
	// paths are the paths of files, sorted.
	paths []string
	// enforces are the commands that see a banned visitor refused.
	enforces []*Resource
	// jails are the commands that load Fail2ban's jails.
	jails []*Resource
	// filters are the commands that load the machine's packet filter.
	filters []*Resource
	// routes are the commands that see a hostname in the running proxy, by the hostname.
	routes map[string][]*Resource
	// sites are the proxy's hostnames on the listeners for visitors, as its configuration has them.
	sites map[string]site
	// blocks are all of them, on every listener, in the configuration's order.
	blocks []site
	// published are the ports of the proxy's container that the machine publishes.
	published []string
	// reachFiles are the files of the packet filter that allow something, or say that a container
	// may reach nothing.
	reachFiles []*Resource
	// reaches are what containers may reach, by the container's URN.
	reaches map[string][]reach
}

var (
	puts     = regexp.MustCompile(`\bput [0-7]{3,4} \S+ (/\S+)`)
	health   = regexp.MustCompile(`\.State\.Health|\bHealth\b.*\bhealthy\b`)
	enforces = regexp.MustCompile(`\bcaddy enforces\b`)
	hosts    = regexp.MustCompile(`\bloaded-hosts\b.* (\S+)$`)
	jails    = regexp.MustCompile(`\bhomelab-file jails\b|\bfail2ban-client (?:reload|restart)\b`)
	filters  = regexp.MustCompile(`\bhomelab-unit firewall\b|\bnft (?:-f|--file)\b`)
)

func findLayers(g *Graph) *layers {
	l := &layers{
		image: map[string]string{}, gates: map[string][]*Resource{}, files: map[string]*Resource{},
		routes: map[string][]*Resource{}, sites: map[string]site{}, reaches: map[string][]reach{},
	}
	for _, c := range g.Of(typeContainer) {
		l.image[c.URN] = imageOf(g, c)
	}
	for _, c := range g.Of(typeCommand) {
		l.command(g, c)
	}
	l.paths = slices.Sorted(maps.Keys(l.files))
	for _, path := range l.paths {
		if file := l.files[path]; strings.HasSuffix(path, "/Caddyfile") {
			for _, s := range readSites(file.Text("stdin")) {
				s.file = file
				l.blocks = append(l.blocks, s)
			}
		}
	}
	l.findListeners(g)
	for _, s := range l.blocks {
		if _, known := l.sites[s.hostname]; !known && s.hostname != "" && l.forVisitors(s) {
			l.sites[s.hostname] = s
		}
	}
	l.findReaches(g)
	return l
}

// findListeners finds the ports of the proxy's container that the machine publishes.
func (l *layers) findListeners(g *Graph) {
	for _, c := range g.Of(typeContainer) {
		if !runs(l.image[c.URN], caddy) {
			continue
		}
		for _, p := range c.At("ports").List() {
			l.published = append(l.published, p.text("internal"))
		}
	}
}

// forVisitors reports whether a site is on a listener that the machine publishes. Where nothing
// says which it publishes, each counts.
func (l *layers) forVisitors(s site) bool {
	return len(l.published) == 0 || slices.Contains(l.published, s.listener)
}

// command sorts a command by what it does.
func (l *layers) command(g *Graph, c *Resource) {
	create, stdin := c.Text("create"), c.Text("stdin")
	if m := puts.FindStringSubmatch(create); m != nil {
		l.files[m[1]] = c
		if strings.Contains(m[1], "/firewall/container-") {
			l.reachFiles = append(l.reachFiles, c)
		}
	}
	switch {
	case enforces.MatchString(create):
		l.enforces = append(l.enforces, c)
	case jails.MatchString(create):
		l.jails = append(l.jails, c)
	case filters.MatchString(create) && !puts.MatchString(create):
		l.filters = append(l.filters, c)
	}
	if m := hosts.FindStringSubmatch(create); m != nil {
		l.routes[m[1]] = append(l.routes[m[1]], c)
	}
	if text := create + stdin; !strings.Contains(text, "Health") || !health.MatchString(text) {
		return
	}
	for _, urn := range c.Dependencies {
		if of := g.Get(urn); of.Type == typeContainer && mentions(create, of.Text("name")) {
			l.gates[urn] = append(l.gates[urn], c)
		}
	}
}

// mentions reports whether a word of a command line is the name.
func mentions(command, name string) bool {
	for _, word := range strings.Fields(command) {
		if word == name {
			return name != ""
		}
	}
	return false
}

// imageOf returns the repository of a container's image: from the image that it depends on, because
// a container itself names it by its ID.
func imageOf(g *Graph, c *Resource) string {
	image := c.Text("image")
	for _, urn := range c.Dependencies {
		of := g.Get(urn)
		switch {
		case of.Type == typeRemoteImage && (image == of.Text("imageId") || image == of.Text("name") || image == of.Text("repoDigest") || c.At("image").Unknown()):
			return repository(of.Text("name"))
		case of.Type == typeBuiltImage && (image == of.Text("imageName") || c.At("image").Unknown()):
			if of.At("imageName").Hidden() {
				return path.Join("built", path.Base(of.Text("build", "context"))) // until then its folder names it
			}
			return repository(of.Text("imageName"))
		}
	}
	return repository(image)
}

// repository is an image's name without tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		image = image[:colon]
	}
	return image
}

// Programs that rules know by their images.
const (
	crowdsec    = "crowdsec"
	authelia    = "authelia"
	caddy       = "caddy"
	gluetun     = "gluetun"
	qbittorrent = "qbittorrent"
	jellyfin    = "jellyfin"
	recyclarr   = "recyclarr"
	// wiring is what connects the services with each other, and is healthy once that is done.
	wiring = "wire"
)

// running returns the containers that run a program.
func (g *Graph) running(program string) []*Resource {
	var out []*Resource
	for _, c := range g.Of(typeContainer) {
		if runs(g.layers.image[c.URN], program) {
			out = append(out, c)
		}
	}
	return out
}

// runs reports whether an image is of a program: by its name, or by that of who makes it.
func runs(image, program string) bool {
	return strings.HasSuffix(image, "/"+program) || strings.HasPrefix(image, program+"/") || image == program || strings.Contains(image, "/"+program+"/")
}

// reference is a container's image with its tag and digest, or the name of one that was built. A
// container itself names it by its ID.
func (g *Graph) reference(c *Resource) string {
	for _, urn := range c.Dependencies {
		if of := g.Get(urn); of.Type == typeRemoteImage && repository(of.Text("name")) == g.layers.image[c.URN] {
			return of.Text("name")
		}
	}
	return c.Text("image")
}

// container returns the container with a name, or nil.
func (g *Graph) container(name string) *Resource {
	for _, c := range g.Of(typeContainer) {
		if c.Text("name") == name {
			return c
		}
	}
	return nil
}

// public reports whether an address is one of the internet.
func public(address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && a.IsGlobalUnicast() && !a.IsPrivate() && !carrierGrade.Contains(a.Unmap()) && !tailnet6.Contains(a)
}

// Ranges of a tailnet (tailscale.com/kb/1033).
var (
	carrierGrade = netip.MustParsePrefix("100.64.0.0/10")
	tailnet6     = netip.MustParsePrefix("fd7a:115c:a1e0::/48")
)
