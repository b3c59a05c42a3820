package grafana

import (
	"bytes"
	"fmt"
	"strings"
)

// section is one section of an INI file.
type section struct {
	// Name is what stands between the brackets.
	Name string
	// Keys are in the order in which they are written.
	Keys []setting
}

// setting is one key of a section.
type setting struct{ Key, Value string }

// ini is a configuration in Grafana's format.
type ini []section

// expansion begins a value that is the path of a file: Grafana takes the file's content, without
// white space around it.
const expansion = "$__file{"

// fromFile is the value of a key whose value is in a file.
func fromFile(path string) string { return expansion + path + "}" }

// render writes the file. It refuses what the format reads as something else: a comment sign
// anywhere in a value begins a comment, a percent sign or a dollar sign a substitution, and a
// quotation mark at its ends is taken away.
func (f ini) render() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("# Rendered by the deployment: changes by hand are lost.\n")
	for _, s := range f {
		if strings.ContainsAny(s.Name, "[]\r\n") || s.Name == "" {
			return nil, fmt.Errorf("%q is not a section's name", s.Name)
		}
		fmt.Fprintf(&out, "\n[%s]\n", s.Name)
		for _, k := range s.Keys {
			if strings.ContainsAny(k.Key, " =:;#[]\"`\r\n") || k.Key == "" {
				return nil, fmt.Errorf("section %s: %q is not a key", s.Name, k.Key)
			}
			if err := checkValue(k.Value); err != nil {
				return nil, fmt.Errorf("section %s, key %s: %w", s.Name, k.Key, err)
			}
			out.WriteString(strings.TrimRight(k.Key+" = "+k.Value, " ") + "\n")
		}
	}
	return out.Bytes(), nil
}

func checkValue(value string) error {
	plain := value
	if path, ok := strings.CutPrefix(value, expansion); ok {
		plain = strings.TrimSuffix(path, "}")
	}
	switch {
	case strings.ContainsAny(plain, "#;%$`\"\\\r\n"):
		return fmt.Errorf("%q has a character that the format gives a meaning to", value)
	case strings.TrimSpace(plain) != plain:
		return fmt.Errorf("%q begins or ends with white space", value)
	case strings.HasPrefix(plain, "'"):
		return fmt.Errorf("%q begins with a quotation mark", value)
	}
	return nil
}
