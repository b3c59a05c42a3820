package main

import (
	"fmt"
	"strings"
)

// flags are arguments of the form --name=value or -name=value, by name; one without a value is
// "true".
type flags map[string]string

// parse reads arguments, all of which must be known.
func parse(program string, args []string, known ...string) (flags, error) {
	out := flags{}
	for _, arg := range args {
		name, value, given := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		if !strings.HasPrefix(arg, "-") || name == "" {
			return nil, fmt.Errorf("%s: unknown argument %q", program, arg)
		}
		found := false
		for _, other := range known {
			found = found || other == name
		}
		if !found {
			return nil, fmt.Errorf("%s: the stand-in has no flag %q", program, arg)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%s: flag %q is there twice", program, name)
		}
		if !given {
			value = "true"
		}
		out[name] = value
	}
	return out, nil
}
