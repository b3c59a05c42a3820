package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// environmentPrefix is what every variable the program reads begins with.
const environmentPrefix = "AUTHELIA_"

// fileSuffix marks a variable that holds the path of a file with the value.
const fileSuffix = "_FILE"

// secret is a setting that may come from the file, from the environment, or from a file the environment names.
type secret struct {
	key      string
	variable string
	field    func(*Configuration) *string
}

func secrets() []secret {
	return []secret{
		{"session.redis.password", "AUTHELIA_SESSION_REDIS_PASSWORD", func(c *Configuration) *string {
			if c.Session.Redis == nil {
				return nil
			}
			return &c.Session.Redis.Password
		}},
		{"session.secret", "AUTHELIA_SESSION_SECRET", func(c *Configuration) *string { return &c.Session.Secret }},
		{"storage.encryption_key", "AUTHELIA_STORAGE_ENCRYPTION_KEY", func(c *Configuration) *string { return &c.Storage.EncryptionKey }},
	}
}

// Load reads the file and takes the secrets from environ, which is in the form of os.Environ. The error joins every
// problem found, each on a line of its own; it shows no secret.
func Load(path string, environ []string) (*Configuration, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, problems := decode(data)
	if c == nil {
		return nil, fmt.Errorf("configuration %s:\n%w", path, errors.Join(problems...))
	}
	problems = append(problems, environment(c, environ)...)
	problems = append(problems, validate(c)...)
	if len(problems) > 0 {
		return nil, fmt.Errorf("configuration %s:\n%w", path, errors.Join(problems...))
	}
	return c, nil
}

// decode reads one YAML document with known keys, each once and of its type. Without one it returns nil.
func decode(data []byte) (*Configuration, []error) {
	c := &Configuration{}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(c); err != nil {
		var wrong *yaml.TypeError
		if !errors.As(err, &wrong) {
			return nil, []error{fmt.Errorf("error reading the file: %w", err)}
		}
		problems := make([]error, len(wrong.Errors))
		for i, text := range wrong.Errors {
			problems[i] = fmt.Errorf("configuration key not expected or of the wrong type: %s", text)
		}
		return c, problems
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, []error{errors.New("error reading the file: there is more after the first document")}
	}
	return c, nil
}

// environment fills the secrets in. The real program only warns of a variable it does not know; here it is refused,
// for homelab sets none by accident.
func environment(c *Configuration, environ []string) []error {
	var problems []error
	given := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, environmentPrefix) {
			given[name] = value
		}
	}
	for _, s := range secrets() {
		value, byValue := given[s.variable]
		path, byFile := given[s.variable+fileSuffix]
		delete(given, s.variable)
		delete(given, s.variable+fileSuffix)
		field := s.field(c)
		if field == nil {
			if byValue || byFile {
				problems = append(problems, fmt.Errorf("secrets: there is nothing that '%s' could belong to", s.key))
			}
			continue
		}
		switch {
		case byFile && (*field != "" || byValue):
			problems = append(problems, fmt.Errorf("secrets: error loading secret into key '%s': it's already defined in other configuration sources", s.key))
		case byFile:
			content, err := os.ReadFile(path)
			if err != nil {
				problems = append(problems, fmt.Errorf("secrets: error loading secret path %s into key '%s': %w", path, s.key, err))
				continue
			}
			*field = strings.TrimRight(string(content), "\n")
		case byValue && *field != "":
			problems = append(problems, fmt.Errorf("secrets: '%s' is both in the file and in the environment", s.key))
		case byValue:
			*field = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		problems = append(problems, fmt.Errorf("configuration environment variable not expected: %s", name))
	}
	return problems
}
