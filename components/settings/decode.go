package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
)

// decodeJSON reads one JSON value and nothing after it. Numbers keep their text, so that a large or
// a fractional one is not rounded before it can be refused.
func decodeJSON(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("decoding JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decoding JSON: more data after the value")
	}
	return v, nil
}

// decode turns the tree the stack gives, laid over the defaults, into its shapes. Whatever does not
// fit is reported and left out, so that everything that does fit is still checked.
func decode(c *collector, tree object) raw {
	nulls(c, namespace, tree)
	for {
		var out raw
		var meta mapstructure.Metadata
		d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
			Result:     &out,
			Metadata:   &meta,
			MatchName:  func(key, field string) bool { return key == field },
			DecodeHook: mapstructure.DecodeHookFuncValue(strict),
		})
		if err == nil {
			err = d.Decode(tree)
		}
		mistakes := mistakesIn(err)
		if len(mistakes) == 0 {
			for _, path := range meta.Unused {
				unknown(c, plainPath(path))
			}
			return out
		}
		// The decoder does not name the unknown keys of an object that also has a value of the
		// wrong type: take those values out and decode again.
		removed := false
		for _, m := range mistakes {
			c.reject(namespace+m.path, m.what, m.remedy)
			removed = blank(tree, m.path) || removed
		}
		if !removed {
			return out
		}
	}
}

// nulls reports every null in v. They are taken for absent by the decoder, which is not what a null
// says.
func nulls(c *collector, path string, v any) {
	switch v := v.(type) {
	case nil:
		c.reject(path, "is null", "give it a value, or remove the key to get its default")
	case object:
		for key, w := range v {
			sep := "."
			if strings.HasSuffix(path, ":") {
				sep = ""
			}
			nulls(c, path+sep+printable(key), w)
		}
	case list:
		for i, w := range v {
			nulls(c, fmt.Sprintf("%s[%d]", path, i), w)
		}
	}
}

// plainKey is a key that can stand in a path as it is.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// printable shows a key in a path.
func printable(key string) string {
	if plainKey.MatchString(key) {
		return key
	}
	return quote(key)
}

// kindError is a value of the wrong kind.
type kindError struct{ want, got string }

func (e *kindError) Error() string { return fmt.Sprintf("must be %s, is %s", e.want, e.got) }

// remedies say how to write a value of the kind wanted.
var remedies = map[string]string{
	"text":           "write it as text, in quotes where it looks like a number or a truth value",
	"a whole number": "write a whole number, without quotes",
	"true or false":  "write true or false, without quotes",
	"a list":         "write a list, with - or [ ]",
	"an object":      "write an object, key: value",
}

// strict is a decode hook that refuses a value whose kind is not the one wanted. The decoder itself
// would take a number for text, among others.
func strict(from, to reflect.Value) (any, error) {
	v := from.Interface()
	t := to.Type()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	want, fits := "", false
	switch t.Kind() {
	case reflect.String:
		_, fits = v.(string)
		want = "text"
	case reflect.Bool:
		_, fits = v.(bool)
		want = "true or false"
	case reflect.Int:
		want = "a whole number"
		if n, ok := v.(json.Number); ok {
			_, err := strconv.Atoi(n.String())
			fits = err == nil
		}
	case reflect.Slice:
		_, fits = v.(list)
		want = "a list"
	case reflect.Struct, reflect.Map:
		_, fits = v.(object)
		want = "an object"
	default:
		return nil, fmt.Errorf("no configuration value can become a %s", t)
	}
	if !fits {
		return nil, &kindError{want: want, got: describe(v)}
	}
	return v, nil
}

// mapKey is a key of a map as the decoder writes it in a path: services[jellyfin].port.
var mapKey = regexp.MustCompile(`\[([a-z][a-z0-9-]*)\]`)

// plainPath returns the decoder's path of a value as it is written in the configuration:
// services.jellyfin.port.
func plainPath(path string) string { return mapKey.ReplaceAllString(path, ".$1") }

// describe says what a JSON value is, showing it where it is short.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "the text " + quote(v)
	case json.Number:
		return "the number " + v.String()
	case bool:
		return strconv.FormatBool(v)
	case list:
		return "a list"
	case object:
		return "an object"
	default:
		return fmt.Sprintf("a %T", v)
	}
}

type mistake struct{ path, what, remedy string }

// mistakesIn flattens what the decoder reports.
func mistakesIn(err error) []mistake {
	if err == nil {
		return nil
	}
	if d, ok := err.(*mapstructure.DecodeError); ok {
		m := mistake{path: plainPath(d.Name()), what: d.Unwrap().Error(), remedy: "write it as Pulumi.yaml describes the key"}
		var k *kindError
		if errors.As(d, &k) {
			m.remedy = remedies[k.want]
		}
		return []mistake{m}
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var out []mistake
		for _, inner := range e.Unwrap() {
			out = append(out, mistakesIn(inner)...)
		}
		return out
	case interface{ Unwrap() error }:
		return mistakesIn(e.Unwrap())
	default:
		return []mistake{{what: err.Error(), remedy: "write it as Pulumi.yaml describes the key"}}
	}
}

// step is one step of a path: a key or an index.
var step = regexp.MustCompile(`[^.\[\]]+|\[\d+\]`)

// blank takes the value at path out of the tree and reports whether there was one.
func blank(tree object, path string) bool {
	var at any = tree
	steps := step.FindAllString(path, -1)
	for i, s := range steps {
		last := i == len(steps)-1
		switch v := at.(type) {
		case object:
			if last {
				had := v[s] != nil
				v[s] = nil
				return had
			}
			at = v[s]
		case list:
			n, err := strconv.Atoi(strings.Trim(s, "[]"))
			if err != nil || n < 0 || n >= len(v) {
				return false
			}
			if last {
				had := v[n] != nil
				v[n] = nil
				return had
			}
			at = v[n]
		default:
			return false
		}
	}
	return false
}

// unknown reports a key that is in no shape.
func unknown(c *collector, path string) {
	parent, key := "", path
	if i := lastKnownDot(path); i >= 0 {
		parent, key = path[:i], path[i+1:]
	}
	full := printable(key)
	if parent != "" {
		full = parent + "." + full
	}
	c.reject(namespace+full, "is not a key", suggest(parent, key))
}

// lastKnownDot returns the index of the dot that ends the longest prefix of path naming an object
// of the configuration, or -1. A key may hold dots itself, so the last dot is not always the one.
func lastKnownDot(path string) int {
	best := -1
	for i, r := range path {
		if r == '.' && len(childrenOf(path[:i])) > 0 {
			best = i
		}
	}
	return best
}

var indices = regexp.MustCompile(`\[\d+\]`)

// childrenOf returns the keys of the object at path, sorted; none if it is not one.
func childrenOf(path string) []string {
	t := reflect.TypeFor[raw]()
	if path != "" {
		for _, key := range strings.Split(indices.ReplaceAllString(path, ""), ".") {
			f, ok := fieldOf(t, key)
			if !ok {
				return nil
			}
			t = elem(f.Type)
		}
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	out := make([]string, 0, t.NumField())
	for i := range t.NumField() {
		out = append(out, t.Field(i).Tag.Get("mapstructure"))
	}
	slices.Sort(out)
	return out
}

func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	if t.Kind() == reflect.Map { // by name, so any key is one
		return reflect.StructField{Type: t.Elem()}, true
	}
	if t.Kind() != reflect.Struct {
		return reflect.StructField{}, false
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("mapstructure") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// elem returns the type of the objects behind pointers and lists.
func elem(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

// anyName stands in a path for the name of a service.
const anyName = "NAME"

// allPaths returns the path of every key of the configuration below the object type t, sorted.
func allPaths(prefix string, t reflect.Type) []string {
	var out []string
	if t.Kind() == reflect.Map {
		return allPaths(prefix+anyName+".", elem(t.Elem()))
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		path := prefix + f.Tag.Get("mapstructure")
		out = append(out, path)
		out = append(out, allPaths(path+".", elem(f.Type))...)
	}
	slices.Sort(out)
	return out
}
