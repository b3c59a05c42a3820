package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLifeOfADeployment(t *testing.T) {
	w := open(t)
	first, err := w.Preview(t.Context())
	require.NoError(t, err, "%s", logOf(first))
	assert.GreaterOrEqual(t, len(first.Resources), 80)
	second, err := w.Preview(t.Context())
	require.NoError(t, err)
	one, err := json.Marshal(first.Resources)
	require.NoError(t, err)
	two, err := json.Marshal(second.Resources)
	require.NoError(t, err)
	assert.Equal(t, string(one), string(two), "two previews in a row differ")

	created := up(t, w)
	assert.Equal(t, map[string]int{"create": len(first.Resources)}, created.Changes, "up did something else than preview said")
	assert.Equal(t, publicHostnames(), w.World().PublicHostnames())

	assert.Regexp(t, `^ssh-ed25519 [A-Za-z0-9+/]+=*$`, created.Outputs["hostKey"])
	assert.Equal(t, w.World().Machines()[0].HostKey, created.Outputs["hostKey"])
	assert.NotEmpty(t, created.Outputs["mediaUsername"])
	assert.Equal(t, "[secret]", created.Outputs["mediaPassword"])

	again, err := w.Preview(t.Context())
	require.NoError(t, err)
	assert.False(t, again.HasChanges(), "%s", again.Counts())
	refreshed, err := w.Refresh(t.Context())
	require.NoError(t, err)
	assert.False(t, refreshed.HasChanges(), "%s", refreshed.Counts())

	protected, err := w.Destroy(t.Context())
	require.Error(t, err, "a protected deployment was destroyed")
	assert.Contains(t, logOf(protected), "protect")
	assert.Len(t, w.World().Machines(), 1)

	_, err = w.LiftProtection(t.Context())
	require.NoError(t, err)
	destroyed, err := w.Destroy(t.Context())
	require.NoError(t, err, "%s", logOf(destroyed))
	assert.Empty(t, w.World().Inventory())
	assert.Empty(t, state(t, w))
}

func TestEveryResourceHasItsPlace(t *testing.T) {
	w := open(t)
	preview, err := w.Preview(t.Context())
	require.NoError(t, err, "%s", logOf(preview))
	types := map[string]string{}
	for _, r := range preview.Resources {
		types[r.URN] = r.Type
	}
	for _, r := range preview.Resources {
		switch {
		case r.Type == typeStack:
			assert.Empty(t, r.Parent)
		case strings.HasPrefix(r.Type, "homelab:"), strings.HasPrefix(r.Type, "pulumi:providers:"):
			assert.Contains(t, types, r.Parent, "%s has no parent in the deployment", r.URN)
		default:
			assert.True(t, strings.HasPrefix(types[r.Parent], "homelab:"), "%s is a child of %q, not of a component", r.URN, types[r.Parent])
		}
	}
}
