package rules

import (
	"net/netip"
	"slices"
	"strings"
)

// knownAtPreview is what most rules do with unknown values.
const (
	unknownOpen = "left open until the value is known; the dependencies are judged all the same"
	unknownNone = "needs no value that a preview does not know"
)

// isPublic reports whether a record leads to the internet: by Cloudflare, or by a public address. A
// name, or an address that is not known yet, counts as public.
func isPublic(r *Resource) bool {
	if r.At("proxied").True() {
		return true
	}
	content := r.At("content")
	if content.Hidden() {
		return r.Text("ttl") == "1" || r.At("proxied").Hidden()
	}
	_, err := netip.ParseAddr(content.Text())
	return err != nil || public(content.Text())
}

// hostRecords are the records by which somebody reaches a server.
func (g *Graph) hostRecords() []*Resource {
	var out []*Resource
	for _, r := range g.Of(typeRecord) {
		switch r.Text("type") {
		case "A", "AAAA", "CNAME", "":
			out = append(out, r)
		}
	}
	return out
}

// eachRecord judges the records, all of them or the public ones. What leads past Cloudflare by an
// exception has no edge, and no other layer of the stack either if it leads elsewhere.
func eachRecord(publicOnly bool, judge func(*Graph, *Resource, *report)) func(*Graph, *report) {
	return func(g *Graph, out *report) {
		out.absent("DNS record")
		if publicOnly {
			out.absent("public DNS record")
		}
		for _, r := range g.hostRecords() {
			switch {
			case publicOnly && !isPublic(r):
			case g.unproxied(r) && (publicOnly || !g.leadsHere(r)):
				out.absent("DNS record without an exception")
			default:
				out.look()
				judge(g, r, out)
			}
		}
	}
}

// needsOne fails unless the record depends on one of the resources.
func needsOne(g *Graph, record *Resource, candidates []*Resource, what string, out *report) {
	for _, c := range candidates {
		if g.Needs(record, c) {
			return
		}
	}
	if len(candidates) == 0 {
		out.fail(record, "%s is published, and nothing in the stack is %s", hostOf(record), what)
		return
	}
	out.fail(record, "%s is published without depending on %s", hostOf(record), what)
}

func hostOf(record *Resource) string {
	if name := record.Text("name"); name != "" {
		return name
	}
	return record.Name()
}

// healthy fails unless the record depends on a container of the program, and on the command that
// waits until it is healthy.
func healthy(program, what string) func(*Graph, *Resource, *report) {
	return func(g *Graph, record *Resource, out *report) {
		containers := g.running(program)
		needsOne(g, record, containers, what, out)
		var gates []*Resource
		for _, c := range containers {
			gates = append(gates, g.layers.gates[c.URN]...)
		}
		if len(containers) > 0 {
			needsOne(g, record, gates, "a check that "+what+" is healthy", out)
		}
	}
}

// rulesets are the rulesets of a phase that do something.
func (g *Graph) rulesets(phase, action string) []*Resource {
	var out []*Resource
	for _, r := range g.Of(typeRuleset) {
		if r.Text("phase") != phase {
			continue
		}
		for _, rule := range r.At("rules").List() {
			if rule.text("action") == action && !off(rule.At("enabled")) {
				out = append(out, r)
				break
			}
		}
	}
	return out
}

func off(v Value) bool { b, ok := v.any.(bool); return ok && !b }

// text is the text at the keys of nested objects.
func (v Value) text(keys ...string) string { return v.At(keys...).Text() }

var recordRules = []Rule{
	{
		ID: ProxiedID, Title: "A record that leads to the internet is proxied by Cloudflare", Severity: Critical, Layer: LayerEdge,
		Remedy: "make the record through exposure.Publish, which proxies it, or make the service's visibility tailnet; " +
			"a hostname that cannot be proxied is named with its reason in this rule's configuration",
		Unknown: unknownOpen,
		check:   judgeProxied,
	},
	{
		ID: "record-no-wildcard", Title: "No record stands for every name", Severity: High, Layer: LayerEdge,
		Remedy: "publish the hostnames one by one", Unknown: unknownNone,
		check: eachRecord(false, func(_ *Graph, r *Resource, out *report) {
			out.require(!strings.HasPrefix(hostOf(r), "*"), r, "%s stands for every name", hostOf(r))
		}),
	},
	{
		ID: "record-custom-rules", Title: "A public record depends on custom WAF rules that block", Severity: Critical, Layer: LayerEdge,
		Remedy: "make the record depend on the zone's ruleset of custom rules", Unknown: unknownNone,
		check: eachRecord(true, func(g *Graph, r *Resource, out *report) {
			needsOne(g, r, g.rulesets("http_request_firewall_custom", "block"), "custom WAF rules that block", out)
		}),
	},
	{
		ID: "record-rate-limit", Title: "A public record depends on a rate limit", Severity: High, Layer: LayerEdge,
		Remedy: "make the record depend on the zone's ruleset of rate limits", Unknown: unknownNone,
		check: eachRecord(true, func(g *Graph, r *Resource, out *report) {
			needsOne(g, r, g.rulesets("http_ratelimit", "block"), "a rate limit", out)
		}),
	},
	{
		ID: "record-no-cache", Title: "Nothing behind a public record is cached", Severity: High, Layer: LayerEdge,
		Remedy: "name the hostname in a cache rule that bypasses the cache, and depend on it", Unknown: unknownOpen,
		check: eachRecord(true, func(g *Graph, r *Resource, out *report) {
			for _, set := range g.rulesets("http_request_cache_settings", "set_cache_settings") {
				for _, rule := range set.At("rules").List() {
					cache := rule.At("actionParameters", "cache")
					named := rule.At("expression").Hidden() || strings.Contains(rule.text("expression"), `"`+hostOf(r)+`"`)
					if off(cache) && named && g.Needs(r, set) {
						return
					}
				}
			}
			out.fail(r, "%s depends on no cache rule that bypasses the cache for it", hostOf(r))
		}),
	},
	{
		ID: "record-zone-tls", Title: "A public record depends on the zone's TLS settings", Severity: Critical, Layer: LayerEdge,
		Remedy: "make the record depend on the settings ssl, min_tls_version and always_use_https", Unknown: unknownNone,
		check: eachRecord(true, func(g *Graph, r *Resource, out *report) {
			for _, id := range []string{"ssl", "min_tls_version", "tls_1_3", "always_use_https", "security_header"} {
				needsOne(g, r, g.zoneSettings(id), "the zone's setting "+id, out)
			}
		}),
	},
	{
		ID: "record-origin-pulls", Title: "A public record depends on origin pulls with the zone's own certificate", Severity: Critical, Layer: LayerEdge,
		Remedy: "switch authenticated origin pulls on, and make the record depend on it", Unknown: unknownNone,
		check: eachRecord(true, func(g *Graph, r *Resource, out *report) {
			needsOne(g, r, g.Of(typeOriginPulls), "authenticated origin pulls", out)
		}),
	},
	{
		ID: "record-firewall", Title: "A record depends on the server's firewall at Hetzner", Severity: Critical, Layer: LayerFirewall,
		Remedy: "make the record depend on the firewall that is attached to the server", Unknown: unknownNone,
		check: eachRecord(false, func(g *Graph, r *Resource, out *report) {
			needsOne(g, r, g.Of(typeFirewall), "a firewall", out)
		}),
	},
	{
		ID: "record-packet-filter", Title: "A record depends on the loaded packet filter of the machine", Severity: Critical, Layer: LayerFirewall,
		Remedy: "make the record depend on every command that loads the packet filter before containers start", Unknown: unknownNone,
		check: eachRecord(false, func(g *Graph, r *Resource, out *report) {
			if len(g.layers.filters) == 0 {
				needsOne(g, r, nil, "a command that loads a packet filter", out)
			}
			for _, f := range g.layers.filters {
				out.require(g.Needs(r, f), r, "%s is published without depending on the packet filter that %s loads", hostOf(r), f.Name())
			}
		}),
	},
	{
		ID: "record-proxy", Title: "A record depends on the healthy proxy", Severity: High, Layer: LayerProxy,
		Remedy: "make the record from a gateway.Route", Unknown: unknownNone,
		check: eachRecord(false, healthy(caddy, "the proxy")),
	},
	{
		ID: "record-route", Title: "A record depends on its own route in the running proxy", Severity: High, Layer: LayerProxy,
		Remedy: "make the record from a gateway.Route, which is in the proxy's loaded configuration", Unknown: unknownNone,
		check: eachRecord(false, func(g *Graph, r *Resource, out *report) {
			needsOne(g, r, g.layers.routes[hostOf(r)], "a check that the proxy serves "+hostOf(r), out)
		}),
	},
	{
		ID: "record-upstream", Title: "A record depends on the healthy container behind it", Severity: High, Layer: LayerProxy,
		Remedy: "make the record depend on the container that the proxy sends its requests to", Unknown: unknownOpen,
		check: eachRecord(false, judgeUpstream),
	},
	{
		ID: "record-set-up", Title: "No record leads to a service that is still anybody's to set up", Severity: Critical, Layer: LayerProxy,
		Remedy: "make the record depend on the healthy wiring, or for Jellyfin on the command that names its administrator", Unknown: unknownOpen,
		check: judgeSetUp,
	},
	{
		ID: "record-detection", Title: "A record depends on healthy CrowdSec", Severity: Critical, Layer: LayerDetection,
		Remedy: "make the record from a gateway.Route", Unknown: unknownNone,
		check: eachRecord(false, healthy(crowdsec, "CrowdSec")),
	},
	{
		ID: "record-enforcement", Title: "A record depends on the proof that bans are enforced", Severity: Critical, Layer: LayerDetection,
		Remedy: "make the record depend on the command that sees a banned visitor refused", Unknown: unknownNone,
		check: eachRecord(false, func(g *Graph, r *Resource, out *report) {
			needsOne(g, r, g.layers.enforces, "a proof that bans are enforced", out)
		}),
	},
	{
		ID: "record-portal", Title: "A record depends on the healthy portal", Severity: Critical, Layer: LayerPortal,
		Remedy: "make the record from a gateway.Route", Unknown: unknownNone,
		check: eachRecord(false, healthy(authelia, "the portal")),
	},
	{
		ID: "record-fail2ban", Title: "A record depends on Fail2ban's loaded jails", Severity: High, Layer: LayerJails,
		Remedy: "make the record depend on the command that loads the jails", Unknown: unknownNone,
		check: eachRecord(false, func(g *Graph, r *Resource, out *report) {
			needsOne(g, r, g.layers.jails, "loaded jails of Fail2ban", out)
		}),
	},
}

func judgeProxied(g *Graph, out *report) {
	eachRecord(true, func(_ *Graph, r *Resource, out *report) {
		switch proxied := r.At("proxied"); {
		case proxied.Hidden():
			out.undecided(r, "whether %s is proxied is not known", hostOf(r))
		case !proxied.True():
			out.fail(r, "%s leads to %s past Cloudflare", hostOf(r), r.Text("content"))
		}
	})(g, out)
	g.judgeExceptions(out)
}

func judgeUpstream(g *Graph, r *Resource, out *report) {
	s, ok := g.layers.sites[hostOf(r)]
	if !ok {
		for _, path := range g.layers.paths {
			if file := g.layers.files[path]; strings.HasSuffix(path, "/Caddyfile") && file.At("stdin").Hidden() {
				out.undecided(r, "the proxy's configuration is not known, so neither is what answers as %s", hostOf(r))
				return
			}
		}
		out.fail(r, "the proxy's configuration has no %s", hostOf(r))
		return
	}
	c := g.container(s.upstream)
	if c == nil {
		out.fail(r, "%s leads to %q, which is no container of the stack", hostOf(r), s.upstream)
		return
	}
	answering := g.answering(s.upstream)
	out.require(len(answering) > 0, r, "%s leads to the tunnel %s, and nothing is behind it", hostOf(r), s.upstream)
	if !slices.Contains(answering, c) {
		answering = append(answering, c)
	}
	for _, a := range answering {
		needsOne(g, r, []*Resource{a}, "the container "+a.Text("name"), out)
		needsOne(g, r, g.layers.gates[a.URN], "a check that "+a.Text("name")+" is healthy", out)
	}
}

// needSetUp are the programs that belong to whoever comes first: who reaches one that is new names its
// administrator, or needs none.
var needSetUp = []string{jellyfin, "jellyseerr", "seerr", "overseerr", "radarr", "sonarr", "prowlarr", "jackett", qbittorrent}

// judgeSetUp judges the records of what has to be set up first: by the wiring, which reaches it, or by
// a command.
func judgeSetUp(g *Graph, out *report) {
	out.absent("service that has to be set up")
	for _, r := range g.hostRecords() {
		s, ok := g.layers.sites[hostOf(r)]
		if !ok {
			continue // record-upstream says so
		}
		for _, c := range g.answering(s.upstream) {
			wired := g.wirings(s.upstream)
			for _, w := range wired {
				out.look()
				needsOne(g, r, g.layers.gates[w.URN], "a check that "+w.Text("name")+" has set up "+c.Text("name"), out)
			}
			known := slices.ContainsFunc(needSetUp, func(program string) bool { return slices.Contains(g.running(program), c) })
			if len(wired) > 0 || !known {
				continue
			}
			out.look()
			if slices.Contains(g.running(jellyfin), c) {
				needsOne(g, r, g.administrators(c), "a command that names the administrator of "+c.Text("name"), out)
				continue
			}
			out.fail(r, "%s leads to %s, which belongs to whoever comes first: no wiring may reach it", hostOf(r), c.Text("name"))
		}
	}
}

// wirings are the containers that connect the services, and may reach the one with the name.
func (g *Graph) wirings(upstream string) []*Resource {
	return slices.DeleteFunc(g.running(wiring), func(w *Resource) bool {
		return !slices.ContainsFunc(g.layers.reaches[w.URN], func(r reach) bool { return r.to != nil && r.to.Text("name") == upstream })
	})
}

// administrators are the commands that complete Jellyfin's first set-up: they run a program of the
// stack that does so.
func (g *Graph) administrators(c *Resource) []*Resource {
	return slices.DeleteFunc(g.Of(typeCommand), func(command *Resource) bool {
		create := command.Text("create")
		program, _, _ := strings.Cut(create, " ")
		file := g.layers.files[program]
		return file == nil || !strings.Contains(file.Text("stdin"), "/Startup/Complete") || !mentions(create, c.Text("name"))
	})
}

func (g *Graph) zoneSettings(id string) []*Resource {
	var out []*Resource
	for _, s := range g.Of(typeZoneSetting) {
		if s.Text("settingId") == id {
			out = append(out, s)
		}
	}
	return out
}
