package rules

import (
	"regexp"
	"strings"
)

// site is a hostname of the proxy.
type site struct {
	hostname string
	upstream string // the container's name
	// lines are the directives of its block, in order, with those of the snippets that it imports.
	lines []string
	file  *Resource
}

// has reports whether a directive of the site begins with the words.
func (s site) has(words string) bool {
	for _, line := range s.lines {
		if line == words || strings.HasPrefix(line, words+" ") {
			return true
		}
	}
	return false
}

// guarded reports whether every request of the site asks the portal: on the way of all requests, and
// not only where a condition holds.
func (s site) guarded() bool {
	depth, at := 0, -1
	for _, line := range s.lines {
		if at < 0 && strings.HasPrefix(line, "authenticate ") {
			return true
		}
		if strings.HasPrefix(line, "route @") || strings.HasPrefix(line, "handle") {
			at = depth
		}
		depth += strings.Count(line, "{") - strings.Count(line, "}")
		if at >= 0 && depth <= at {
			at = -1
		}
	}
	return false
}

var (
	siteAddress = regexp.MustCompile(`^https://([a-z0-9.-]+):\d+ \{$`)
	snippet     = regexp.MustCompile(`^\(([a-z_]+)\) \{$`)
	proxied     = regexp.MustCompile(`^(?:import service|reverse_proxy) ([A-Za-z0-9.-]+):\d+`)
)

// readSites reads the hostnames of a Caddyfile, each with the directives that its requests meet. It
// knows the form in which this program and caddy fmt write them: one directive a line.
func readSites(text string) map[string]site {
	blocks, snippets := map[string][]string{}, map[string][]string{}
	var into map[string][]string
	name, depth := "", 0
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if depth == 0 {
			into = nil
			if m := siteAddress.FindStringSubmatch(line); m != nil {
				into, name = blocks, m[1]
			} else if m := snippet.FindStringSubmatch(line); m != nil {
				into, name = snippets, m[1]
			}
		} else if into != nil && (depth > 1 || line != "}") {
			into[name] = append(into[name], line)
		}
		if strings.HasSuffix(line, "{") {
			depth++
		} else if line == "}" {
			depth--
		}
	}
	out := map[string]site{}
	for hostname, lines := range blocks {
		s := site{hostname: hostname}
		for _, line := range lines {
			if m := proxied.FindStringSubmatch(line); m != nil {
				s.upstream = m[1]
			}
		}
		s.lines = expand(lines, snippets, 0)
		out[hostname] = s
	}
	return out
}

// expand puts what a snippet says in the place of its import.
func expand(lines []string, snippets map[string][]string, depth int) []string {
	var out []string
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "import" && depth < 8 {
			out = append(out, expand(snippets[words[1]], snippets, depth+1)...)
			continue
		}
		out = append(out, line)
	}
	return out
}
