package edge

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// operator reads an operator and its right side, and returns the test that they are; nil if there is
// none.
func (p *parser) operator(left node) (func(x any) bool, error) {
	switch {
	case p.word("eq"):
		value, err := p.literal(left.kind)
		return func(x any) bool { return same(x, value) }, err
	case p.word("ne"):
		value, err := p.literal(left.kind)
		return func(x any) bool { return !same(x, value) }, err
	case p.word("in"):
		return p.set(left.kind)
	case p.word("contains"):
		return p.textual(left, func(x, value string) bool { return strings.Contains(x, value) })
	case p.word("matches"):
		return p.pattern(left, func(value string) string { return value })
	case p.word("wildcard"):
		return p.pattern(left, func(value string) string { return "(?i)" + wildcard(value) })
	case p.word("strict"):
		if !p.word("wildcard") {
			return nil, errors.New("strict stands before wildcard")
		}
		return p.pattern(left, wildcard)
	}
	for word, fits := range map[string]func(int) bool{
		"lt": func(c int) bool { return c < 0 }, "le": func(c int) bool { return c <= 0 },
		"gt": func(c int) bool { return c > 0 }, "ge": func(c int) bool { return c >= 0 },
	} {
		if p.word(word) {
			return p.order(left, fits)
		}
	}
	return nil, nil
}

// same compares a value with a literal; an address with the range that it may be in.
func same(x, literal any) bool {
	if r, ok := literal.(netip.Prefix); ok {
		a, _ := x.(netip.Addr)
		return r.Contains(a)
	}
	return x == literal
}

// order compares numbers.
func (p *parser) order(left node, fits func(int) bool) (func(x any) bool, error) {
	if left.kind != kindInt {
		return nil, errors.New("only numbers have an order in a rehearsal")
	}
	value, err := p.literal(kindInt)
	if err != nil {
		return nil, err
	}
	return func(x any) bool { return fits(cmp.Compare(x.(int64), value.(int64))) }, nil
}

// set reads {…}, which may have ranges of numbers.
func (p *parser) set(kind kind) (func(x any) bool, error) {
	if t := p.peek(); strings.HasPrefix(t.text, "$") {
		return nil, fmt.Errorf("the list %s is not part of a rehearsal", t.text)
	}
	if err := p.expect("{"); err != nil {
		return nil, err
	}
	var tests []func(x any) bool
	for !p.symbol("}") {
		if from, to, ok := numbers(p.peek()); ok && kind == kindInt {
			p.next()
			tests = append(tests, func(x any) bool { return x.(int64) >= from && x.(int64) <= to })
			continue
		}
		value, err := p.literal(kind)
		if err != nil {
			return nil, err
		}
		tests = append(tests, func(x any) bool { return same(x, value) })
	}
	return func(x any) bool {
		for _, test := range tests {
			if test(x) {
				return true
			}
		}
		return false
	}, nil
}

// numbers reads a range such as 80..443.
func numbers(t token) (from, to int64, ok bool) {
	low, high, ok := strings.Cut(t.text, "..")
	from, first := strconv.ParseInt(low, 10, 64)
	to, second := strconv.ParseInt(high, 10, 64)
	return from, to, ok && t.kind == tokenWord && first == nil && second == nil
}

func (p *parser) textual(left node, test func(x, value string) bool) (func(x any) bool, error) {
	if left.kind != kindString {
		return nil, errors.New("only text is compared in this way")
	}
	value, err := p.literal(kindString)
	if err != nil {
		return nil, err
	}
	return func(x any) bool { return test(x.(string), value.(string)) }, nil
}

func (p *parser) pattern(left node, translate func(value string) string) (func(x any) bool, error) {
	var compiled *regexp.Regexp
	text := p.peek().text
	test, err := p.textual(left, func(x, _ string) bool { return compiled.MatchString(x) })
	if err != nil {
		return nil, err
	}
	compiled, err = regexp.Compile(translate(text))
	return test, err
}

// wildcard is a pattern in which * stands for anything.
func wildcard(pattern string) string {
	return "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
}

// call reads the arguments of a function, after its bracket.
func (p *parser) call(name string) (node, error) {
	var arguments []node
	for !p.symbol(")") {
		if len(arguments) > 0 {
			if err := p.expect(","); err != nil {
				return node{}, err
			}
		}
		n, err := p.or()
		if err != nil {
			return node{}, err
		}
		arguments = append(arguments, n)
	}
	f, ok := functions[name]
	if !ok {
		return node{}, fmt.Errorf("the function %s is not part of a rehearsal", name)
	}
	return f(name, arguments)
}

// functions are those of the rules language that a rehearsal knows.
var functions = map[string]func(name string, arguments []node) (node, error){
	"lower":       text(func(s string, _ []string) any { return strings.ToLower(s) }, kindString, 0),
	"upper":       text(func(s string, _ []string) any { return strings.ToUpper(s) }, kindString, 0),
	"url_decode":  text(func(s string, _ []string) any { return decoded(s) }, kindString, 0),
	"len":         text(func(s string, _ []string) any { return int64(len(s)) }, kindInt, 0),
	"starts_with": text(func(s string, more []string) any { return strings.HasPrefix(s, more[0]) }, kindBool, 1),
	"ends_with":   text(func(s string, more []string) any { return strings.HasSuffix(s, more[0]) }, kindBool, 1),
	"any": quantifier(func(list []any) bool {
		for _, x := range list {
			if x == true {
				return true
			}
		}
		return false
	}),
	"all": quantifier(func(list []any) bool {
		for _, x := range list {
			if x != true {
				return false
			}
		}
		return true
	}),
}

// text makes a function of a text and a number of further ones. Of a list that is looked at one by
// one it makes a list.
func text(f func(s string, more []string) any, kind kind, further int) func(string, []node) (node, error) {
	return func(name string, arguments []node) (node, error) {
		if len(arguments) != 1+further {
			return node{}, fmt.Errorf("the function %s takes %d arguments, not %d", name, 1+further, len(arguments))
		}
		for i, a := range arguments {
			if a.kind != kindString || a.list && !a.each || i > 0 && a.each {
				return node{}, fmt.Errorf("the function %s takes text", name)
			}
		}
		out := each(kind, func(v *visit, x any) any {
			s, ok := x.(string)
			if !ok {
				return nil
			}
			more := make([]string, further)
			for i := range more {
				if more[i], ok = arguments[i+1].eval(v).(string); !ok {
					return nil
				}
			}
			return f(s, more)
		}, arguments[0])
		out.each = false
		return out, nil
	}
}

// quantifier makes a function of a list of answers.
func quantifier(f func(list []any) bool) func(string, []node) (node, error) {
	return func(name string, arguments []node) (node, error) {
		if len(arguments) != 1 || arguments[0].kind != kindBool || !arguments[0].list {
			return node{}, fmt.Errorf("the function %s takes a list of answers of yes or no", name)
		}
		return node{kind: kindBool, eval: func(v *visit) any {
			list, _ := arguments[0].eval(v).([]any)
			return f(list)
		}}, nil
	}
}

// decoded undoes percent encoding, as far as it is one.
func decoded(s string) string {
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	return s
}

// extension is that of a path's last part, in lower case and without its dot.
func extension(p string) string { return strings.ToLower(strings.TrimPrefix(path.Ext(p), ".")) }
