package tailnet

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestPolicy(t *testing.T) {
	for name, args := range map[string]*Args{
		"admins-and-members": {Admins: []string{"b@example.com", "a@example.com"}, Members: []string{"m@example.com", "a@example.com"}, HTTPSPort: 443},
		"one-admin":          {Admins: []string{"a@example.com"}, HTTPSPort: 8443},
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
	err := (&Args{Members: []string{"not a login"}}).Validate()
	require.Error(t, err)
	assert.Contains(t, err.Error(), "no admins")
	assert.Contains(t, err.Error(), `"not a login" is no login name`)
	assert.Contains(t, err.Error(), "port 0")
}
