package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
)

// Problems is everything that is wrong with a plan.
type Problems []string

// Error returns one problem per line.
func (p Problems) Error() string { return "the plan is not valid:\n  " + strings.Join(p, "\n  ") }

func (p *Problems) add(path, format string, args ...any) {
	if path == "" {
		path = "plan"
	}
	*p = append(*p, path+": "+fmt.Sprintf(format, args...))
}

// without leaves out what is about a path, or below one, that others are about: a value that has
// the wrong type is not also empty.
func (p Problems) without(others Problems) Problems {
	known := map[string]bool{}
	for _, problem := range others {
		path, _, _ := strings.Cut(problem, ": ")
		known[path] = true
	}
	var kept Problems
	for _, problem := range p {
		path, _, _ := strings.Cut(problem, ": ")
		covered := known["plan"]
		for path != "" && !covered {
			covered = known[path]
			path = path[:max(0, strings.LastIndexAny(path, ".["))]
		}
		if !covered {
			kept = append(kept, problem)
		}
	}
	return kept
}

// maxSize bounds a plan; one with every app has about 2 KiB.
const maxSize = 1 << 20

// Read returns the plan in a file.
func Read(path string) (*Plan, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the plan: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("reading the plan: %w", err)
	}
	if len(data) > maxSize {
		return nil, Problems{fmt.Sprintf("plan: larger than %d bytes", maxSize)}
	}
	return Parse(data)
}

// Parse returns the plan in data, or Problems.
func Parse(data []byte) (*Plan, error) {
	var problems Problems
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	value, err := readValue(decoder, "", &problems)
	if err != nil {
		// The decoder's own text can quote the plan.
		problems.add("", "not JSON, at byte %d", decoder.InputOffset())
		return nil, problems
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		problems.add("", "there is something behind the end, at byte %d", decoder.InputOffset())
	}
	plan := &Plan{}
	fill(reflect.ValueOf(plan).Elem(), value, "", &problems)
	var values Problems
	plan.validate(&values)
	problems = append(problems, values.without(problems)...)
	if len(problems) > 0 {
		return nil, problems
	}
	return plan, nil
}

// maxDepth bounds nesting; a plan has four levels.
const maxDepth = 16

// readValue reads one value. Unlike json.Unmarshal it reports a key that is there twice.
func readValue(decoder *json.Decoder, path string, problems *Problems) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	delimiter, nested := token.(json.Delim)
	if !nested {
		return token, nil
	}
	if strings.Count(path, ".")+strings.Count(path, "[") > maxDepth {
		return nil, errors.New("too deep")
	}
	if delimiter == '[' {
		list := []any{}
		for decoder.More() {
			item, err := readValue(decoder, fmt.Sprintf("%s[%d]", path, len(list)), problems)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		_, err := decoder.Token()
		return list, err
	}
	object := map[string]any{}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, errors.New("a key that is no string")
		}
		if _, twice := object[name]; twice {
			problems.add(join(path, name), "there twice")
		}
		if object[name], err = readValue(decoder, join(path, name), problems); err != nil {
			return nil, err
		}
	}
	_, err = decoder.Token()
	return object, err
}

// join returns the path of a field. A name that no field can have is quoted and cut.
func join(path, name string) string {
	for _, r := range name {
		if r < '0' || r > 'z' || len(name) > 40 {
			name = fmt.Sprintf("%.40q", name)
			break
		}
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// fill puts a value into a field of the plan, and reports what does not fit.
func fill(target reflect.Value, value any, path string, problems *Problems) {
	switch target.Kind() {
	case reflect.Pointer:
		target.Set(reflect.New(target.Type().Elem()))
		fill(target.Elem(), value, path, problems)
	case reflect.Struct:
		object, ok := value.(map[string]any)
		if !ok {
			problems.add(path, "must be an object")
			return
		}
		fields := map[string]reflect.Value{}
		collect(target, fields)
		for _, name := range sortedKeys(object) {
			field, known := fields[name]
			if !known {
				problems.add(join(path, name), "unknown field")
				continue
			}
			fill(field, object[name], join(path, name), problems)
		}
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			problems.add(path, "must be a list")
			return
		}
		target.Set(reflect.MakeSlice(target.Type(), len(list), len(list)))
		for i, item := range list {
			fill(target.Index(i), item, fmt.Sprintf("%s[%d]", path, i), problems)
		}
	case reflect.Int:
		number, _ := value.(json.Number)
		whole, err := number.Int64()
		if err != nil {
			problems.add(path, "must be a whole number")
			return
		}
		target.SetInt(whole)
	default: // strings of several types
		text, ok := value.(string)
		if !ok {
			problems.add(path, "must be a string")
			return
		}
		target.SetString(text)
	}
}

// collect adds the fields of a struct, and of those it embeds, by their JSON name.
func collect(target reflect.Value, fields map[string]reflect.Value) {
	for i := range target.NumField() {
		field := target.Type().Field(i)
		if field.Anonymous {
			collect(target.Field(i), fields)
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields[name] = target.Field(i)
	}
}
