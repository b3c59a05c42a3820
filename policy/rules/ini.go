package rules

import (
	"fmt"
	"strings"
)

// readINI reads a file as Grafana does (gopkg.in/ini.v1 with its defaults): values by section and
// key. What is said twice holds as it is said last, # and ; begin a comment anywhere, and quotes
// around a value are none of it. A value that goes on in the next line, which no program writes
// there, is an error.
func readINI(text string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{"": {}}
	section := ""
	for n, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			end := strings.LastIndexByte(line, ']')
			if end < 0 {
				return nil, fmt.Errorf("line %d: a section without an end", n+1)
			}
			section = strings.TrimSpace(line[1:end])
			if out[section] == nil {
				out[section] = map[string]string{}
			}
			continue
		}
		at := strings.IndexAny(line, "=:")
		if at < 1 || strings.ContainsAny(line[:1], "\"`'") {
			return nil, fmt.Errorf("line %d: neither a section nor a key with a value", n+1)
		}
		value := strings.TrimSpace(line[at+1:])
		if strings.HasPrefix(value, `"""`) || strings.HasPrefix(value, "`") || strings.HasSuffix(value, `\`) {
			return nil, fmt.Errorf("line %d: a value that may go on in the next line", n+1)
		}
		if comment := strings.IndexAny(value, "#;"); comment >= 0 {
			value = strings.TrimSpace(value[:comment])
		}
		if last := len(value) - 1; last > 0 && value[0] == value[last] && (value[0] == '"' || value[0] == '\'') {
			value = value[1:last]
		}
		out[section][strings.TrimSpace(line[:at])] = value
	}
	return out, nil
}
