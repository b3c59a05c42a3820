package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// ini is a file of Grafana's: values by section and key.
type ini map[string]map[string]string

var fromFile = regexp.MustCompile(`^\$__file\{([^}]+)\}$`)

// readINI reads such a file, and the files that values name. It refuses what the real one overlooks:
// a key that is there twice, and a line that is nothing.
func (p process) readINI(path string) (ini, error) {
	content, err := os.ReadFile(p.path(path))
	if err != nil {
		return nil, err
	}
	out, section := ini{}, ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		key, value, pair := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";"):
			continue
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
			if out[section] != nil {
				return nil, fmt.Errorf("%s: section %s is there twice", path, section)
			}
			out[section] = map[string]string{}
			continue
		case !pair || section == "" || key == "":
			return nil, fmt.Errorf("%s: %q is no key and no section", path, line)
		}
		if _, twice := out[section][key]; twice {
			return nil, fmt.Errorf("%s: %s of %s is there twice", path, key, section)
		}
		if named := fromFile.FindStringSubmatch(value); named != nil {
			held, err := os.ReadFile(p.path(named[1]))
			if err != nil {
				return nil, fmt.Errorf("%s: %s of %s: %w", path, key, section, err)
			}
			value = strings.TrimSpace(string(held))
		}
		out[section][key] = value
	}
	return out, nil
}

// want returns values that must be there.
func (f ini) want(section string, keys ...string) ([]string, error) {
	out := make([]string, 0, len(keys))
	for _, key := range keys {
		if f[section][key] == "" {
			return nil, fmt.Errorf("%s of %s is not set", key, section)
		}
		out = append(out, f[section][key])
	}
	return out, nil
}
