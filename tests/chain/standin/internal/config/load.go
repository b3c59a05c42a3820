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

// secret is a setting that may come from the file, from the environment, or from a file the
// environment names.
type secret struct {
	key      string
	variable string
	field    func(*Configuration) *string
}

func secrets() []secret {
	return []secret{
		{"identity_providers.oidc.hmac_secret", "AUTHELIA_IDENTITY_PROVIDERS_OIDC_HMAC_SECRET", func(c *Configuration) *string {
			if c.Providers.OIDC == nil {
				return nil
			}
			return &c.Providers.OIDC.HMACSecret
		}},
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

// Load reads the files, whose paths a comma separates, and takes the secrets from environ, which is
// in the form of os.Environ. The error joins every problem found, each on a line of its own; it
// shows no secret. Of a section in two files the real program takes the last; here that is refused,
// for homelab splits none.
func Load(paths string, environ []string) (*Configuration, error) {
	c, sections := &Configuration{}, map[string]string{}
	var problems []error
	for _, path := range strings.Split(paths, ",") {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
		wrong, unusable := decode(c, data)
		if unusable != nil {
			return nil, fmt.Errorf("configuration %s:\n%w", path, unusable)
		}
		problems = append(problems, wrong...)
		var file map[string]yaml.Node
		if err := yaml.Unmarshal(data, &file); err != nil {
			return nil, fmt.Errorf("configuration %s:\n%w", path, err)
		}
		for _, section := range slices.Sorted(maps.Keys(file)) {
			if first, twice := sections[section]; twice {
				problems = append(problems, fmt.Errorf("configuration key '%s' is in %s and in %s", section, first, path))
			}
			sections[section] = path
		}
	}
	problems = append(problems, environment(c, environ)...)
	problems = append(problems, validate(c)...)
	if len(problems) > 0 {
		return nil, fmt.Errorf("configuration %s:\n%w", paths, errors.Join(problems...))
	}
	return c, nil
}

// decode reads one YAML document with known keys, each once and of its type, into c. What cannot be
// read at all is unusable.
func decode(c *Configuration, data []byte) (wrong []error, unusable error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(c); err != nil {
		var mistyped *yaml.TypeError
		if !errors.As(err, &mistyped) {
			return nil, fmt.Errorf("error reading the file: %w", err)
		}
		for _, text := range mistyped.Errors {
			wrong = append(wrong, fmt.Errorf("configuration key not expected or of the wrong type: %s", text))
		}
		return wrong, nil
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("error reading the file: there is more after the first document")
	}
	return nil, nil
}

// environment fills the secrets in. The real program only warns of a variable it does not know;
// here it is refused, for homelab sets none by accident.
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
