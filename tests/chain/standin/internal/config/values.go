package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Duration is a length of time as Authelia writes it: "1h30m", "2 weeks", or a number of seconds.
type Duration time.Duration

// Std returns the duration as the standard library's.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// UnmarshalYAML reads the duration.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode || (node.Tag != "!!str" && node.Tag != "!!int") {
		return wrong(node, "cannot read %s as a duration", node.Tag)
	}
	parsed, err := ParseDuration(node.Value)
	if err != nil {
		return wrong(node, "%s", err)
	}
	*d = Duration(parsed)
	return nil
}

var (
	durationWhole = regexp.MustCompile(`^(?:\s*\d+\s*[A-Za-z]+\s*)+$`)
	durationPart  = regexp.MustCompile(`(\d+)\s*([A-Za-z]+)`)
)

const day = 24 * time.Hour

// unit returns the length of a unit by its name; minutes are m, months M.
func unit(name string) (time.Duration, bool) {
	units := map[string]time.Duration{
		"y": 365 * day, "M": 30 * day, "w": 7 * day, "d": day, "h": time.Hour, "m": time.Minute, "s": time.Second, "ms": time.Millisecond,
		"year": 365 * day, "month": 30 * day, "week": 7 * day, "day": day, "hour": time.Hour, "minute": time.Minute,
		"second": time.Second, "millisecond": time.Millisecond,
	}
	if size, ok := units[name]; ok {
		return size, true
	}
	size, ok := units[strings.TrimSuffix(name, "s")]
	return size, ok && len(name) > 3
}

// ParseDuration reads a duration; a bare number counts seconds.
func ParseDuration(text string) (time.Duration, error) {
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	if !durationWhole.MatchString(text) {
		return 0, fmt.Errorf("%q is not a duration", text)
	}
	var total time.Duration
	for _, part := range durationPart.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(part[1])
		if err != nil {
			return 0, fmt.Errorf("reading the duration %q: %w", text, err)
		}
		size, ok := unit(part[2])
		if !ok {
			return 0, fmt.Errorf("%q is not a duration: there is no unit %q", text, part[2])
		}
		total += time.Duration(n) * size
	}
	return total, nil
}

// wrong returns an error of the kind that lets the decoder go on and find further ones.
func wrong(node *yaml.Node, format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: ", node.Line) + fmt.Sprintf(format, args...)}}
}

// Address is a listener: tcp://HOST:PORT/PATH.
type Address struct {
	// Host and Port are what to bind.
	Host string
	Port string
	// Path is the URL path served there.
	Path string
}

// Bind returns host:port.
func (a Address) Bind() string { return a.Host + ":" + a.Port }

// UnmarshalYAML reads the address.
func (a *Address) UnmarshalYAML(node *yaml.Node) error {
	var text string
	if err := node.Decode(&text); err != nil {
		return err
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "tcp" && u.Scheme != "tcp4" && u.Scheme != "tcp6") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return wrong(node, "address %q is not tcp://HOST:PORT/PATH", text)
	}
	if n, err := strconv.Atoi(u.Port()); u.Port() != "" && (err != nil || n < 0 || n > 65535) {
		return wrong(node, "address %q has no such port", text)
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	*a = Address{Host: host, Port: u.Port(), Path: u.Path}
	return nil
}

// List is a list of strings; one string alone is a list of one.
type List []string

// UnmarshalYAML reads the list.
func (l *List) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		var one string
		if err := text(node, &one); err != nil {
			return err
		}
		*l = List{one}
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		return wrong(node, "wants a string or a list of strings")
	}
	out := make(List, len(node.Content))
	for i, item := range node.Content {
		if err := text(item, &out[i]); err != nil {
			return err
		}
	}
	*l = out
	return nil
}

// Subjects are alternatives, each a list of which all must hold.
type Subjects [][]string

// UnmarshalYAML reads the subjects: one string, a list of strings (alternatives), or a list of
// lists.
func (s *Subjects) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		var one string
		if err := text(node, &one); err != nil {
			return err
		}
		*s = Subjects{{one}}
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		return wrong(node, "wants subjects")
	}
	out := make(Subjects, len(node.Content))
	for i, item := range node.Content {
		var all List
		if err := all.UnmarshalYAML(item); err != nil {
			return err
		}
		out[i] = all
	}
	*s = out
	return nil
}

// text reads a string, and refuses a number or a boolean in its place.
func text(node *yaml.Node, into *string) error {
	if node.Kind != yaml.ScalarNode || node.Tag != "!!str" {
		return wrong(node, "cannot read %s as a string", node.Tag)
	}
	*into = node.Value
	return nil
}
