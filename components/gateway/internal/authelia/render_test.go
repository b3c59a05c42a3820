package authelia_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/gateway/internal/example"
	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
	"homelab/components/internal/golden"
	"homelab/components/internal/smtp"
)

func production() authelia.Model {
	return authelia.Model{
		Domain: example.Domain, Hostname: example.Portal,
		DefaultRedirectionURL: "https://requests.example.com",
		Sites:                 example.Sites(),
		TailnetRanges:         example.TailnetRanges(),
		Store:                 "authelia-store:6379",
		Session:               authelia.Session{Inactivity: time.Hour, Expiration: 12 * time.Hour, RememberMe: 720 * time.Hour},
		Listen:                authelia.DefaultListen(),
		Paths:                 authelia.DefaultPaths(),
	}
}

func users() []authelia.User {
	return []authelia.User{
		{
			Name: "guest", DisplayName: "Guest", Email: "guest@example.com", Groups: []string{"users"},
			PasswordHash: authelia.HashPassword("guest's password", []byte("fedcba9876543210")),
		},
		{
			Name: "admin", DisplayName: "Admin", Email: "admin@example.com", Groups: []string{"users", "admins"},
			PasswordHash: authelia.HashPassword("correct horse battery staple", []byte("0123456789abcdef")),
		},
	}
}

func TestConfiguration(t *testing.T) {
	for name, change := range map[string]func(*authelia.Model){
		"production": func(*authelia.Model) {},
		"mail": func(m *authelia.Model) {
			m.Mail = &smtp.Server{Host: "smtp.example.com", Port: 587, TLS: smtp.StartTLS, Username: "homelab", Sender: "homelab@example.com"}
		},
		"mail implicit": func(m *authelia.Model) {
			m.Mail = &smtp.Server{Host: "smtp.example.com", Port: 465, TLS: smtp.Implicit, Username: "homelab@example.com", Sender: "portal@example.com"}
		},
		"short sessions": func(m *authelia.Model) {
			m.Session = authelia.Session{Inactivity: 90 * time.Second, Expiration: 90 * time.Minute}
			m.Regulation = authelia.Regulation{MaxRetries: 3, FindTime: time.Minute, BanTime: time.Minute}
			m.DefaultRedirectionURL = ""
			m.Sites = nil
		},
		"a session domain of its own": func(m *authelia.Model) {
			m.SessionDomain, m.Hostname, m.DefaultRedirectionURL = "home.example.com", "auth.home.example.com", ""
			m.Session.RememberMe = 0
			m.Sites = slices.DeleteFunc(m.Sites, func(s site.Site) bool { return s.Name != "radarr" && s.Name != "jellyfin" })
			m.Sites[0].Hostname = "movies.home.example.com"
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := production()
			change(&m)
			got, err := authelia.Configuration(m)
			require.NoError(t, err)
			golden.Equal(t, strings.ReplaceAll(name, " ", "-"), got)
		})
	}
}

func TestConfigurationRefuses(t *testing.T) {
	for name, change := range map[string]func(*authelia.Model){
		"nothing": func(m *authelia.Model) { *m = authelia.Model{} },
		"everything wrong": func(m *authelia.Model) {
			m.Hostname = "auth.example.org"
			m.DefaultRedirectionURL = "http://requests.example.com"
			m.Sites[0].Hostname = "requests.example.org"
			m.Sites[1].Hostname = m.Hostname
			m.Sites[0].Bypass = []access.Bypass{{Path: `^/api\?key=`, Reason: "a query"}, {Path: "^/a$b", Reason: "an end in the middle"}}
			m.TailnetRanges = []string{"100.64.0.1/10"}
			m.Store = "authelia-store"
			m.Session = authelia.Session{Inactivity: 2 * time.Hour, Expiration: time.Hour, RememberMe: -time.Hour}
			m.Regulation = authelia.Regulation{MaxRetries: 0, FindTime: time.Hour, BanTime: time.Minute}
			m.Listen = authelia.Listen{Portal: "localhost:9091", Metrics: "9959"}
			m.Paths.Log = "authelia.log"
		},
		"mail in clear": func(m *authelia.Model) {
			m.Mail = &smtp.Server{Host: "smtp.example.com", Port: 25, TLS: "none", Username: "homelab", Sender: "homelab@example.com"}
		},
		"session domain": func(m *authelia.Model) { m.SessionDomain = "home.example.com" },
		"session domain of another zone": func(m *authelia.Model) {
			m.Sites = nil
			m.SessionDomain, m.Hostname, m.DefaultRedirectionURL = "example.org", "auth.example.org", ""
		},
		"redirection to the portal": func(m *authelia.Model) { m.DefaultRedirectionURL = "https://" + example.Portal },
	} {
		t.Run(name, func(t *testing.T) {
			m := production()
			change(&m)
			got, err := authelia.Configuration(m)
			assert.Empty(t, got)
			golden.Error(t, "refused-"+strings.ReplaceAll(name, " ", "-"), err)
		})
	}
}

// A rule that another one hides, or that has no subject where groups were asked for, is a hole.
func TestNoRuleIsDead(t *testing.T) {
	got, err := authelia.Configuration(production())
	require.NoError(t, err)
	var file struct {
		AccessControl struct {
			DefaultPolicy string `yaml:"default_policy"`
			Rules         []struct {
				Domain    []string   `yaml:"domain"`
				Policy    string     `yaml:"policy"`
				Subject   [][]string `yaml:"subject"`
				Networks  []string   `yaml:"networks"`
				Methods   []string   `yaml:"methods"`
				Resources []string   `yaml:"resources"`
			} `yaml:"rules"`
		} `yaml:"access_control"`
	}
	require.NoError(t, yaml.Unmarshal(got, &file))
	assert.Equal(t, "deny", file.AccessControl.DefaultPolicy)
	decided := map[string]bool{}
	for _, r := range file.AccessControl.Rules {
		require.Len(t, r.Domain, 1)
		host := r.Domain[0]
		assert.False(t, decided[host], "a rule for %s after the one that decides all of it", host)
		if r.Policy == "bypass" {
			assert.NotEmpty(t, r.Resources, "a bypass of all of %s", host)
			assert.NotEmpty(t, r.Methods, "a bypass of %s for every method", host)
			continue
		}
		assert.Empty(t, r.Resources)
		assert.Empty(t, r.Methods)
		assert.Equal(t, host == example.Portal, len(r.Subject) == 0, "groups of %s", host)
		assert.True(t, host != example.Portal || r.Policy == "two_factor", "the portal's own rule is for who has both factors")
		decided[host] = true
	}
	assert.True(t, decided[example.Portal])
	for _, s := range example.Sites() {
		assert.Equal(t, s.Guarded(), decided[s.Hostname], s.Hostname)
	}
}

func TestUsersDatabase(t *testing.T) {
	got, err := authelia.UsersDatabase(users())
	require.NoError(t, err)
	golden.Equal(t, "users", got)
}

func TestUsersDatabaseRefuses(t *testing.T) {
	_, err := authelia.UsersDatabase(nil)
	require.ErrorContains(t, err, "nobody could log in")

	bad := users()
	bad[0] = authelia.User{Name: "Guest", DisplayName: " ", Email: "guest", Groups: []string{"a group"}, PasswordHash: "a password in clear"}
	bad = append(bad, bad[1], authelia.User{
		Name: "short", DisplayName: "Short", Email: "short@example.com", PasswordHash: authelia.HashPassword("x", []byte("salt")),
	})
	got, err := authelia.UsersDatabase(bad)
	assert.Empty(t, got)
	golden.Error(t, "refused-users", err)
	assert.NotContains(t, err.Error(), "a password in clear")
}

// The reference program says: echo -n PASSWORD | argon2 0123456789abcdef -id -t 3 -m 16 -p 4 -l 32
// -e
func TestHashPassword(t *testing.T) {
	const reference = "$argon2id$v=19$m=65536,t=3,p=4$MDEyMzQ1Njc4OWFiY2RlZg$77UfmnZYT23WpPeUKhovauWm5OxRQv9nTf1dJ+tF5EY"
	assert.Equal(t, reference, authelia.HashPassword("correct horse battery staple", []byte("0123456789abcdef")))
	assert.NotEqual(t, reference, authelia.HashPassword("correct horse battery staple", []byte("0123456789abcdeg")))
	assert.NotEqual(t, reference, authelia.HashPassword("correct horse battery stapler", []byte("0123456789abcdef")))
	assert.Equal(t, reference, authelia.HashPassword("correct horse battery staple", []byte("0123456789abcdef")), "the second time")
}

func TestEnvironmentNamesEverySecretFileOnce(t *testing.T) {
	paths, m := authelia.DefaultPaths(), production()
	for i := range m.Sites {
		m.Sites[i].OpenID = nil
	}
	var files []string
	for name, file := range m.Environment() {
		assert.Regexp(t, `^AUTHELIA_[A-Z_]+_FILE$`, name)
		base, inSecrets := strings.CutPrefix(file, paths.Secrets+"/")
		assert.True(t, inSecrets, file)
		files = append(files, base)
	}
	assert.ElementsMatch(t, authelia.SecretFiles(), files)
	m.Mail = &smtp.Server{}
	assert.Equal(t, paths.Secrets+"/"+authelia.MailPasswordFile, m.Environment()["AUTHELIA_NOTIFIER_SMTP_PASSWORD_FILE"])
	assert.IsIncreasing(t, authelia.SecretFiles())
}
