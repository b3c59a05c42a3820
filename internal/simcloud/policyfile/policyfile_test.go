package policyfile

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type m = map[string]any

func TestHuJSON(t *testing.T) {
	got, err := ParseHuJSON("// head\n{\"a\": [1, 2,], /* c, */ \"b\": \"// not a comment, \\\"]\",}\n")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"a": []any{1.0, 2.0}, "b": `// not a comment, "]`}, got)
	for _, bad := range []string{"", "[]", `{"a": 1} {}`, `{"a" 1}`, `{"a": "open}`, `{/* open }`, `{,}x`, `{"a": 1,, }`} {
		_, err := ParseHuJSON(bad)
		assert.Error(t, err, bad)
	}
}

// policyBase is a policy that tests change one part of.
func policyBase(change m) string {
	base := m{
		"groups":    m{"group:admins": []any{"a@example.com"}, "group:members": []any{"b@example.com"}},
		"hosts":     m{"nas": "100.64.0.9", "lan": "192.168.1.0/24"},
		"tagOwners": m{"tag:server": []any{"group:admins"}, "tag:other": []any{}},
		"acls":      []any{m{"action": "accept", "src": []any{"group:admins"}, "dst": []any{"tag:server:22,443", "nas:*"}}},
		"grants":    []any{m{"src": []any{"group:members", "group:admins"}, "dst": []any{"tag:server"}, "ip": []any{"tcp:443", "udp:443"}}},
		"ssh":       []any{m{"action": "accept", "src": []any{"group:admins"}, "dst": []any{"tag:server"}, "users": []any{"root"}}},
	}
	maps.Copy(base, change)
	out, err := json.Marshal(base)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func TestPolicyIsRefused(t *testing.T) {
	_, err := Parse(policyBase(nil))
	require.NoError(t, err)
	for want, change := range map[string]m{
		`unknown field "acl"`:                 {"acl": []any{}},
		"must be named group:":                {"groups": m{"admins": []any{"a@example.com"}}},
		"is not a user":                       {"groups": m{"group:admins": []any{"group:members"}, "group:members": []any{}}},
		"lacks the prefix tag: of every tag":  {"tagOwners": m{"server": []any{}}},
		`group not found: "group:x"`:          {"tagOwners": m{"tag:server": []any{"group:x"}}},
		`tag not found: "tag:ghost"`:          {"acls": []any{m{"action": "accept", "src": []any{"*"}, "dst": []any{"tag:ghost:*"}}}},
		`action must be "accept"`:             {"acls": []any{m{"action": "deny", "src": []any{"*"}, "dst": []any{"*:*"}}}},
		"is not a port":                       {"acls": []any{m{"action": "accept", "src": []any{"*"}, "dst": []any{"*:http"}}}},
		"has no port":                         {"acls": []any{m{"action": "accept", "src": []any{"*"}, "dst": []any{"*"}}}},
		`unknown field "dest"`:                {"acls": []any{m{"action": "accept", "src": []any{"*"}, "dest": []any{"*:*"}}}},
		"needs ip or app":                     {"grants": []any{m{"src": []any{"*"}, "dst": []any{"*"}}}},
		"unknown protocol":                    {"grants": []any{m{"src": []any{"*"}, "dst": []any{"*"}, "ip": []any{"http:80"}}}},
		"unknown autogroup":                   {"grants": []any{m{"src": []any{"autogroup:all"}, "dst": []any{"*"}, "ip": []any{"*"}}}},
		"is no user, group, tag, host":        {"grants": []any{m{"src": []any{"somebody"}, "dst": []any{"*"}, "ip": []any{"*"}}}},
		"only tags, users and autogroup:self": {"ssh": []any{m{"action": "accept", "src": []any{"*"}, "dst": []any{"*"}, "users": []any{"root"}}}},
		"must be accept or check":             {"ssh": []any{m{"action": "allow", "src": []any{"*"}, "dst": []any{"tag:server"}, "users": []any{"root"}}}},
		"hosts: bad":                          {"hosts": m{"bad": "nowhere"}},
		"needs accept or deny":                {"tests": []any{m{"src": "a@example.com"}}},
	} {
		_, err := Parse(policyBase(change))
		assert.ErrorContains(t, err, want)
	}
}

func TestPolicyTestsAreEvaluated(t *testing.T) {
	run := func(change m) error {
		p, err := Parse(policyBase(change))
		require.NoError(t, err)
		return p.Test(Tailnet{Name: "example.com"})
	}
	pass := []any{
		m{"src": "a@example.com", "accept": []any{"tag:server:22", "tag:server:443", "nas:80", "100.64.0.9:1"}, "deny": []any{"tag:server:80", "tag:other:22"}},
		m{"src": "b@example.com", "accept": []any{"tag:server:443"}, "deny": []any{"tag:server:22", "nas:80"}},
		m{"src": "b@example.com", "proto": "udp", "accept": []any{"tag:server:443"}},
		m{"src": "group:members", "deny": []any{"tag:server:22"}},
		m{"src": "c@example.com", "deny": []any{"tag:server:443", "192.168.1.1:80"}},
		m{"src": "tag:other", "deny": []any{"tag:server:443"}},
		m{"src": "autogroup:member", "deny": []any{"tag:server:443"}},
	}
	require.NoError(t, run(m{"tests": pass}))
	require.NoError(t, run(m{"sshTests": []any{
		m{"src": "a@example.com", "dst": []any{"tag:server"}, "accept": []any{"root"}, "deny": []any{"admin"}},
		m{"src": "b@example.com", "dst": []any{"tag:server"}, "deny": []any{"root"}},
	}}))
	for want, change := range map[string]m{
		`address "tag:server:80": want: Accept, got: Drop`:    {"tests": []any{m{"src": "a@example.com", "accept": []any{"tag:server:80"}}}},
		`address "tag:server:22": want: Drop, got: Accept`:    {"tests": []any{m{"src": "a@example.com", "deny": []any{"tag:server:22"}}}},
		`address "tag:server:1-100": want: Accept, got: Drop`: {"tests": []any{m{"src": "a@example.com", "accept": []any{"tag:server:1-100"}}}},
		`user "root" on tag:server: want: check, got: accept`: {"sshTests": []any{m{"src": "a@example.com", "dst": []any{"tag:server"}, "check": []any{"root"}}}},
		"is not known to the simulation":                      {"tests": []any{m{"src": "a@example.com", "deny": []any{"tag:other:1"}}}, "acls": []any{m{"action": "accept", "src": []any{"autogroup:admin"}, "dst": []any{"*:*"}}}},
		"which the simulation cannot evaluate":                {"tests": []any{m{"src": "a@example.com", "accept": []any{"tag:other:1"}}}, "grants": []any{m{"src": []any{"*"}, "dst": []any{"*"}, "ip": []any{"*"}, "srcPosture": []any{"posture:x"}}}},
		`a test with "autogroup:tagged" cannot be evaluated`:  {"tests": []any{m{"src": "autogroup:tagged", "accept": []any{"tag:other:1"}}}},
	} {
		assert.ErrorContains(t, run(change), want)
	}
	self := m{"acls": []any{m{"action": "accept", "src": []any{"autogroup:member"}, "dst": []any{"autogroup:self:*"}}}, "tests": []any{
		m{"src": "a@example.com", "accept": []any{"a@example.com:22"}, "deny": []any{"b@example.com:22"}}}}
	require.NoError(t, run(self))
}

func TestWhoReachesWhat(t *testing.T) {
	p, err := Parse(`{
		"groups": {"group:admins": ["a@example.com"]}, "tagOwners": {"tag:server": ["autogroup:admin"]},
		"grants": [
			{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]}, {"src": ["group:admins"], "dst": ["tag:server"], "ip": ["tcp:22"]},
			{"src": ["m@example.com"], "dst": ["tag:server"], "ip": ["udp:443"]},
		],
	}`)
	require.NoError(t, err)
	for _, c := range []struct {
		login, protocol string
		port            uint16
		want            bool
	}{
		{"a@example.com", "tcp", 22, true}, {"a@example.com", "udp", 22, false}, {"a@example.com", "tcp", 23, false},
		{"m@example.com", "tcp", 22, false}, {"m@example.com", "udp", 443, true}, {"m@example.com", "tcp", 443, false},
	} {
		got, err := p.Reaches(c.login, "tag:server", c.protocol, c.port)
		require.NoError(t, err)
		assert.Equal(t, c.want, got, c)
	}
	_, err = p.Reaches("a@example.com", "tag:other", "tcp", 22)
	require.ErrorContains(t, err, "knows no tag:other")
}
