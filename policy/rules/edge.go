package rules

import (
	"net/netip"
	"strconv"
	"strings"
)

// setting judges the value of a zone's setting, wherever it is declared.
func setting(id string, good func(Value) bool, what string) func(*Graph, *report) {
	return func(g *Graph, out *report) {
		out.absent("zone setting " + id)
		for _, s := range g.zoneSettings(id) {
			switch v := s.At("value"); {
			case v.Hidden():
				out.undecided(s, "the value of %s is not known", id)
			default:
				out.require(good(v), s, "%s: %s", id, what)
			}
		}
	}
}

func is(want string) func(Value) bool { return func(v Value) bool { return v.Text() == want } }

var edgeRules = []Rule{
	{
		ID: "zone-strict", Title: "Cloudflare verifies the server's certificate", Severity: Critical, Layer: LayerEdge,
		Remedy: "set the zone's ssl to strict", Unknown: unknownOpen,
		check: setting("ssl", is("strict"), "anything but strict lets somebody between Cloudflare and the server read everything"),
	},
	{
		ID: "zone-min-tls", Title: "Visitors use TLS 1.2 or newer", Severity: High, Layer: LayerEdge,
		Remedy: "set the zone's min_tls_version to 1.2 or 1.3", Unknown: unknownOpen,
		check: setting("min_tls_version", func(v Value) bool { return v.Text() == "1.2" || v.Text() == "1.3" }, "older versions of TLS are broken"),
	},
	{
		ID: "zone-tls-1-3", Title: "Visitors can use TLS 1.3", Severity: Medium, Layer: LayerEdge,
		Remedy: "set the zone's tls_1_3 to on", Unknown: unknownOpen,
		check: setting("tls_1_3", func(v Value) bool { return v.Text() == "on" || v.Text() == "zrt" }, "it is off"),
	},
	{
		ID: "zone-https", Title: "Nothing is served without TLS", Severity: High, Layer: LayerEdge,
		Remedy: "set the zone's always_use_https to on", Unknown: unknownOpen,
		check: setting("always_use_https", is("on"), "cookies and passwords could travel in clear"),
	},
	{
		ID: "zone-hsts", Title: "Browsers never come back without TLS", Severity: Medium, Layer: LayerEdge,
		Remedy: "enable strict_transport_security in security_header, for half a year at least", Unknown: unknownOpen,
		check: setting("security_header", func(v Value) bool {
			hsts := v.At("strict_transport_security")
			return hsts.At("enabled").True() && hsts.At("max_age").Number() >= 180*24*3600
		}, "HSTS is off, or shorter than 180 days"),
	},
	{
		ID: "zone-origin-pulls", Title: "Origin pulls with the zone's certificate are on", Severity: Critical, Layer: LayerEdge,
		Remedy: "set enabled to true", Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			out.absent("setting of authenticated origin pulls")
			for _, s := range g.Of(typeOriginPulls) {
				if s.At("enabled").Hidden() {
					out.undecided(s, "whether origin pulls are authenticated is not known")
					continue
				}
				out.require(s.At("enabled").True(), s, "origin pulls are not authenticated, so anybody's Cloudflare zone reaches the server")
			}
		},
	},
}

// inbound are the rules of all firewalls that let something in.
func (g *Graph) inbound(visit func(firewall *Resource, rule Value)) {
	for _, f := range g.Of(typeFirewall) {
		for _, rule := range f.At("rules").List() {
			if rule.text("direction") == "in" {
				visit(f, rule)
			}
		}
	}
}

// covers reports whether a rule's port, a number or a range such as 20-25, holds the port.
func covers(ports string, port int) bool {
	if ports == "any" || ports == "" {
		return true
	}
	from, to, ok := strings.Cut(ports, "-")
	if !ok {
		to = from
	}
	low, errLow := strconv.Atoi(from)
	high, errHigh := strconv.Atoi(to)
	return errLow == nil && errHigh == nil && low <= port && port <= high
}

// fromAnywhere reports whether a rule lets in a large part of the internet.
func fromAnywhere(rule Value) bool {
	for _, source := range rule.At("sourceIps").Texts() {
		if p, err := netip.ParsePrefix(source); err == nil && p.Bits() < 8 {
			return true
		}
	}
	return false
}

var firewallRules = []Rule{
	{
		ID: "server-firewall", Title: "Every server is behind a firewall of the stack", Severity: Critical, Layer: LayerFirewall,
		Remedy: "attach a firewall to the server by firewallIds", Unknown: "an unknown list of firewalls counts, if the server depends on a firewall",
		check: func(g *Graph, out *report) {
			out.absent("server")
			for _, s := range g.Of(typeServer) {
				depends := false
				for _, f := range g.Of(typeFirewall) {
					depends = depends || g.Needs(s, f)
				}
				ids := s.At("firewallIds")
				out.require(depends && (ids.Hidden() || len(ids.List()) > 0), s, "the server is behind no firewall")
			}
		},
	},
	{
		ID: "firewall-closed", Title: "From anywhere come only ICMP and one encrypted UDP port", Severity: Critical, Layer: LayerFirewall,
		Remedy: "name the addresses that a TCP port is for; HTTPS is for Cloudflare's ranges", Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			out.absent("firewall")
			for _, f := range g.Of(typeFirewall) {
				out.look()
				if f.At("rules").Hidden() {
					out.undecided(f, "the rules are not known")
				}
			}
			g.inbound(func(f *Resource, rule Value) {
				if rule.At("sourceIps").Hidden() {
					out.undecided(f, "the sources of port %s are not known", rule.text("port"))
					return
				}
				if !fromAnywhere(rule) {
					return
				}
				ports := rule.text("port")
				closed := rule.text("protocol") == "icmp" || rule.text("protocol") == "udp" && !strings.Contains(ports, "-") && ports != "any" && ports != ""
				out.require(closed, f, "%s port %s is open to anybody (%s)", rule.text("protocol"), ports, rule.text("description"))
			})
		},
	},
	{
		ID: "firewall-ssh", Title: "SSH is not open to the internet, but behind a broken glass with its reason", Severity: Critical, Layer: LayerFirewall,
		Remedy:  "reach the server over the tailnet; in an emergency set server.breakGlass, with a reason and your own address",
		Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			out.absent("firewall")
			for range g.Of(typeFirewall) {
				out.look()
			}
			g.inbound(func(f *Resource, rule Value) {
				if rule.text("protocol") != "tcp" || !covers(rule.text("port"), 22) {
					return
				}
				reason, broken := strings.CutPrefix(rule.text("description"), "break glass: ")
				if !broken || strings.TrimSpace(reason) == "" {
					out.fail(f, "SSH is open without a reason (%s)", rule.text("description"))
					return
				}
				for _, source := range rule.At("sourceIps").Texts() {
					p, err := netip.ParsePrefix(source)
					small := err == nil && (p.Addr().Is4() && p.Bits() >= 24 || p.Addr().Is6() && p.Bits() >= 48)
					out.require(small, f, "the glass is broken for %s, which is more than one network", source)
				}
			})
		},
	},
}
