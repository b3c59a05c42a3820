package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/standin/internal/config"
)

const goldens = "../../../../../components/gateway/internal/authelia/testdata"

const longKey = "a key of more than twenty characters"

func golden(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldens, name))
	require.NoError(t, err)
	return string(data)
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// environment is what homelab sets: every secret by a file.
func environment(t *testing.T) []string {
	t.Helper()
	return []string{
		"PATH=/usr/bin",
		"AUTHELIA_SESSION_SECRET_FILE=" + write(t, "sessions\n"),
		"AUTHELIA_SESSION_REDIS_PASSWORD_FILE=" + write(t, "store\n"),
		"AUTHELIA_STORAGE_ENCRYPTION_KEY_FILE=" + write(t, longKey+"\n"),
	}
}

func TestProduction(t *testing.T) {
	c, err := config.Load(write(t, golden(t, "production.golden")), environment(t))
	require.NoError(t, err)
	assert.Equal(t, "0.0.0.0:9091", c.Server.Address.Bind())
	assert.Equal(t, "0.0.0.0:9959", c.Telemetry.Metrics.Address.Bind())
	assert.Equal(t, "/metrics", c.Telemetry.Metrics.Address.Path)
	assert.Equal(t, "sessions", c.Session.Secret)
	assert.Equal(t, "store", c.Session.Redis.Password)
	assert.Equal(t, longKey, c.Storage.EncryptionKey)
	limit := c.Server.Endpoints.RateLimits.SecondFactorTOTP
	assert.True(t, *limit.Enable)
	assert.Equal(t, []config.Bucket{{Period: config.Duration(time.Minute), Requests: 10}, {Period: config.Duration(10 * time.Minute), Requests: 20}}, limit.Buckets)
	assert.Equal(t, 720*time.Hour, c.Session.RememberMe.Std())
	rules := c.AccessControl.Rules
	assert.Len(t, rules[1].Prefixes, 2)
	assert.Equal(t, config.List{"POST"}, rules[4].Methods)
	assert.Equal(t, config.Subjects{{"group:admins"}, {"group:users"}}, rules[5].Subject)
}

// Without a rule the real program refuses to deny everything.
func TestNoRules(t *testing.T) {
	const rules = "  rules:\n    - domain:\n        - auth.example.com\n      policy: two_factor\n"
	rendered := golden(t, "short-sessions.golden")
	require.Contains(t, rendered, rules)
	without := strings.Replace(rendered, rules, "  rules: []\n", 1)
	_, err := config.Load(write(t, rendered), environment(t))
	require.NoError(t, err)
	_, err = config.Load(write(t, without), environment(t))
	require.ErrorContains(t, err, "when no rules are specified it must be 'two_factor' or 'one_factor'")
	text := strings.Replace(without, "default_policy: deny", "default_policy: two_factor", 1)
	c, err := config.Load(write(t, text), environment(t))
	require.NoError(t, err)
	assert.Equal(t, config.RememberMeDisabled, c.Session.RememberMe)
	assert.Equal(t, 90*time.Second, c.Session.Inactivity.Std())
}

func TestRefusesFile(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key":               {"theme: auto", "theme: auto\ntimezone: UTC", "field timezone not found"},
		"unknown nested key":        {"    path: /data/db.sqlite3", "    path: /data/db.sqlite3\n    mode: 1", "field mode not found"},
		"key twice":                 {"theme: auto", "theme: auto\ntheme: auto", "already defined"},
		"wrong type":                {"digits: 6", "digits: six", "cannot unmarshal"},
		"number as text":            {"port: 6379", `port: "6379"`, "cannot unmarshal"},
		"text in place of a switch": {"watch: true", "watch: sometimes", "cannot unmarshal"},
		"rate limit's period":       {"- period: 1m\n", "- period: 9s\n", "must be 10 seconds or more"},
		"rate limit's requests":     {"requests: 20", "requests: 0", "must be above 0"},
		"a rate limit it has not":   {"second_factor_totp:", "second_factor_duo:", "field second_factor_duo not found"},
		"a second document":         {"theme: auto", "theme: auto\n---\n", "after the first document"},
		"no YAML":                   {"theme: auto", "theme: [", "error reading the file"},
		"theme":                     {"theme: auto", "theme: pink", "theme: must be one of"},
		"duration":                  {"inactivity: 1h", "inactivity: soon", `"soon" is not a duration`},
		"unit":                      {"inactivity: 1h", "inactivity: 1q", `there is no unit "q"`},
		"address":                   {"tcp://0.0.0.0:9091/", "0.0.0.0:9091", "is not tcp://HOST:PORT/PATH"},
		"implementation":            {"implementation: ForwardAuth", "implementation: Legacy", "has only 'ForwardAuth'"},
		"strategy":                  {"name: CookieSession", "name: HeaderAuthorization", "has only 'CookieSession'"},
		"default strategies":        {"        authn_strategies:\n          - name: CookieSession\n", "", "authn_strategies: the defaults"},
		"text log":                  {"format: json", "format: text", "writes only 'json'"},
		"TOTP digits":               {"digits: 6", "digits: 7", "option 'digits' must be 6 or 8"},
		"TOTP algorithm":            {"algorithm: SHA1", "algorithm: MD5", "totp: option 'algorithm'"},
		"policy":                    {"policy: one_factor", "policy: none", "option 'policy': must be one of"},
		"subject":                   {"group:users", "users", "must start with 'user:' or 'group:'"},
		"bypass for a group":        {"      policy: one_factor", "      policy: bypass", "is not supported when 'subject'"},
		"network":                   {"      networks:\n        - tailnet\n      methods:", "      networks:\n        - nowhere\n      methods:", "'nowhere'"},
		"range":                     {"100.64.0.0/10", "100.64.0.0/33", "neither an address nor a range"},
		"pattern":                   {`\A/api/health(?:\?|\z)`, `(`, "option 'resources'"},
		"no domain":                 {"    - domain:\n        - movies.example.com\n      policy", "    - policy", "both absent"},
		"method":                    {"      policy: one_factor", "      policy: one_factor\n      methods: [get]", "option 'methods'"},
		"cookie domain":             {"domain: example.com\n      authelia_url", "domain: example.org\n      authelia_url", "does not share a cookie scope"},
		"public suffix":             {"domain: example.com\n      authelia_url", "domain: co.uk\n      authelia_url", "public suffix"},
		"portal not secure":         {"https://auth.example.com", "http://auth.example.com", "does not have a secure scheme"},
		"redirection to the portal": {"https://requests.example.com", "https://auth.example.com", "effectively the same"},
		"no portal":                 {"      authelia_url: https://auth.example.com\n", "", "option 'authelia_url' is required"},
		"no store":                  {"host: authelia-store", `host: ""`, "option 'host' is required"},
		"port":                      {"port: 6379", "port: 66379", "must be between 1 and 65535"},
		"find time":                 {"find_time: 2m", "find_time: 2h", "must be less than or equal"},
		"mode":                      {"    - ip\n", "    - host\n", "regulation: option 'modes'"},
		"password reset":            {"password_reset:\n    disable: true", "password_reset:\n    disable: false", "resets no password"},
		"argon2 variant":            {"variant: argon2id", "variant: argon2i", "option 'variant'"},
		"no notifier":               {"notifier:\n  filesystem:\n    filename: /data/notifications.txt\n", "", "notifier"},
		"session secret in clear":   {"\nsession:\n", "\nsession:\n  secret: in clear\n", "already defined in other configuration sources"},
	} {
		t.Run(name, func(t *testing.T) {
			text := golden(t, "production.golden")
			require.Contains(t, text, c.old)
			_, err := config.Load(write(t, strings.ReplaceAll(text, c.old, c.new)), environment(t))
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := config.Load(filepath.Join(t.TempDir(), "nothing"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestRefusesEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]string) []string
		want   string
	}{
		"none":              {func([]string) []string { return nil }, "storage: option 'encryption_key' is required"},
		"no session secret": {func(e []string) []string { return append(e[:1:1], e[2:]...) }, "session: option 'secret' is required"},
		"empty secret": {func(e []string) []string { return append(e[:3:3], "AUTHELIA_STORAGE_ENCRYPTION_KEY_FILE=/dev/null") },
			"storage: option 'encryption_key' is required"},
		"short key": {func(e []string) []string {
			return append(e[:3:3], "AUTHELIA_STORAGE_ENCRYPTION_KEY=nineteen characters")
		},
			"must be 20 characters or longer"},
		"missing file": {func(e []string) []string { return append(e[:3:3], "AUTHELIA_STORAGE_ENCRYPTION_KEY_FILE=/nowhere") }, "no such file"},
		"both": {func(e []string) []string { return append(e, "AUTHELIA_SESSION_SECRET=secret text") },
			"error loading secret into key 'session.secret': it's already defined"},
		"unknown":       {func(e []string) []string { return append(e, "AUTHELIA_JWT_SECRET_FILE=/x") }, "not expected: AUTHELIA_JWT_SECRET_FILE"},
		"known setting": {func(e []string) []string { return append(e, "AUTHELIA_THEME=dark") }, "not expected: AUTHELIA_THEME"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(write(t, golden(t, "production.golden")), c.change(environment(t)))
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "secret text")
		})
	}
}

func TestSaysEverythingThatIsWrong(t *testing.T) {
	text := strings.NewReplacer("theme: auto", "theme: pink", "digits: 6", "digits: 7", "policy: one_factor", "policy: none").Replace(golden(t, "production.golden"))
	_, err := config.Load(write(t, text), append(environment(t)[:3], "AUTHELIA_X=1"))
	for _, want := range []string{"theme", "digits", "policy", "encryption_key", "AUTHELIA_X"} {
		require.ErrorContains(t, err, want)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Second, "1h30m": 90 * time.Minute, "2 weeks": 14 * 24 * time.Hour, "1M": 30 * 24 * time.Hour, "1 minute 5 seconds": 65 * time.Second,
		"1y": 365 * 24 * time.Hour, "250ms": 250 * time.Millisecond, "-1": -time.Second,
	} {
		got, err := config.ParseDuration(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
}
