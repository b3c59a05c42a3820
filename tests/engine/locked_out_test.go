package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

// What docs/locked-out.md promises: breaking the glass changes the firewall alone; it does so first,
// even if the tailnet does not know the server any more; and the rule goes with the setting.
func TestBrokenGlass(t *testing.T) {
	const typeFirewall = "hcloud:index/firewall:Firewall"
	w := open(t)
	up(t, w)
	changed := func(s *workspace.Summary) []string {
		var out []string
		for _, r := range s.Resources {
			if r.Op != "same" && r.Op != "read" && !strings.HasPrefix(r.Type, "homelab:") && r.Type != typeStack {
				out = append(out, r.Op+" "+r.Name)
			}
		}
		return out
	}
	rules := func() []any {
		live, err := w.World().Live(typeFirewall, "homelab-firewall")
		require.NoError(t, err)
		return live["rules"].([]any)
	}
	shut := rules()

	require.NoError(t, w.SetConfig(map[string]any{
		"homelab:server.breakGlass": map[string]any{"cidr": "203.0.113.7/32", "reason": "the tailnet is gone"},
	}))
	w.World().Inject(simcloud.Fault{Type: "tailscale:index/getDevice:getDevice", Err: "could not find device"})
	failed, err := w.Up(t.Context())
	require.Error(t, err)
	assert.Contains(t, logOf(failed), "could not find device")
	opened := rules()
	require.Len(t, opened, len(shut)+1, "the firewall was not changed before the server was looked for")
	glass := opened[len(opened)-1].(map[string]any)
	assert.Equal(t, "break glass: the tailnet is gone", glass["description"])
	assert.Equal(t, "22", glass["port"])
	assert.Equal(t, []any{"203.0.113.7/32"}, glass["sourceIps"])

	w.World().ClearFaults()
	assert.Empty(t, changed(up(t, w)))
	require.NoError(t, w.SetConfig(map[string]any{"homelab:server.breakGlass": nil}))
	assert.Equal(t, []string{"update homelab-firewall"}, changed(up(t, w)))
	assert.Equal(t, shut, rules())
	require.NoError(t, w.SetConfig(map[string]any{
		"homelab:server.breakGlass": map[string]any{"cidr": "203.0.113.7/32", "reason": "the tailnet is gone"},
	}))
	assert.Equal(t, []string{"update homelab-firewall"}, changed(up(t, w)), "nothing else changes")
}
