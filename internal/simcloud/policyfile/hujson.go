package policyfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// ParseHuJSON reads JSON with comments and trailing commas.
func ParseHuJSON(s string) (map[string]any, error) {
	standard, err := standardize([]byte(s))
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(standard))
	var out map[string]any
	if err := d.Decode(&out); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("data after the top-level object")
	}
	return out, nil
}

// standardize blanks comments and trailing commas, keeping every offset.
func standardize(in []byte) ([]byte, error) {
	out := append([]byte(nil), in...)
	comma := -1 // offset of a comma after which only space was seen
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '"':
			comma = -1
			for i++; i < len(out) && out[i] != '"'; i++ {
				if out[i] == '\\' {
					i++
				}
			}
			if i >= len(out) {
				return nil, fmt.Errorf("unterminated string")
			}
		case c == '/' && i+1 < len(out) && out[i+1] == '/':
			for ; i < len(out) && out[i] != '\n'; i++ {
				out[i] = ' '
			}
		case c == '/' && i+1 < len(out) && out[i+1] == '*':
			end := bytes.Index(out[i+2:], []byte("*/"))
			if end < 0 {
				return nil, fmt.Errorf("unterminated comment")
			}
			for stop := i + 2 + end + 2; i < stop; i++ {
				if out[i] != '\n' {
					out[i] = ' '
				}
			}
			i--
		case c == ',':
			comma = i
		case c == '}' || c == ']':
			if comma >= 0 {
				out[comma] = ' '
			}
			comma = -1
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			comma = -1
		}
	}
	return out, nil
}

var escape = regexp.MustCompile(`\\u[0-9a-fA-F]{4}`)

// Canonical writes policies alike that differ only in how characters are
// escaped, or in white space at the end: the provider takes them for the same.
func Canonical(s string) string {
	return strings.TrimSpace(escape.ReplaceAllStringFunc(s, func(code string) string {
		var character string
		if err := json.Unmarshal([]byte(`"`+code+`"`), &character); err != nil || strings.ContainsAny(character, "\"\\") {
			return code
		}
		return character
	}))
}

func text(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

func texts(m map[string]any, name string) []string { return every[string](m, name) }

func objects(m map[string]any, name string) []map[string]any { return every[map[string]any](m, name) }

// every returns the values of a list that have the type T.
func every[T any](m map[string]any, name string) []T {
	list, _ := m[name].([]any)
	var out []T
	for _, v := range list {
		if t, ok := v.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

func section(m map[string]any, name string) map[string]any {
	o, _ := m[name].(map[string]any)
	return o
}
