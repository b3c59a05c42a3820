package syntax

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/alloy/syntax/ast"
	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/token"
)

// judge holds a configuration to the reference.
type judge struct {
	// exports are those of the components of the file, by their whole names.
	exports  map[string]kind
	problems []string
}

// problemsOf returns what is wrong with a configuration, sorted by place.
func problemsOf(source []byte) []string {
	file, err := parser.ParseFile("config.alloy", source)
	if err != nil {
		return []string{err.Error()}
	}
	j := &judge{exports: map[string]kind{}}
	for _, statement := range file.Body {
		if b, ok := statement.(*ast.BlockStmt); ok {
			name := b.GetBlockName()
			for export, of := range reference[name].exports {
				full := name + "." + b.Label + "." + export
				if _, twice := j.exports[full]; twice {
					j.add(name, "two components are called %q", b.Label)
				}
				j.exports[full] = of
			}
		}
	}
	j.body("the file", file.Body, block{blocks: reference})
	return j.problems
}

func (j *judge) add(where, format string, args ...any) {
	j.problems = append(j.problems, where+": "+fmt.Sprintf(format, args...))
}

func (j *judge) body(where string, body ast.Body, allowed block) {
	seen := map[string]bool{}
	for _, statement := range body {
		switch s := statement.(type) {
		case *ast.AttributeStmt:
			want, known := allowed.arguments[s.Name.Name]
			switch {
			case !known:
				j.add(where, "no argument %s (%s)", s.Name.Name, allowed.page)
			case seen[s.Name.Name]:
				j.add(where, "argument %s is there twice", s.Name.Name)
			default:
				j.value(where+"."+s.Name.Name, s.Value, want)
			}
			seen[s.Name.Name] = true
		case *ast.BlockStmt:
			name := s.GetBlockName()
			inner, known := allowed.blocks[name]
			if !known {
				j.add(where, "no block %s (%s)", name, allowed.page)
				continue
			}
			if inner.labeled != (s.Label != "") {
				j.add(name, "label %q: a component has one, and nothing else", s.Label)
			}
			j.body(strings.TrimPrefix(where+"."+name, "the file."), s.Body, inner)
		}
	}
	for _, name := range allowed.required {
		if !seen[name] {
			j.add(where, "argument %s is missing (%s)", name, allowed.page)
		}
	}
}

func (j *judge) value(where string, value ast.Expr, want kind) {
	switch v := value.(type) {
	case *ast.LiteralExpr:
		j.literal(where, v, want)
	case *ast.ArrayExpr:
		element, ok := map[kind]kind{texts: text, receivers: receiver, targets: textMap}[want]
		if !ok {
			j.add(where, "a list, not %s", want)
			return
		}
		for _, e := range v.Elements {
			j.value(where, e, element)
		}
	case *ast.ObjectExpr:
		if want != textMap {
			j.add(where, "a map, not %s", want)
			return
		}
		for _, f := range v.Fields {
			j.value(where+"."+f.Name.Name, f.Value, text)
		}
	case *ast.AccessExpr:
		name := traversal(v)
		if of, known := j.exports[name]; !known {
			j.add(where, "%s is no export of a component of this file: %s", name, slices.Sorted(maps.Keys(j.exports)))
		} else if of != want {
			j.add(where, "%s is %s, not %s", name, of, want)
		}
	default:
		j.add(where, "%T: no expression is computed here", value)
	}
}

func (j *judge) literal(where string, v *ast.LiteralExpr, want kind) {
	switch v.Kind {
	case token.STRING:
		unquoted, err := strconv.Unquote(v.Value)
		if err != nil {
			j.add(where, "%s: %v", v.Value, err)
		}
		if want == duration {
			if _, err := time.ParseDuration(unquoted); err != nil {
				j.add(where, "%v", err)
			}
			return
		}
		if want != text {
			j.add(where, "a text, not %s", want)
		}
	case token.NUMBER:
		if want != number {
			j.add(where, "a number, not %s", want)
		}
	case token.BOOL:
		if want != boolean {
			j.add(where, "true or false, not %s", want)
		}
	default:
		j.add(where, "%s, not %s", v.Kind, want)
	}
}

// traversal is the name that an expression spells, such as loki.write.loki.receiver.
func traversal(e ast.Expr) string {
	switch v := e.(type) {
	case *ast.IdentifierExpr:
		return v.Ident.Name
	case *ast.AccessExpr:
		return traversal(v.Value) + "." + v.Name.Name
	}
	return "?"
}
