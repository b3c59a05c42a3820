package edge

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// node is a part of an expression that has a value. A list is a value of many; each is a list whose
// elements are looked at one by one, as after [*].
type node struct {
	kind kind
	list bool
	each bool
	eval func(v *visit) any // nil, of any kind, is a value that is not there
}

// condition decides about a request.
type condition func(v *visit) bool

// compile reads an expression of Cloudflare's rules language, as much of it as a rehearsal can
// evaluate: what it does not know is an error.
// https://developers.cloudflare.com/ruleset-engine/rules-language
func compile(text string) (condition, error) {
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, fmt.Errorf("nothing is expected where %q is", t.text)
	}
	if n.kind != kindBool || n.list || n.each {
		return nil, errors.New("it has no answer of yes or no")
	}
	return func(v *visit) bool { return n.eval(v) == true }, nil
}

type parser struct {
	tokens []token
}

func (p *parser) peek() token {
	if len(p.tokens) == 0 {
		return token{}
	}
	return p.tokens[0]
}

func (p *parser) next() token {
	t := p.peek()
	p.tokens = p.tokens[min(1, len(p.tokens)):]
	return t
}

// word takes the next token if it is one of these words.
func (p *parser) word(words ...string) bool {
	if t := p.peek(); t.kind != tokenWord || !slices.Contains(words, t.text) {
		return false
	}
	p.next()
	return true
}

// symbol takes the next token if it is this symbol.
func (p *parser) symbol(s string) bool {
	if t := p.peek(); t.kind != tokenSymbol || t.text != s {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(s string) error {
	if !p.symbol(s) {
		return fmt.Errorf("%q is missing before %q", s, p.peek().text)
	}
	return nil
}

func (p *parser) or() (node, error) {
	return p.binary("or", p.xor, func(a, b bool) bool { return a || b })
}

func (p *parser) xor() (node, error) {
	return p.binary("xor", p.and, func(a, b bool) bool { return a != b })
}

func (p *parser) and() (node, error) {
	return p.binary("and", p.unary, func(a, b bool) bool { return a && b })
}

func (p *parser) binary(operator string, operand func() (node, error), f func(a, b bool) bool) (node, error) {
	left, err := operand()
	for err == nil && p.word(operator) {
		var right node
		if right, err = operand(); err != nil {
			break
		}
		for _, side := range []node{left, right} {
			if side.kind != kindBool || side.list || side.each {
				return node{}, fmt.Errorf("a side of %s has no answer of yes or no", operator)
			}
		}
		a, b := left.eval, right.eval
		left = node{kind: kindBool, eval: func(v *visit) any { return f(a(v) == true, b(v) == true) }}
	}
	return left, err
}

func (p *parser) unary() (node, error) {
	if !p.word("not") {
		return p.comparison()
	}
	n, err := p.unary()
	if err != nil {
		return node{}, err
	}
	if n.kind != kindBool {
		return node{}, errors.New("what follows not has no answer of yes or no")
	}
	return each(kindBool, func(_ *visit, x any) any { return x != true }, n), nil
}

func (p *parser) comparison() (node, error) {
	if p.symbol("(") {
		n, err := p.or()
		if err != nil {
			return node{}, err
		}
		return n, p.expect(")")
	}
	left, err := p.operand()
	if err != nil {
		return node{}, err
	}
	test, err := p.operator(left)
	if err != nil || test == nil {
		return left, err
	}
	if left.list && !left.each {
		return node{}, errors.New("a list is compared with [*]")
	}
	return each(kindBool, func(_ *visit, x any) any { return x != nil && test(x) }, left), nil
}

// each applies a function to a value, or to every element of one that is looked at one by one.
func each(kind kind, f func(v *visit, x any) any, n node) node {
	out := node{kind: kind, list: n.list, each: n.each}
	out.eval = func(v *visit) any {
		x := n.eval(v)
		if !n.each && !n.list {
			return f(v, x)
		}
		list, _ := x.([]any) // a list that is not there has no elements
		mapped := make([]any, len(list))
		for i, e := range list {
			mapped[i] = f(v, e)
		}
		return mapped
	}
	return out
}

// operand is a field, a function of something, or a literal.
func (p *parser) operand() (node, error) {
	t := p.next()
	switch {
	case t.kind == tokenString:
		return node{kind: kindString, eval: func(*visit) any { return t.text }}, nil
	case t.kind != tokenWord:
		return node{}, fmt.Errorf("a field is expected where %q is", t.text)
	case t.text == "true" || t.text == "false":
		return node{kind: kindBool, eval: func(*visit) any { return t.text == "true" }}, nil
	}
	if n, err := strconv.ParseInt(t.text, 10, 64); err == nil {
		return node{kind: kindInt, eval: func(*visit) any { return n }}, nil
	}
	if p.symbol("(") {
		n, err := p.call(t.text)
		if err != nil {
			return node{}, err
		}
		return p.subscripts(t.text, n)
	}
	f, ok := fields[t.text]
	switch {
	case !ok:
		return node{}, fmt.Errorf("the field %s is not part of a rehearsal", t.text)
	case f.byID != nil:
		return p.subscriptedMap(t.text, f)
	case f.many != nil:
		return p.subscripts(t.text, node{kind: f.kind, list: true, eval: func(v *visit) any { return f.many(v) }})
	}
	return node{kind: f.kind, eval: f.one}, nil
}

// subscriptedMap is a list of a map, by its key: http.request.headers["accept"].
func (p *parser) subscriptedMap(name string, f field) (node, error) {
	if err := p.expect("["); err != nil {
		return node{}, fmt.Errorf("the field %s: %w", name, err)
	}
	key := p.next()
	if key.kind != tokenString {
		return node{}, fmt.Errorf("the field %s takes a string as its key here, not %q", name, key.text)
	}
	if err := p.expect("]"); err != nil {
		return node{}, err
	}
	return p.subscripts(name, node{kind: f.kind, list: true, eval: func(v *visit) any { return f.byID(v)[key.text] }})
}

// subscripts are [*], for the elements of a list one by one, and [0] for one of them.
func (p *parser) subscripts(name string, n node) (node, error) {
	for p.symbol("[") {
		if !n.list {
			return node{}, fmt.Errorf("%s is no list", name)
		}
		before, t := n.eval, p.next()
		index, err := strconv.Atoi(t.text)
		switch {
		case t.kind == tokenSymbol && t.text == "*":
			n.each = true
		case err == nil && index >= 0 && !n.each:
			n = node{kind: n.kind, eval: func(v *visit) any {
				if list, _ := before(v).([]any); index < len(list) {
					return list[index]
				}
				return nil
			}}
		default:
			return node{}, fmt.Errorf("%s[%s] is not part of a rehearsal", name, t.text)
		}
		if err := p.expect("]"); err != nil {
			return node{}, err
		}
	}
	return n, nil
}

// literal reads a value that something of this kind is compared with.
func (p *parser) literal(kind kind) (any, error) {
	t := p.next()
	switch {
	case kind == kindString && t.kind == tokenString:
		return t.text, nil
	case kind == kindInt && t.kind == tokenWord:
		if n, err := strconv.ParseInt(t.text, 10, 64); err == nil {
			return n, nil
		}
	case kind == kindIP && t.kind == tokenWord:
		if strings.Contains(t.text, "/") {
			if r, err := netip.ParsePrefix(t.text); err == nil {
				return r, nil
			}
		} else if a, err := netip.ParseAddr(t.text); err == nil {
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
	}
	return nil, fmt.Errorf("%q does not fit what it is compared with", t.text)
}
