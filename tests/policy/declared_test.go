package policy

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
	"homelab/internal/rehearsal/declared"
	"homelab/policy/rules"
)

// What a probe of the machine expects is what the audit says of the same stack.
func TestWhatAProbeExpects(t *testing.T) {
	export, err := rules.ReadExport(bytes.NewReader(newState(t).text()))
	require.NoError(t, err)
	inventory := rules.TakeInventory(export.Graph)
	got, err := declared.Of(export.Graph)
	require.NoError(t, err)
	assert.Equal(t, "auth.example.com", got.Portal)
	assert.EqualValues(t, 443, got.PublicPort)
	assert.EqualValues(t, 443, got.TailnetPort)

	require.Len(t, got.Hostnames, len(inventory.Hostnames))
	for i, h := range inventory.Hostnames {
		d := got.Hostnames[i]
		assert.Equal(t, h.Name, d.Name)
		assert.Equal(t, h.Public, d.Public, h.Name)
		assert.Equal(t, !h.Public, d.Tailnet, h.Name)
		assert.Equal(t, h.Login == "one_factor" || h.Login == "two_factor", d.Guarded, "%s: %s", h.Name, h.Login)
		assert.Len(t, d.Open, len(h.Open), h.Name)
	}
	require.Len(t, got.Containers, len(inventory.Containers))
	for i, c := range inventory.Containers {
		assert.Equal(t, rehearsal.DeclaredContainer{Name: c.Name, Internet: c.Internet, Engine: c.Name == "docker-api", Behind: c.Behind()}, got.Containers[i])
	}
	assert.Contains(t, got.Edges, rehearsal.DeclaredEdge{From: "jellyseerr", To: "jellyfin", Port: 8096})
	tunnels := 0
	for _, e := range inventory.Edges {
		if e.ToVPN() {
			tunnels++
		}
	}
	assert.Len(t, got.Edges, len(inventory.Edges)-tunnels)
}
