package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/simcloud"
)

// Jellyfin gets its administrator before the proxy knows its name, and so before any hostname leads
// there. The password travels on standard input and is a secret output.
func TestJellyfinHasItsAdministratorBeforeAnyRoute(t *testing.T) {
	const step = "jellyfin-administrator"
	w := open(t)
	deployed := up(t, w)
	made := spans(deployed)
	urn := func(name string) string {
		for _, r := range state(t, w) {
			if r.URN.Name() == name && isCloud(r) {
				return string(r.URN)
			}
		}
		require.Fail(t, "no resource "+name)
		return ""
	}
	assert.Less(t, made[urn(step)].finished, made[urn("Caddyfile")].started, "the proxy knew Jellyfin before it had an administrator")
	graph := exported(t, w)
	assert.True(t, graph.Needs(graph.Get(urn("Caddyfile")), graph.Get(urn(step))), "the state does not know it")
	found := false
	for _, c := range w.World().Commands("") {
		if c.Resource == step {
			found = true
			assert.Contains(t, w.World().Secrets(), c.Stdin)
			assert.NotContains(t, c.Script, c.Stdin)
			assert.Empty(t, c.Environ)
		}
	}
	assert.True(t, found)
	want := map[string]any{}
	for _, d := range offered() {
		if d.Name == "jellyfin" || d.Administrator != nil {
			want[d.Name] = map[string]any{"name": "admin", "password": "[secret]"}
		}
	}
	assert.Equal(t, want, deployed.Outputs["serviceAdministrators"])

	broken := open(t)
	broken.World().Inject(simcloud.Fault{Type: "command:remote:Command", Name: step, Operation: simcloud.OpCreate})
	_, err := broken.Up(t.Context())
	require.Error(t, err)
	for _, c := range broken.World().Commands("") {
		assert.False(t, strings.HasSuffix(c.Script, "/Caddyfile"), "the proxy was told of Jellyfin")
	}
	assert.Empty(t, broken.World().DNSRecords())
}
