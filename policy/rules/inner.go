package rules

import (
	"slices"
	"strings"
)

// asks are the requests of a service that asks the portal who a user is, by method: the rest of a
// login is the browser's, which comes by the listeners for visitors
// (www.authelia.com/integration/openid-connect/introduction).
var asks = map[string][]string{
	"GET":  {"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks.json", "/api/oidc/userinfo"},
	"POST": {"/api/oidc/token", "/api/oidc/userinfo", "/api/oidc/introspection", "/api/oidc/revocation"},
}

// judgeInnerListener judges the listeners of the proxy that the machine does not publish.
func judgeInnerListener(g *Graph, out *report) {
	eachBlock(func(g *Graph, s site) bool { return !g.layers.forVisitors(s) }, judgeInner)(g, out)
	out.absent("listener for containers")
	ports := map[string]string{}
	for _, s := range g.layers.blocks {
		if s.hostname != "" && !g.layers.forVisitors(s) {
			ports[s.listener] = s.hostname
		}
	}
	for _, reaches := range g.layers.reaches {
		for _, r := range reaches {
			hostname := ports[r.port]
			if hostname == "" || r.to == nil || r.from == nil || !slices.Contains(g.running(caddy), r.to) {
				continue
			}
			knows := slices.ContainsFunc(r.from.At("hosts").List(), func(h Value) bool { return h.text("host") == hostname })
			out.require(knows || r.from.At("hosts").Hidden(), r.file, "%s may reach the listener for containers, and asks nobody by the name of %s", r.from.Name(), hostname)
		}
	}
}

func judgeInner(g *Graph, s site, out *report) {
	if s.hostname == "" {
		out.require(s.has("abort") && len(s.upstreams) == 0, s.file, "the listener :%s for containers answers for any name", s.listener)
		return
	}
	portal := func(name string) bool { return slices.Contains(g.running(authelia), g.container(name)) }
	out.require(portal(g.layers.sites[s.hostname].upstream), s.file, "the listener :%s for containers answers as %s, which is not the portal's name", s.listener, s.hostname)
	for _, u := range s.upstreams {
		name, _, _ := strings.Cut(u, ":")
		out.require(portal(name), s.file, "the listener :%s for containers leads to %s", s.listener, u)
	}
	out.require(refusesTheRest(s), s.file, "the listener :%s for containers lets through more of %s than the paths of OpenID Connect", s.listener, s.hostname)
}

// serves are the directives that answer a request, or change which it is.
var serves = []string{"reverse_proxy", "file_server", "php_fastcgi", "respond", "redir", "handle", "handle_path", "route", "rewrite", "uri", "try_files", "invoke"}

// refusesTheRest reports whether nothing of a site answers before every request is refused that is
// none of those of OpenID Connect.
func refusesTheRest(s site) bool {
	var route *directive
	for _, d := range tree(s.lines) {
		switch {
		case d.words[0] == "route" && len(d.words) == 1 && route == nil:
			route = &d
		case slices.Contains(serves, d.words[0]):
			return false
		}
	}
	if route == nil {
		return false
	}
	matchers := map[string][]directive{}
	for _, d := range route.block {
		first := d.words[0]
		if strings.HasPrefix(first, "@") {
			if len(d.words) > 1 {
				d.block = []directive{{words: d.words[1:], block: d.block}}
			}
			matchers[first] = d.block
			continue
		}
		switch {
		case refuses(d) && onlyAsks(matchers[d.words[1]]):
			return true
		case refuses(d): // less than the rest, so what follows decides
		case slices.Contains(serves, first):
			return false
		}
	}
	return false
}

// refuses reports whether a directive refuses what a matcher finds.
func refuses(d directive) bool {
	if len(d.words) < 2 || !strings.HasPrefix(d.words[1], "@") {
		return false
	}
	switch d.words[0] {
	case "abort":
		return true
	case "respond", "error":
		return len(d.words) == 3 && len(d.words[2]) == 3 && d.words[2][0] == '4'
	}
	return false
}

// onlyAsks reports whether a matcher finds everything but requests of OpenID Connect: each of its
// conditions excepts some, by methods and whole paths.
func onlyAsks(matcher []directive) bool {
	for _, d := range matcher {
		if d.words[0] != "not" || len(d.words) != 1 {
			return false
		}
		var methods, paths []string
		for _, of := range d.block {
			switch {
			case of.words[0] == "method":
				methods = append(methods, of.words[1:]...)
			case of.words[0] == "path":
				paths = append(paths, of.words[1:]...)
			case of.words[0] == "vars" && len(of.words) > 1 && of.words[1] == "{http.request.uri}":
				paths = append(paths, of.words[2:]...)
			default:
				return false
			}
		}
		if len(methods) == 0 || len(paths) == 0 {
			return false
		}
		for _, method := range methods {
			if slices.ContainsFunc(paths, func(path string) bool { return !slices.Contains(asks[method], path) }) {
				return false
			}
		}
	}
	return len(matcher) > 0
}
