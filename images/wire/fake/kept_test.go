package fake_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/fake"
)

func TestStateOutlivesARestart(t *testing.T) {
	start := func(name string) *fake.App {
		app, err := fake.Start(name, fake.Settings{Key: "key", Password: "password"}, func(string) {})
		require.NoError(t, err)
		return app
	}
	for _, name := range []string{"radarr", "sonarr", "prowlarr", "jackett", "jellyfin", "jellyseerr"} {
		before, err := start(name).State()
		require.NoError(t, err, name)
		again := start(name)
		require.NoError(t, again.Restore(before), name)
		after, err := again.State()
		require.NoError(t, err, name)
		assert.JSONEq(t, string(before), string(after), name)
		require.ErrorContains(t, again.Restore([]byte("{}")), "it has 0 fields", name)
		require.Error(t, again.Restore([]byte("no JSON")), name)
		require.ErrorContains(t, again.Restore([]byte(strings.Replace(string(before), `{"`, `{"x`, 1))), "there is no", name)
	}
	_, err := fake.Start("nothing", fake.Settings{}, nil)
	require.ErrorContains(t, err, "there is no fake")
}
