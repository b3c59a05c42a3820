package simcloud

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
	out, err := json.Marshal(with(base, change))
	if err != nil {
		panic(err)
	}
	return string(out)
}

func TestACL(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("tailscale")
	assert.Contains(t, e.refusals(typeACL, m{"acl": "{"})[0], "not a valid HuJSON")
	assert.Contains(t, e.refuse(typeACL, "acl", m{"acl": policyBase(m{"tests": []any{m{"src": "b@example.com", "accept": []any{"tag:server:22"}}}})}), "test(s) failed")
	assert.Empty(t, w.Policy())
	acl := e.create(typeACL, "acl", m{"acl": policyBase(nil)})
	assert.Equal(t, policyBase(nil), w.Policy())
	require.ErrorContains(t, e.update(acl, m{"acl": policyBase(m{"oops": 1.0})}), "unknown field")

	require.NoError(t, w.Drift(typeACL, "acl", func(p map[string]any) { p["acl"] = policyBase(m{"ssh": []any{}}) }))
	require.True(t, e.refresh(acl))
	assert.Equal(t, map[string]string{"acl": "UPDATE"}, changed(e.diff(acl, m{"acl": policyBase(nil)})))

	require.NoError(t, e.delete(acl))
	assert.NotEmpty(t, w.Policy(), "a delete leaves the policy")
	assert.Equal(t, []Entity{{typeACL, "policy", "policy"}}, w.Residue())
	assert.Contains(t, e.refuse(typeACL, "acl", m{"acl": policyBase(nil)}), "412")
	again := e.create(typeACL, "acl", m{"acl": policyBase(nil), "overwriteExistingContent": true, "resetAclOnDestroy": true})
	require.NoError(t, e.delete(again))
	assert.Empty(t, w.Policy())

	foreign := clouds(t, New(Options{Policy: policyBase(nil)}))("tailscale")
	assert.Contains(t, foreign.refuse(typeACL, "acl", m{"acl": policyBase(nil)}), "412", "nothing of the user's is lost")
}

var keyIn = m{"tags": []any{"tag:server"}, "preauthorized": true, "recreateIfInvalid": "never", "description": "homelab"}

func TestTailnetKey(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("tailscale")
	assert.Contains(t, e.refuse(typeTailnetKey, "k", keyIn), "invalid or not permitted", "the policy must come first")
	e.create(typeACL, "acl", m{"acl": policyBase(nil)})
	assert.Contains(t, e.refuse(typeTailnetKey, "k", with(keyIn, m{"tags": nil})), "must have tags set")
	assert.Contains(t, e.refusals(typeTailnetKey, with(keyIn, m{"recreateIfInvalid": "maybe"}))[0], "one of")
	key := e.create(typeTailnetKey, "k", keyIn)
	assert.Regexp(t, `^tskey-auth-k[0-9a-f]{10}CNTRL-[0-9a-f]{32}$`, key.out["key"])
	assert.True(t, e.read(key.props)["key"].IsSecret())
	assert.Contains(t, w.Secrets(), key.out["key"])
	assert.Equal(t, []string{"description"}, e.diff(key, with(keyIn, m{"description": "x"})).GetReplaces())

	w.join(key.out["key"].(string), "somewhere", "0")
	require.True(t, e.refresh(key))
	assert.Equal(t, true, key.out["invalid"], "a used single-use key is invalid")
	assert.Empty(t, e.diff(key, keyIn).GetReplaces(), "never means never")
	assert.Equal(t, []string{"id"}, e.diff(key, with(keyIn, m{"recreateIfInvalid": "always"})).GetReplaces())
}

func TestTailnetWideSettings(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("tailscale")
	settings := e.create(typeTailnetSettings, "s", m{"devicesApprovalOn": true})
	dns := e.create(typeDNSPreferences, "d", m{"magicDns": true})
	assert.NotEmpty(t, e.refusals(typeNameservers, m{"nameservers": []any{}}))
	assert.Contains(t, e.refuse(typeNameservers, "n", m{"nameservers": []any{"nine"}}), "invalid nameserver")
	e.create(typeNameservers, "n", m{"nameservers": []any{"9.9.9.9", "https://dns.example.com/dns-query"}})
	e.create(typeSearchPaths, "p", m{"searchPaths": []any{"example.com"}})
	split := e.create(typeSplitNameservers, "sp", m{"domain": "example.com", "nameservers": []any{"9.9.9.9"}})
	assert.Equal(t, "example.com", split.id)
	assert.Contains(t, e.refuse(typeSplitNameservers, "sp2", m{"domain": "example.com", "nameservers": []any{"9.9.9.9"}}), "managed already")
	require.NoError(t, e.delete(dns))
	require.NoError(t, e.delete(settings))
	assert.Equal(t, []Entity{{typeTailnetSettings, typeTailnetSettings, "s"}}, w.Residue())
}
