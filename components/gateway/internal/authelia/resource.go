package authelia

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// resource turns a pattern for a request's path into one for what Authelia matches, which is the
// path followed by "?" and the query. Left as it is, ^/static/.*\.js$ would fail for
// /static/a.js?v=1, and worse, ^/.*\.js$ would let /admin?.js pass without a login. So nothing
// matches a question mark any more, and the end of the text is the end of the path. Groups lose
// their names, which mean something to Authelia, and every alternative is anchored.
func resource(pattern string) (string, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("reading the path %q: %w", pattern, err)
	}
	rewritten, err := onPath(parsed, true)
	if err != nil {
		return "", fmt.Errorf("rewriting the path %q: %w", pattern, err)
	}
	if !anchored(rewritten) {
		begin := &syntax.Regexp{Op: syntax.OpBeginText}
		rewritten = &syntax.Regexp{Op: syntax.OpConcat, Sub: []*syntax.Regexp{begin, rewritten}}
	}
	out := rewritten.String()
	if _, err := regexp.Compile(out); err != nil {
		return "", fmt.Errorf("rewriting the path %q: %w", pattern, err)
	}
	return out, nil
}

var (
	errQuestionMark = errors.New(`contains a literal "?": only the path is compared, never the query`)
	errEarlyEnd     = errors.New("has a $ that is not at the end")
)

// onPath rewrites re. Last reports whether re ends the pattern, or one of its alternatives.
func onPath(re *syntax.Regexp, last bool) (*syntax.Regexp, error) {
	switch re.Op {
	case syntax.OpLiteral:
		if slices.Contains(re.Rune, '?') {
			return nil, errQuestionMark
		}
		return re, nil
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return &syntax.Regexp{Op: syntax.OpCharClass, Rune: []rune{0, '?' - 1, '?' + 1, utf8.MaxRune}}, nil
	case syntax.OpCharClass:
		return withoutQuestionMark(re), nil
	case syntax.OpEndText, syntax.OpEndLine:
		if !last {
			return nil, errEarlyEnd
		}
		end := &syntax.Regexp{Op: syntax.OpEndText}
		query := &syntax.Regexp{Op: syntax.OpLiteral, Rune: []rune{'?'}}
		return &syntax.Regexp{Op: syntax.OpAlternate, Sub: []*syntax.Regexp{query, end}}, nil
	case syntax.OpBeginLine:
		return &syntax.Regexp{Op: syntax.OpBeginText}, nil
	case syntax.OpCapture:
		return onPath(re.Sub[0], last)
	}
	copied := *re
	copied.Sub = make([]*syntax.Regexp, len(re.Sub))
	for i, sub := range re.Sub {
		ends := last && (re.Op == syntax.OpAlternate || re.Op == syntax.OpConcat && i == len(re.Sub)-1)
		rewritten, err := onPath(sub, ends)
		if err != nil {
			return nil, err
		}
		copied.Sub[i] = rewritten
	}
	return &copied, nil
}

func withoutQuestionMark(re *syntax.Regexp) *syntax.Regexp {
	var ranges []rune
	for i := 0; i < len(re.Rune); i += 2 {
		lo, hi := re.Rune[i], re.Rune[i+1]
		if lo > '?' || hi < '?' {
			ranges = append(ranges, lo, hi)
			continue
		}
		if lo < '?' {
			ranges = append(ranges, lo, '?'-1)
		}
		if hi > '?' {
			ranges = append(ranges, '?'+1, hi)
		}
	}
	if len(ranges) == 0 {
		return &syntax.Regexp{Op: syntax.OpNoMatch}
	}
	return &syntax.Regexp{Op: syntax.OpCharClass, Rune: ranges}
}

// anchored reports whether re is a sequence that starts at the start of the text.
func anchored(re *syntax.Regexp) bool {
	return re.Op == syntax.OpConcat && len(re.Sub) > 0 && re.Sub[0].Op == syntax.OpBeginText
}
