package tailnet

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/grants"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestPolicy(t *testing.T) {
	for name, args := range map[string]*Args{
		"admins-and-members": {Tailnet: "tail1234.ts.net", Admins: []string{"b@example.com", "a@example.com"}, Members: []string{"m@example.com", "a@example.com"}, HTTPSPort: 443},
		"rules-of-the-operator": {
			Tailnet: "tail1234.ts.net", Admins: []string{"a@example.com"}, HTTPSPort: 443, Extra: grants.Extra{
				TagOwners: []grants.TagOwner{{Tag: "tag:nas", Owners: []string{"autogroup:admin"}}, {Tag: "tag:camera", Owners: []string{"tag:nas"}}},
				Grants: []grants.Grant{
					{Src: []string{"autogroup:member"}, Dst: []string{"tag:nas"}, IP: []string{"tcp:443", "tcp:445"}},
					{Src: []string{"tag:nas"}, Dst: []string{"tag:camera", "192.168.1.0/24"}, IP: []string{"*"}},
				},
			},
		},
		"one-admin": {Tailnet: "tail1234.ts.net", Admins: []string{"a@example.com"}, HTTPSPort: 8443},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, args.Validate())
			got, err := renderPolicy(args)
			require.NoError(t, err)
			golden := "testdata/" + name + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(got))
		})
	}
}

func TestProblemsOfTheTailnetComeTogether(t *testing.T) {
	err := (&Args{
		Members: []string{"not a login"},
		Extra:   grants.Extra{Grants: []grants.Grant{{Src: []string{"*"}, Dst: []string{"*"}, IP: []string{"*"}}}},
	}).Validate()
	require.Error(t, err)
	assert.Contains(t, err.Error(), "no admins")
	assert.Contains(t, err.Error(), `"not a login" is no login name`)
	assert.Contains(t, err.Error(), "port 0")
	assert.Contains(t, err.Error(), "no name")
	assert.Contains(t, err.Error(), `extraGrants[0].src[0] "*" holds the server`)
	assert.Contains(t, err.Error(), `extraGrants[0].dst[0] "*" holds the server`)
}

func TestTheTailnetIsTheOneThatTheSettingsName(t *testing.T) {
	require.NoError(t, verifyTailnet("tail1234.ts.net", []string{"laptop.tail1234.ts.net", "phone.tail1234.ts.net"}))
	err := verifyTailnet("tail1234.ts.net", []string{"laptop.work.ts.net"})
	require.ErrorContains(t, err, `is a client of the tailnet "work.ts.net", not of "tail1234.ts.net"`)
	require.ErrorContains(t, verifyTailnet("1234.ts.net", []string{"laptop.tail1234.ts.net"}), "not of")
	require.ErrorContains(t, verifyTailnet("tail1234.ts.net", nil), "start Tailscale here")
}
