package rules

import (
	"cmp"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// socketProxyImage finds the program whose flags are known: wollomatic/socket-proxy, as its makers
// publish it.
var (
	socketProxyImage = regexp.MustCompile(`^(?:(?:docker\.io|ghcr\.io)/)?wollomatic/socket-proxy$`)
	knownSocketProxy = regexp.MustCompile(`:1\.\d+(?:\.\d+)?(?:@|$)`)
)

func (g *Graph) isSocketProxy(c *Resource) bool {
	return socketProxyImage.MatchString(g.layers.image[c.URN])
}

// isShipper reports whether a container ships logs.
func (g *Graph) isShipper(c *Resource) bool {
	return slices.Contains([]string{alloy, promtail}, g.program(c))
}

// withSocket are the containers that have the engine's socket.
func (g *Graph) withSocket() []*Resource {
	return slices.DeleteFunc(g.Of(typeContainer), func(c *Resource) bool { return !slices.ContainsFunc(binds(c), bind.isSocket) })
}

// judgeEngine judges what stands before the engine's socket. Who asks the engine whatever he likes
// is root on the machine, also when the socket is mounted read-only.
func judgeEngine(g *Graph, out *report) {
	out.absent("container with the engine's socket")
	having := g.withSocket()
	for _, c := range having {
		out.require(len(having) == 1, c, "%d containers have the engine's socket, and one is enough", len(having))
		if !g.isSocketProxy(c) {
			out.fail(c, "%s may ask the engine anything", c.Name())
			continue
		}
		image := g.reference(c)
		out.require(knownSocketProxy.MatchString(image), c, "%s runs %q, and only the flags of version 1 are known", c.Name(), image)
		for _, problem := range g.asked(c) {
			out.fail(c, "%s: %s", c.Name(), problem)
		}
		if c.At("command").Hidden() || c.At("envs").Hidden() {
			out.undecided(c, "what %s lets through is not known", c.Name())
		}
		g.judgeNetworksOf(c, out)
		g.undecidedReaches(out)
		for _, r := range g.layers.reaches[c.URN] {
			out.require(!r.internet && r.server == "", r.file, "%s has a way out", c.Name())
		}
		for _, r := range g.reachesTo(c) {
			out.require(g.isShipper(r.from), r.file, "%s may ask the engine through %s, and ships no logs", r.from.Name(), c.Name())
		}
	}
}

// judgeNetworksOf fails for each network of a container that is not internal.
func (g *Graph) judgeNetworksOf(c *Resource, out *report) {
	for _, n := range c.At("networksAdvanced").List() {
		name := n.text("name")
		internal := slices.ContainsFunc(g.Of(typeNetwork), func(r *Resource) bool { return r.Text("name") == name && r.At("internal").True() })
		out.require(internal || n.At("name").Hidden(), c, "%s is in the network %s, which is not internal", c.Name(), name)
	}
}

// Flags of wollomatic/socket-proxy that let nothing more through, and whether each takes a value.
// All others are refused: those that let other methods through, that take what is allowed from
// labels of other containers, or that listen on a socket of their own
// (github.com/wollomatic/socket-proxy, internal/config).
var harmlessFlags = map[string]bool{
	"allowGET": true, "allowHEAD": true, "allowfrom": true, "allowhealthcheck": false, "listenip": true, "logjson": false, "loglevel": true,
	"proxyport": true, "shutdowngracetime": true, "socketpath": true, "stoponwatchdog": false, "watchdoginterval": true,
}

// asked returns what is wrong with what a socket proxy lets through.
func (g *Graph) asked(c *Resource) []string {
	var out []string
	// Once it runs, Docker says the image's own, which nobody has declared.
	if given := c.At("entrypoints"); len(given.List()) > 0 && !slices.Equal(given.Texts(), []string{"/socket-proxy"}) {
		out = append(out, "it has another entry point than its image's")
	}
	for name := range environment(c) {
		if strings.HasPrefix(name, "SP_") {
			out = append(out, "the variable "+name+" lets something through beside its arguments")
		}
	}
	arguments := c.At("command").Texts()
	for len(arguments) > 0 {
		argument := arguments[0]
		arguments = arguments[1:]
		name, value, given := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(argument, "-"), "-"), "=")
		takesValue, known := harmlessFlags[name]
		if !known || !strings.HasPrefix(argument, "-") {
			return append(out, "the argument "+argument+" is none that is known to let nothing more through")
		}
		if takesValue && !given && len(arguments) > 0 {
			value, arguments = arguments[0], arguments[1:]
		}
		switch name {
		case "allowGET", "allowHEAD":
			if path := dangerous(value); path != "" {
				out = append(out, "-"+name+" lets "+path+" through")
			}
		case "allowfrom":
			for _, from := range strings.Split(value, ",") {
				of := g.container(from)
				if strings.ContainsAny(from, "/:*") || of != nil && !g.isShipper(of) {
					out = append(out, "it answers "+from)
				}
			}
		}
	}
	return out
}

// questions are what a log shipper asks of the engine, after the version of its API; # stands for
// the ID or name of a container. They read no file of a container, no secret and no event, and
// change nothing.
var questions = []string{"_ping", "version", "networks", "containers/json", "containers/#/json", "containers/#/logs"}

// apiVersion is the version of the engine's API in a path.
var apiVersion = regexp.MustCompile(`^/v1\.[\d#]{1,2}/`)

// dangerous returns something that a pattern of a socket proxy lets through and a log shipper does
// not ask, or "". The proxy puts ^ before the pattern and $ after it, as here; so a pattern with |
// may be bound at one end alone.
func dangerous(pattern string) string {
	parsed, err := syntax.Parse("^"+pattern+"$", syntax.Perl)
	if err != nil {
		return "what nobody can read"
	}
	found, ok := admitted(parsed)
	if !ok {
		return "more than named paths"
	}
	for _, shape := range found {
		path, whole := strings.CutPrefix(shape, "^")
		path, end := strings.CutSuffix(path, "$")
		question := apiVersion.ReplaceAllString(path, "/")
		if !whole || !end || !strings.HasPrefix(question, "/") || !slices.Contains(questions, question[1:]) {
			return cmp.Or(strings.ReplaceAll(strings.Trim(path, "^$"), "#", "ANY"), "everything")
		}
	}
	return ""
}

// mostShapes is how many shapes of one pattern are looked at.
const mostShapes = 1000

// admitted returns what a pattern matches, as shapes: texts in which # stands for any run of
// letters, digits, hyphens and underscores. It is false for a pattern that matches more than that
// can say: any character, a slash among others, or a part that repeats.
func admitted(e *syntax.Regexp) ([]string, bool) {
	switch e.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpBeginText:
		return []string{"^"}, true
	case syntax.OpEndText:
		return []string{"$"}, true
	case syntax.OpLiteral:
		text := string(e.Rune)
		return []string{text}, e.Flags&syntax.FoldCase == 0 && !strings.ContainsAny(text, "#^$")
	case syntax.OpCharClass:
		return []string{"#"}, onlyNameCharacters(e.Rune)
	case syntax.OpCapture:
		return admitted(e.Sub[0])
	case syntax.OpQuest:
		found, ok := admitted(e.Sub[0])
		return append([]string{""}, found...), ok
	case syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		return []string{"#"}, e.Sub[0].Op == syntax.OpCharClass && onlyNameCharacters(e.Sub[0].Rune)
	case syntax.OpAlternate:
		var out []string
		for _, sub := range e.Sub {
			found, ok := admitted(sub)
			if out = append(out, found...); !ok || len(out) > mostShapes {
				return nil, false
			}
		}
		return out, true
	case syntax.OpConcat:
		out := []string{""}
		for _, sub := range e.Sub {
			found, ok := admitted(sub)
			if !ok || len(out)*len(found) > mostShapes {
				return nil, false
			}
			var longer []string
			for _, before := range out {
				for _, after := range found {
					longer = append(longer, before+after)
				}
			}
			out = longer
		}
		return out, true
	}
	return nil, false
}

// onlyNameCharacters reports whether a class of characters, given as ranges, has none that a name
// in a path lacks.
func onlyNameCharacters(ranges []rune) bool {
	for i := 0; i+1 < len(ranges); i += 2 {
		low, high := ranges[i], ranges[i+1]
		within := func(first, last rune) bool { return first <= low && high <= last }
		if !within('a', 'z') && !within('A', 'Z') && !within('0', '9') && !within('-', '-') && !within('_', '_') {
			return false
		}
	}
	return true
}
