package tailnet

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/simcloud/policyfile"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// rendered are the policies that the deployment's own tests keep.
const rendered = "../../../../components/tailnet/testdata"

func goldens(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(rendered, "*.golden"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 3, "too few policies to say anything")
	out := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		out[strings.TrimSuffix(filepath.Base(path), ".golden")] = string(text)
	}
	return out
}

func TestTranslation(t *testing.T) {
	policies := goldens(t)
	policies["default"] = ""
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			got, _, err := translate(policy, []string{"a@example.com"})
			require.NoError(t, err)
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

func TestLoginsOfAPolicy(t *testing.T) {
	_, logins, err := translate(goldens(t)["admins-and-members"], []string{"owner@example.com"})
	require.NoError(t, err)
	assert.Equal(t, []string{"a@example.com", "b@example.com", "m@example.com", "owner@example.com"}, logins)
}

func TestWhatHeadscaleCannotDoIsRefused(t *testing.T) {
	const names = `"groups": {"group:g": ["a@example.com"]}, "tagOwners": {"tag:t": ["group:g"]}`
	for name, c := range map[string]struct{ policy, want string }{
		"another section":     {`{"nodeAttrs": []}`, `unknown field "nodeAttrs"`},
		"approvers":           {`{"autoApprovers": {}}`, `unknown field "autoApprovers"`},
		"old rules":           {`{"acls": []}`, `unknown field "acls"`},
		"an app":              {`{` + names + `, "grants": [{"src": ["group:g"], "dst": ["tag:t"], "app": {}}]}`, `unknown field "app"`},
		"posture":             {`{` + names + `, "grants": [{"src": ["group:g"], "dst": ["tag:t"], "ip": ["*"], "srcPosture": []}]}`, `unknown field "srcPosture"`},
		"a port list":         {`{` + names + `, "grants": [{"src": ["group:g"], "dst": ["tag:t"], "ip": ["tcp:80,443"]}]}`, `"tcp:80,443" is not a port of a grant`},
		"a port of icmp":      {`{` + names + `, "grants": [{"src": ["group:g"], "dst": ["tag:t"], "ip": ["icmp:8"]}]}`, `icmp has no ports`},
		"a numbered protocol": {`{` + names + `, "grants": [{"src": ["group:g"], "dst": ["tag:t"], "ip": ["47:*"]}]}`, `headscale has no protocol 47`},
		"self as a source":    {`{` + names + `, "grants": [{"src": ["autogroup:self"], "dst": ["tag:t"], "ip": ["*"]}]}`, `grants[0].src: headscale has no autogroup:self here`},
		"danger-all":          {`{` + names + `, "grants": [{"src": ["autogroup:danger-all"], "dst": ["tag:t"], "ip": ["*"]}]}`, `headscale has no autogroup:danger-all`},
		"nobody":              {`{` + names + `, "grants": [{"src": [], "dst": ["tag:t"], "ip": ["*"]}]}`, `grants[0].src: names nobody`},
		"nothing":             {`{` + names + `, "grants": [{"src": ["group:g"], "dst": ["tag:t"], "ip": []}]}`, `grants[0].ip: opens nothing`},
		"a domain":            {`{` + names + `, "grants": [{"src": ["user:*@example.com"], "dst": ["tag:t"], "ip": ["*"]}]}`, `is not one login`},
		"a host":              {`{` + names + `, "grants": [{"src": ["group:g"], "dst": ["nas"], "ip": ["*"]}]}`, `headscale has no "nas"`},
		"an owner":            {`{"tagOwners": {"tag:t": ["autogroup:member"]}}`, `headscale has no autogroup:member as the owner of a tag`},
		"check":               {`{` + names + `, "ssh": [{"action": "check", "src": ["group:g"], "dst": ["tag:t"], "users": ["x"]}]}`, `headscale has no action "check"`},
		"local parts":         {`{` + names + `, "ssh": [{"action": "accept", "src": ["group:g"], "dst": ["tag:t"], "users": ["localpart:*@example.com"]}]}`, `headscale has no localpart`},
		"a field of SSH":      {`{` + names + `, "ssh": [{"action": "accept", "src": ["group:g"], "dst": ["tag:t"], "users": ["x"], "acceptEnv": ["*"]}]}`, `unknown field "acceptEnv"`},
		"a role's group":      {`{"groups": {"group:autogroup-admin": []}}`, `the name that headscale needs`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := translate(c.policy, nil)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestBothEvaluatorsAgree asks, for every policy, everybody and a range of ports, what the policy
// says (by the evaluator of the simulated clouds) and what headscale's rules let through.
func TestBothEvaluatorsAgree(t *testing.T) {
	for name, policy := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			if name == "rules-of-the-operator" {
				// The evaluator cannot tell who is in an autogroup of roles; the program's own
				// policy asks for that in owners of tags alone.
				require.NotContains(t, section(t, policy, "grants"), "autogroup:admin")
			}
			translated, _, err := translate(policy, []string{"a@example.com"})
			require.NoError(t, err)
			headscale := newFilters(t, translated, []string{"a@example.com", "b@example.com", "m@example.com"}, tagsOf(t, policy))
			allowed := 0
			for _, src := range headscale.names() {
				for _, dst := range headscale.names() {
					if src == dst {
						continue
					}
					for _, port := range []string{"22", "53", "80", "443", "445", "2375", "8443", "41641"} {
						for _, protocol := range []string{"tcp", "udp"} {
							want := says(t, policy, src, dst, protocol, port)
							assert.Equal(t, want, headscale.allow(t, src, dst, protocol, port), "%s %s -> %s:%s", protocol, src, dst, port)
							if want {
								allowed++
							}
						}
					}
				}
			}
			assert.NotZero(t, allowed, "nothing was ever allowed: nothing was compared")
		})
	}
}

func section(t *testing.T, policy, name string) string {
	t.Helper()
	root, err := policyfile.ParseHuJSON(policy)
	require.NoError(t, err)
	text, err := json.Marshal(root[name])
	require.NoError(t, err)
	return string(text)
}

func tagsOf(t *testing.T, policy string) []string {
	t.Helper()
	p, err := policyfile.Parse(policy)
	require.NoError(t, err)
	var out []string
	for tag := range p.TagOwners {
		out = append(out, tag)
	}
	return out
}

// says asks the policy by a test of its own.
func says(t *testing.T, policy, src, dst, protocol, port string) bool {
	t.Helper()
	root, err := policyfile.ParseHuJSON(policy)
	require.NoError(t, err)
	root["tests"] = []any{map[string]any{"src": src, "proto": protocol, "accept": []any{dst + ":" + port}}}
	delete(root, "sshTests")
	text, err := json.Marshal(root)
	require.NoError(t, err)
	p, err := policyfile.Parse(string(text))
	require.NoError(t, err)
	err = p.Test(policyfile.Tailnet{Name: "tail1234.ts.net"})
	if err != nil {
		require.ErrorContains(t, err, "want: Accept, got: Drop")
	}
	return err == nil
}
