package settings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	// Path is the key and the place in its value, such as homelab:services.jellyfin.access.policy.
	Path string
	// What is wrong with the value seen. It never holds a secret.
	What string
	// Remedy is what to do about it.
	Remedy string
}

// String returns the problem on one line.
func (p Problem) String() string { return fmt.Sprintf("%s: %s; %s", p.Path, p.What, p.Remedy) }

// Problems is the error Load returns: everything wrong with the configuration of a stack.
type Problems struct {
	// Stack is the stack's name.
	Stack string
	// List holds the problems, sorted by path. It is never empty.
	List []Problem
}

// Error returns a heading and one line for each problem.
func (p *Problems) Error() string {
	var b strings.Builder
	noun := "problems"
	if len(p.List) == 1 {
		noun = "problem"
	}
	fmt.Fprintf(&b, "reading configuration of stack %s: %d %s", p.Stack, len(p.List), noun)
	for _, q := range p.List {
		b.WriteString("\n  - ")
		b.WriteString(q.String())
	}
	return b.String()
}

// collector gathers problems, and remembers where the configuration cannot be relied on so that one
// mistake is reported once.
type collector struct {
	list []Problem
	// unread are the paths whose value never reached the settings; whatever else would be said of
	// them or of what lies below them would be about a value nobody wrote.
	unread map[string]bool
	// bad are all paths with a problem.
	bad map[string]bool
	// conceal takes the values of secrets out of what is shown. No check shows a secret; but the
	// same token may stand under another key too, where it was pasted by mistake.
	conceal *strings.Replacer
}

// shortestConcealed is the shortest value worth hiding: anything shorter would hide ordinary words.
const shortestConcealed = 8

// newCollector returns a collector that shows none of the secrets.
func newCollector(secrets []string) *collector {
	var pairs []string
	for _, s := range secrets {
		if len(s) < shortestConcealed {
			continue
		}
		inner := strings.TrimSuffix(quote(s), "…")
		inner = inner[1 : len(inner)-1]
		for _, form := range []string{s, inner, strings.ToLower(inner), strings.ToUpper(inner)} {
			pairs = append(pairs, form, hidden)
		}
	}
	return &collector{unread: map[string]bool{}, bad: map[string]bool{}, conceal: strings.NewReplacer(pairs...)}
}

// add reports a problem with a value that was read.
func (c *collector) add(path, what, remedy string) {
	if under(path, c.unread) {
		return
	}
	c.bad[path] = true
	c.list = append(c.list, Problem{
		Path: c.conceal.Replace(path), What: c.conceal.Replace(what), Remedy: c.conceal.Replace(remedy),
	})
}

// reject reports a problem with a value that could not be read.
func (c *collector) reject(path, what, remedy string) {
	c.add(path, what, remedy)
	c.unread[path] = true
}

// ok reports whether neither a path, nor what holds it, nor what it holds, has a problem: checks that
// compare values compare only such.
func (c *collector) ok(paths ...string) bool {
	for _, path := range paths {
		if under(path, c.bad) {
			return false
		}
		for b := range c.bad {
			if strings.HasPrefix(b, path+".") || strings.HasPrefix(b, path+"[") {
				return false
			}
		}
	}
	return true
}

// wasRead reports whether the whole value at path reached the settings.
func (c *collector) wasRead(path string) bool {
	if under(path, c.unread) {
		return false
	}
	for u := range c.unread {
		if strings.HasPrefix(u, path+".") || strings.HasPrefix(u, path+"[") {
			return false
		}
	}
	return true
}

// under reports whether path or one of its ancestors is in set.
func under(path string, set map[string]bool) bool {
	for {
		if set[path] {
			return true
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return false
		}
		path = path[:i]
	}
}

// err returns the problems as an error, sorted and without repetitions, or nil if there are none.
func (c *collector) err(stack string) error {
	if len(c.list) == 0 {
		return nil
	}
	list := slices.Clone(c.list)
	slices.SortFunc(list, func(a, b Problem) int {
		return cmp.Or(comparePaths(a.Path, b.Path), strings.Compare(a.What, b.What), strings.Compare(a.Remedy, b.Remedy))
	})
	return &Problems{Stack: stack, List: slices.Compact(list)}
}

// comparePaths orders paths by their text, except that indices compare as numbers: [2] before [10].
func comparePaths(a, b string) int {
	for a != "" && b != "" {
		na, ra := leadingDigits(a)
		nb, rb := leadingDigits(b)
		if na != "" && nb != "" {
			if c := cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(na, nb)); c != 0 {
				return c
			}
			a, b = ra, rb
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

// maxShown is how much of a value a problem quotes.
const maxShown = 80

// quote shows a value in a problem: on one line, and not at any length.
func quote(s string) string {
	r := []rune(s)
	if len(r) > maxShown {
		return fmt.Sprintf("%q…", string(r[:maxShown]))
	}
	return fmt.Sprintf("%q", s)
}

// oneOf lists what a value may be.
func oneOf[T ~string](values []T) string {
	names := make([]string, 0, len(values))
	for _, v := range values {
		names = append(names, string(v))
	}
	return "use one of " + strings.Join(names, ", ")
}
