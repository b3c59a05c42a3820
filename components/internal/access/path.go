package access

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode"
)

// pathProblem says what is wrong with a bypass path, or nothing.
func pathProblem(path string) (what, remedy string) {
	const example = "such as ^/api/status$"
	if path == "" {
		return "is missing", "give a regular expression " + example
	}
	shown := fmt.Sprintf("%q ", path)
	if _, err := regexp.Compile(path); err != nil {
		var reason *syntax.Error
		if errors.As(err, &reason) {
			return shown + "is not an RE2 regular expression: " + reason.Code.String(), "write it in RE2's syntax, such as ^/api/status$"
		}
		return shown + "is not an RE2 regular expression", "write it in RE2's syntax, such as ^/api/status$"
	}
	tree, err := syntax.Parse(path, syntax.Perl)
	if err != nil || !anchored(tree) {
		return shown + "is not anchored, so it matches anywhere in a path",
			"begin it, and each alternative outside parentheses, with ^"
	}
	if !selective(tree) {
		return shown + "could match nearly every path: it does not say with which characters its paths begin",
			"write ^/ and the beginning of the path in each alternative, " + example
	}
	return "", ""
}

// anchored reports whether whatever the expression matches begins where the text begins.
func anchored(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpBeginText, syntax.OpNoMatch:
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return anchored(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min > 0 && anchored(re.Sub[0])
	case syntax.OpConcat:
		return anchored(re.Sub[0])
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return !anchored(sub) })
	default:
		return false
	}
}

// mostFirst is how many different characters may stand behind the leading slash of what a bypass
// matches. Alternatives for a handful of paths stay below it; a class such as [a-z] or [^n], which
// stands for any path, does not.
const mostFirst = 16

// selective reports whether everything that the anchored expression matches begins with a slash and
// one of at most mostFirst characters, none of which is a slash. It follows the compiled
// expression, so it holds for every way to write one.
func selective(tree *syntax.Regexp) bool {
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return false
	}
	first, ends := next(prog, []uint32{uint32(prog.Start)})
	if ends || len(first) == 0 {
		return false
	}
	var behind []uint32
	for _, at := range first {
		i := &prog.Inst[at]
		if runes, few := enumerate(i); !few || !slices.Equal(runes, []rune{'/'}) {
			return false
		}
		behind = append(behind, i.Out)
	}
	second, ends := next(prog, behind)
	if ends {
		return false
	}
	seen := map[rune]bool{}
	for _, at := range second {
		runes, few := enumerate(&prog.Inst[at])
		if !few {
			return false
		}
		for _, r := range runes {
			seen[r] = true
		}
	}
	return len(seen) <= mostFirst && !seen['/']
}

// next returns the instructions that read the next character, from the given ones on, and whether
// the expression may already have matched there. Every condition, such as \b, is taken to hold:
// that can only make a path look less selective.
func next(prog *syntax.Prog, from []uint32) (reading []uint32, ends bool) {
	seen := map[uint32]bool{}
	for len(from) > 0 {
		at := from[len(from)-1]
		from = from[:len(from)-1]
		if seen[at] {
			continue
		}
		seen[at] = true
		switch i := &prog.Inst[at]; i.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			from = append(from, i.Out, i.Arg)
		case syntax.InstCapture, syntax.InstEmptyWidth, syntax.InstNop:
			from = append(from, i.Out)
		case syntax.InstMatch:
			ends = true
		case syntax.InstFail:
		default:
			reading = append(reading, at)
		}
	}
	return reading, ends
}

// enumerate returns the characters that the instruction reads, in lower case, if there are few of
// them.
func enumerate(i *syntax.Inst) (runes []rune, few bool) {
	switch i.Op {
	case syntax.InstRune1:
		return []rune{unicode.ToLower(i.Rune[0])}, true
	case syntax.InstRune:
		if len(i.Rune) == 1 { // one character, with all its cases
			return []rune{unicode.ToLower(i.Rune[0])}, true
		}
		for at := 0; at+1 < len(i.Rune); at += 2 {
			for r := i.Rune[at]; r <= i.Rune[at+1]; r++ {
				if runes = append(runes, unicode.ToLower(r)); len(runes) > 2*mostFirst {
					return nil, false
				}
			}
		}
		return runes, true
	default:
		return nil, false
	}
}
