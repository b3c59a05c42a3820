package rules

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// eachSite judges every hostname that visitors reach, by the proxy's configuration.
func eachSite(judge func(*Graph, site, *report)) func(*Graph, *report) {
	return eachBlock(func(g *Graph, s site) bool { return s.hostname != "" && g.layers.forVisitors(s) }, judge)
}

// eachName judges every hostname of the proxy's configuration, also on the listener that only
// containers reach.
func eachName(judge func(*Graph, site, *report)) func(*Graph, *report) {
	return eachBlock(func(_ *Graph, s site) bool { return s.hostname != "" }, judge)
}

func eachBlock(those func(*Graph, site) bool, judge func(*Graph, site, *report)) func(*Graph, *report) {
	return func(g *Graph, out *report) {
		out.absent("configuration of a Caddy proxy")
		for _, path := range g.layers.paths {
			if file := g.layers.files[path]; strings.HasSuffix(path, "/Caddyfile") && file.At("stdin").Hidden() {
				out.undecided(file, "the proxy's configuration is not known")
			}
		}
		for _, s := range g.layers.blocks {
			if those(g, s) {
				out.look()
				judge(g, s, out)
			}
		}
	}
}

var proxyRules = []Rule{
	{
		ID: "proxy-tls", Title: "The proxy speaks TLS 1.3 and nothing older", Severity: High, Layer: LayerProxy,
		Remedy: "set protocols tls1.3 in the tls directive of every site", Unknown: unknownOpen,
		check: eachName(func(_ *Graph, s site, out *report) {
			out.require(slices.Contains(s.lines, "protocols tls1.3"), s.file, "%s accepts older versions of TLS", s.hostname)
		}),
	},
	{
		ID: "proxy-client-certificate", Title: "A public site asks for the zone's client certificate", Severity: Critical, Layer: LayerProxy,
		Remedy: "set client_auth with mode require_and_verify in the tls directive", Unknown: unknownOpen,
		check: eachSite(func(g *Graph, s site, out *report) {
			for _, r := range g.hostRecords() {
				if hostOf(r) == s.hostname && r.At("proxied").True() {
					out.require(slices.Contains(s.lines, "mode require_and_verify"), s.file, "%s lets in whoever finds the server's address", s.hostname)
				}
			}
		}),
	},
	{
		ID: "proxy-bouncer", Title: "Every site refuses banned visitors", Severity: Critical, Layer: LayerDetection,
		Remedy: "put the bouncer first in the site's route", Unknown: unknownOpen,
		check: eachName(func(_ *Graph, s site, out *report) {
			out.require(s.has("bouncer") || s.has("crowdsec"), s.file, "%s serves banned visitors", s.hostname)
		}),
	},
	{
		ID: "proxy-inspection", Title: "Every site has requests inspected", Severity: High, Layer: LayerDetection,
		Remedy: "put the inspection before the service in the site's route", Unknown: unknownOpen,
		check: eachName(func(_ *Graph, s site, out *report) {
			out.require(s.has("inspect body") || s.has("appsec"), s.file, "nobody inspects what %s gets", s.hostname)
		}),
	},
	{
		ID: "proxy-headers", Title: "Every site removes what a visitor could pass for somebody else with", Severity: High, Layer: LayerProxy,
		Remedy: "strip identity headers before the portal is asked", Unknown: unknownOpen,
		check: eachName(func(_ *Graph, s site, out *report) {
			out.require(slices.Contains(s.lines, "Remote*") || s.has("request_header -Remote-*"), s.file, "%s believes who its visitors say they are", s.hostname)
		}),
	},
	{
		ID: "proxy-stray-route", Title: "The proxy serves no name that has no record", Severity: Low, Layer: LayerProxy,
		Remedy: "remove the site, or publish it", Unknown: unknownOpen,
		check: eachSite(func(g *Graph, s site, out *report) {
			published := slices.ContainsFunc(g.Of(typeRecord), func(r *Resource) bool { return hostOf(r) == s.hostname })
			out.require(published, s.file, "%s has a route and no record", s.hostname)
		}),
	},
	{
		ID: "proxy-inner", Title: "The listener for containers answers for the portal alone, and only what a login by OpenID Connect asks", Severity: High, Layer: LayerProxy,
		Remedy:  "name the methods and paths of OpenID Connect there, refuse every other request, and give an edge to it to nobody but a service with such a login",
		Unknown: unknownOpen,
		check:   judgeInnerListener,
	},
}

// portalConfig is what the rules read of Authelia's configuration.
type portalConfig struct {
	AccessControl struct {
		DefaultPolicy string       `yaml:"default_policy"`
		Rules         []portalRule `yaml:"rules"`
	} `yaml:"access_control"`
	Regulation struct {
		MaxRetries int `yaml:"max_retries"`
	} `yaml:"regulation"`
}

type portalRule struct {
	Domain    []string   `yaml:"domain"`
	Policy    string     `yaml:"policy"`
	Subject   [][]string `yaml:"subject"`
	Resources []string   `yaml:"resources"`
	Methods   []string   `yaml:"methods"`
}

// portal returns the portal's configuration and the command that writes it, or nil.
func (g *Graph) portal() (portalConfig, *Resource) {
	for _, path := range g.layers.paths {
		file := g.layers.files[path]
		if !strings.HasSuffix(path, "/authelia/config/configuration.yml") && !strings.HasSuffix(path, "authelia.yml") {
			continue
		}
		var c portalConfig
		if yaml.Unmarshal([]byte(file.Text("stdin")), &c) != nil {
			return portalConfig{}, file
		}
		return c, file
	}
	return portalConfig{}, nil
}

func withPortal(judge func(*Graph, portalConfig, *Resource, *report)) func(*Graph, *report) {
	return func(g *Graph, out *report) {
		out.absent("configuration of a portal")
		c, file := g.portal()
		switch {
		case file == nil:
		case file.At("stdin").Hidden():
			out.undecided(file, "the portal's configuration is not known")
		default:
			out.look()
			judge(g, c, file, out)
		}
	}
}

// wide reports whether a pattern opens more than the paths that somebody meant: it is not tied to the
// beginning of a path, or it takes most of the first characters that a path can have.
func wide(pattern string) bool {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || !anchored(parsed) {
		return true
	}
	expression := regexp.MustCompile(pattern) // it was parsed above
	const first = "abcdefghijklmnopqrstuvwxyz0123456789_"
	taken := 0
	for _, c := range first {
		for _, path := range []string{"/%c", "/%c/", "/%cx", "/%cx/y", "/%cpi/v1/z.js"} {
			if expression.MatchString(fmt.Sprintf(path, c)) {
				taken++
				break
			}
		}
	}
	return taken > len(first)/2
}

// anchored reports whether every match begins at the beginning of the text.
func anchored(e *syntax.Regexp) bool {
	switch e.Op {
	case syntax.OpBeginText:
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return anchored(e.Sub[0])
	case syntax.OpRepeat:
		return e.Min > 0 && anchored(e.Sub[0])
	case syntax.OpConcat:
		return len(e.Sub) > 0 && anchored(e.Sub[0])
	case syntax.OpAlternate:
		return !slices.ContainsFunc(e.Sub, func(s *syntax.Regexp) bool { return !anchored(s) })
	}
	return false
}

// admits are the policies of the portal that ask for a login.
var admits = []string{"one_factor", "two_factor"}

var portalRules = []Rule{
	{
		ID: "portal-default-deny", Title: "The portal denies what no rule allows", Severity: Critical, Layer: LayerPortal,
		Remedy: "set access_control.default_policy to deny", Unknown: unknownOpen,
		check: withPortal(func(_ *Graph, c portalConfig, file *Resource, out *report) {
			out.require(c.AccessControl.DefaultPolicy == "deny", file, "what no rule names is %q", c.AccessControl.DefaultPolicy)
		}),
	},
	{
		ID: "portal-bypass", Title: "A bypass of the portal is for named paths and methods", Severity: Critical, Layer: LayerPortal,
		Remedy: "name the paths, each from its beginning, and the methods", Unknown: unknownOpen,
		check: withPortal(func(_ *Graph, c portalConfig, file *Resource, out *report) {
			for _, r := range c.AccessControl.Rules {
				if r.Policy != "bypass" {
					continue
				}
				hosts := strings.Join(r.Domain, ", ")
				out.require(len(r.Resources) > 0, file, "everybody passes to all of %s", hosts)
				out.require(len(r.Methods) > 0, file, "everybody passes with any method to a path of %s", hosts)
				out.require(!slices.ContainsFunc(r.Resources, wide), file, "everybody passes to more than one path of %s: %s", hosts, strings.Join(r.Resources, ", "))
			}
		}),
	},
	{
		ID: "portal-asked", Title: "A site asks the portal, or is for the tailnet alone", Severity: Critical, Layer: LayerPortal,
		Remedy: "set the service's access to two-factor, or its visibility to tailnet", Unknown: unknownOpen,
		check: eachSite(func(g *Graph, s site, out *report) {
			for _, r := range g.hostRecords() {
				if hostOf(r) != s.hostname || !isPublic(r) || slices.Contains(g.running(authelia), g.container(s.upstream)) {
					continue
				}
				native := strings.Contains(r.Text("comment"), "native")
				out.require(s.guarded() || native, s.file, "%s is public, and nobody asks who its visitors are", s.hostname)
			}
		}),
	},
	{
		ID: "portal-groups", Title: "The portal knows who may enter each site that asks it", Severity: High, Layer: LayerPortal,
		Remedy: "add a rule with the hostname, a policy and the groups", Unknown: unknownOpen,
		check: withPortal(func(g *Graph, c portalConfig, file *Resource, out *report) {
			for name, s := range g.layers.sites {
				if !s.guarded() {
					continue
				}
				known := slices.ContainsFunc(c.AccessControl.Rules, func(r portalRule) bool {
					return slices.Contains(r.Domain, name) && slices.Contains(admits, r.Policy) && len(r.Subject) > 0
				})
				out.require(known, file, "no rule says which groups may enter %s", name)
			}
		}),
	},
	{
		ID: "portal-second-factor", Title: "A public site asks for two factors", Severity: Medium, Layer: LayerPortal,
		Remedy: "set the service's access to two-factor", Unknown: unknownOpen,
		check: withPortal(func(g *Graph, c portalConfig, file *Resource, out *report) {
			for _, r := range g.hostRecords() {
				for _, rule := range c.AccessControl.Rules {
					if isPublic(r) && slices.Contains(rule.Domain, hostOf(r)) && rule.Policy == "one_factor" {
						out.fail(file, "%s is public, and a password is enough", hostOf(r))
					}
				}
			}
		}),
	},
	{
		ID: "portal-regulation", Title: "The portal slows down who guesses passwords", Severity: Medium, Layer: LayerPortal,
		Remedy: "set regulation.max_retries to 10 at the most", Unknown: unknownOpen,
		check: withPortal(func(_ *Graph, c portalConfig, file *Resource, out *report) {
			out.require(c.Regulation.MaxRetries > 0 && c.Regulation.MaxRetries <= 10, file, "%d wrong passwords are allowed", c.Regulation.MaxRetries)
		}),
	},
}
