package engine

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

// requireComplete checks that nothing is left to do, and that all that should be healthy is.
func requireComplete(t *testing.T, w *workspace.Simulation) {
	t.Helper()
	again, err := w.Preview(t.Context())
	require.NoError(t, err, "%s", logOf(again))
	assert.False(t, again.HasChanges(), "%s", again.Counts())
	assert.Empty(t, w.World().Unready())
	assert.Equal(t, publicHostnames(), w.World().PublicHostnames())
}

// looking makes every operation refresh first, as pulumi up --refresh does.
func looking(o *workspace.Options) { o.Env = map[string]string{"PULUMI_OPTION_REFRESH": "true"} }

// An up that looks first makes again what somebody stopped or removed on the machine, and nothing
// else.
func TestWhatIsGoneFromTheMachineIsMadeAgain(t *testing.T) {
	w := open(t, looking)
	up(t, w)
	for name, byHand := range map[string]func(container string) error{
		"stopped": w.World().Stop,
		"removed": func(container string) error { return w.World().Remove(typeContainer, container) },
	} {
		before := ids(state(t, w), ofType(typeContainer))
		require.NoError(t, byHand("crowdsec"), name)
		repaired := up(t, w)
		after := ids(state(t, w), ofType(typeContainer))
		made := 0
		for urn, id := range after {
			if before[urn] != id {
				made++
				_, container := tokens(urn)
				assert.Equal(t, "crowdsec", container, "%s: %s was made again, too", name, urn)
			}
		}
		assert.Equal(t, 1, made, "%s: %s", name, repaired.Counts())
		requireComplete(t, w)
	}
}

// A change of a container that is gone fails as with the real provider, and the error says what
// helps: after a refresh it succeeds.
func TestAChangeOfWhatIsGone(t *testing.T) {
	w := open(t)
	up(t, w)
	require.NoError(t, w.World().Remove(typeContainer, "jellyfin"))
	require.NoError(t, w.SetConfig(map[string]any{"homelab:timezone": "Asia/Tokyo"}))
	failed, err := w.Up(t.Context())
	require.Error(t, err)
	assert.Contains(t, logOf(failed), "No such container")
	assert.Contains(t, logOf(failed), "pulumi refresh")

	refreshed, err := w.Refresh(t.Context())
	require.NoError(t, err, "%s", logOf(refreshed))
	up(t, w)
	requireComplete(t, w)
}

// A refresh clears the engine's mark of a container that never became healthy. Its gate stays shut
// all the same, and opens when what was in the container's way is gone.
func TestARefreshDoesNotMakeASickContainerCountAsHealthy(t *testing.T) {
	w := open(t)
	complete := func() int { return len(w.World().DNSRecords()) }
	w.World().Inject(simcloud.Fault{Type: typeContainer, Name: "authelia", Operation: simcloud.OpCreate, Partial: true, Err: "container is unhealthy"})
	_, err := w.Up(t.Context())
	require.Error(t, err)
	refreshed, err := w.Refresh(t.Context())
	require.NoError(t, err, "%s", logOf(refreshed))
	for _, r := range state(t, w) {
		require.Empty(t, r.InitErrors, "the refresh left the mark on %s", r.URN)
	}

	failed, err := w.Up(t.Context())
	require.Error(t, err, "the sick container counts as fine")
	assert.Contains(t, logOf(failed), "container authelia is not healthy")
	assert.Zero(t, complete())

	w.World().ClearFaults()
	up(t, w)
	requireComplete(t, w)
}

// Docker writes its daemon's defaults into containers, and shows after a restart which gateway a
// network has. All of it is declared.
func TestARestartOfDockerChangesNothing(t *testing.T) {
	w := open(t)
	up(t, w)
	w.World().RestartDocker()
	requireComplete(t, w)
	refreshed, err := w.Refresh(t.Context())
	require.NoError(t, err)
	assert.False(t, refreshed.HasChanges(), "%s", refreshed.Counts())
}
