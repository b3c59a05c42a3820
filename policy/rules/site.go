package rules

import (
	"regexp"
	"strconv"
	"strings"
)

// site is a block of the proxy's configuration: a hostname on one of its listeners.
type site struct {
	// hostname is empty for any other name.
	hostname string
	// listener is the port in the container.
	listener string
	upstream string // the container's name
	// upstreams are all that it forwards to, as NAME:PORT.
	upstreams []string
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

// guarded reports whether every request of the site asks the portal: on the way of all requests,
// and not only where a condition holds.
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
	siteAddress = regexp.MustCompile(`^https://([a-z0-9.-]*):(\d+) \{$`)
	snippet     = regexp.MustCompile(`^\(([a-z_]+)\) \{$`)
	proxied     = regexp.MustCompile(`^reverse_proxy ([A-Za-z0-9.-]+):(\d+)`)
)

// readSites reads the hostnames of a Caddyfile, each with the directives that its requests meet, in
// the file's order. It knows the form in which this program and caddy fmt write them: one directive
// a line.
func readSites(text string) []site {
	var sites []site
	snippets := map[string][]string{}
	add := func(string) {}
	depth := 0
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if depth == 0 {
			add = func(string) {}
			if m := siteAddress.FindStringSubmatch(line); m != nil {
				sites = append(sites, site{hostname: m[1], listener: m[2]})
				add = func(line string) { last := &sites[len(sites)-1]; last.lines = append(last.lines, line) }
			} else if m := snippet.FindStringSubmatch(line); m != nil {
				add = func(line string) { snippets[m[1]] = append(snippets[m[1]], line) }
			}
		} else if depth > 1 || line != "}" {
			add(line)
		}
		if strings.HasSuffix(line, "{") {
			depth++
		} else if line == "}" {
			depth--
		}
	}
	for i := range sites {
		s := &sites[i]
		s.lines = expand(s.lines, snippets, 0)
		for _, line := range s.lines {
			if m := proxied.FindStringSubmatch(line); m != nil {
				s.upstream = m[1]
				s.upstreams = append(s.upstreams, m[1]+":"+m[2])
			}
		}
	}
	return sites
}

// expand puts what a snippet says in the place of its import, with the import's arguments.
func expand(lines []string, snippets map[string][]string, depth int) []string {
	var out []string
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "import" || depth >= 8 {
			out = append(out, line)
			continue
		}
		for _, said := range expand(snippets[words[1]], snippets, depth+1) {
			for i, argument := range words[2:] {
				said = strings.ReplaceAll(said, "{args["+strconv.Itoa(i)+"]}", argument)
			}
			out = append(out, said)
		}
	}
	return out
}

// directive is one line of a site, with what is in its braces.
type directive struct {
	words []string
	block []directive
}

// tree reads lines, one directive each, as nested blocks. What no brace closes ends with the text.
func tree(lines []string) []directive {
	out, _ := branch(lines)
	return out
}

// branch reads one block, and returns what is after its closing brace.
func branch(lines []string) (out []directive, rest []string) {
	for len(lines) > 0 {
		line := lines[0]
		lines = lines[1:]
		if line == "}" {
			return out, lines
		}
		opened, opens := strings.CutSuffix(line, "{")
		d := directive{words: strings.Fields(opened)}
		if opens {
			d.block, lines = branch(lines)
		}
		if len(d.words) > 0 {
			out = append(out, d)
		}
	}
	return out, nil
}
