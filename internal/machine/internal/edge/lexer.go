package edge

import (
	"fmt"
	"strings"
	"unicode"
)

// token is a piece of an expression.
type token struct {
	kind tokenKind
	text string // of a string, its value
}

type tokenKind int

const (
	tokenEnd    tokenKind = iota
	tokenWord             // a field, a function, an operator, a number, an address
	tokenString           // a literal
	tokenSymbol           // brackets, and operators that are no words
)

// symbols are what is no word, the longer ones first.
var symbols = []string{"&&", "||", "^^", "==", "!=", "<=", ">=", "(", ")", "{", "}", "[", "]", ",", "*", "<", ">", "~", "!"}

// operators gives symbols the word that means the same.
var operators = map[string]string{
	"&&": "and", "||": "or", "^^": "xor", "!": "not", "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "~": "matches",
}

func wordByte(b byte) bool {
	return b == '_' || b == '.' || b == ':' || b == '/' || b == '$' || b == '-' || b < unicode.MaxASCII && (unicode.IsLetter(rune(b)) || unicode.IsDigit(rune(b)))
}

// lex cuts an expression into tokens.
func lex(text string) (out []token, err error) {
	for text != "" {
		var t token
		switch {
		case strings.ContainsRune(" \t\r\n", rune(text[0])):
			text = text[1:]
			continue
		case text[0] == '"':
			t.kind = tokenString
			t.text, text, err = quoted(text[1:])
		case strings.HasPrefix(text, `r"`) || strings.HasPrefix(text, "r#"):
			t.kind = tokenString
			t.text, text, err = raw(text[1:])
		case wordByte(text[0]):
			end := 1
			for end < len(text) && wordByte(text[end]) {
				end++
			}
			t, text = token{tokenWord, text[:end]}, text[end:]
		default:
			t, text, err = symbol(text)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func symbol(text string) (token, string, error) {
	for _, s := range symbols {
		if rest, ok := strings.CutPrefix(text, s); ok {
			if word := operators[s]; word != "" {
				return token{tokenWord, word}, rest, nil
			}
			return token{tokenSymbol, s}, rest, nil
		}
	}
	return token{}, "", fmt.Errorf("%q means nothing in an expression", text[:1])
}

// quoted reads a string whose first quote has been read: a backslash stands before a quote and a
// backslash.
func quoted(text string) (value, rest string, err error) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b == '"':
			return out.String(), text[i+1:], nil
		case b != '\\':
			out.WriteByte(b)
		case i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\'):
			i++
			out.WriteByte(text[i])
		default:
			return "", "", fmt.Errorf(`the string "%s has an escape that is not part of a rehearsal: only \" and \\ are`, text)
		}
	}
	return "", "", fmt.Errorf(`the string "%s does not end`, text)
}

// raw reads a string in which no byte has a meaning of its own, from after its r.
func raw(text string) (value, rest string, err error) {
	hashes := text[:len(text)-len(strings.TrimLeft(text, "#"))]
	inner, opened := strings.CutPrefix(text[len(hashes):], `"`)
	value, rest, closed := strings.Cut(inner, `"`+hashes)
	if !opened || !closed {
		return "", "", fmt.Errorf("the string r%s does not end", text)
	}
	return value, rest, nil
}
