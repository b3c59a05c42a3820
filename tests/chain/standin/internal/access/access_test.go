package access_test

import (
	"net/netip"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/standin/internal/access"
	"homelab/tests/chain/standin/internal/config"
)

func TestResource(t *testing.T) {
	for uri, want := range map[string]string{
		"/": "/", "/?a=b": "/?a=b", "": ".", "/a/": "/a/", "/a//b": "/a/b", "/a/../b/?c=/../d": "/b/?c=/../d", "/%2e%2e/a": "/a",
		"/a%2Fb": "/a/b", "/a;x": "/a;x", "/a%3Fb": "/a?b", "/a?": "/a",
	} {
		u, err := url.ParseRequestURI("https://x.example.com" + uri)
		require.NoError(t, err)
		assert.Equal(t, want, access.Resource(u), uri)
	}
}

func TestFirstRuleDecides(t *testing.T) {
	rules := access.New(config.AccessControl{DefaultPolicy: "deny", Rules: []config.Rule{
		{Domain: config.List{"a.example.com"}, Policy: "deny", Methods: config.List{"DELETE"}},
		{Domain: config.List{"a.example.com"}, Policy: "one_factor", Subject: config.Subjects{{"user:ann"}, {"group:x", "group:y"}}},
		{Domain: config.List{"a.example.com"}, Policy: "two_factor"},
		{Domain: config.List{"*.wild.example.com"}, Policy: "bypass"},
		{DomainPatterns: []*regexp.Regexp{regexp.MustCompile(`^n\d\.example\.com$`)}, Policy: "bypass", Prefixes: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")}},
	}})
	assert.True(t, rules.SecondFactor())
	assert.False(t, access.New(config.AccessControl{DefaultPolicy: "deny"}).SecondFactor())
	for name, c := range map[string]struct {
		host, method string
		subject      access.Subject
		subjects     bool
		want         access.Level
	}{
		"method":                 {"a.example.com", "DELETE", access.Subject{User: "ann"}, false, access.Denied},
		"user":                   {"a.example.com", "GET", access.Subject{User: "ann"}, true, access.OneFactor},
		"both groups":            {"a.example.com", "GET", access.Subject{User: "bob", Groups: []string{"y", "x"}}, true, access.OneFactor},
		"one of the groups":      {"a.example.com", "GET", access.Subject{User: "bob", Groups: []string{"x"}}, false, access.TwoFactor},
		"nobody yet":             {"a.example.com", "GET", access.Subject{}, true, access.OneFactor},
		"case of the host":       {"A.Example.com", "GET", access.Subject{User: "ann"}, true, access.OneFactor},
		"under a name":           {"x.y.wild.example.com", "GET", access.Subject{}, false, access.Bypass},
		"the name itself":        {"wild.example.com", "GET", access.Subject{}, false, access.Denied},
		"pattern and network":    {"n1.example.com", "GET", access.Subject{Addr: netip.MustParseAddr("100.64.0.1")}, false, access.Bypass},
		"mapped into IPv6":       {"n1.example.com", "GET", access.Subject{Addr: netip.MustParseAddr("::ffff:100.64.0.1")}, false, access.Bypass},
		"pattern from elsewhere": {"n1.example.com", "GET", access.Subject{Addr: netip.MustParseAddr("203.0.113.5")}, false, access.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			subjects, level := rules.Required(c.subject, access.Object{URL: &url.URL{Scheme: "https", Host: c.host, Path: "/"}, Method: c.method})
			assert.Equal(t, c.want, level)
			assert.Equal(t, c.subjects, subjects)
		})
	}
}
