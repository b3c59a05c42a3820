package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/media"
	"homelab/internal/workspace"
)

// withProfiles asks for these quality profiles.
func withProfiles(radarr, sonarr []any) map[string]any {
	return map[string]any{"homelab:wiring": map[string]any{"qualityProfiles": map[string]any{"radarr": radarr, "sonarr": sonarr}}}
}

// What writes quality profiles is there if the settings ask for it. It reaches Radarr, Sonarr and
// the internet, nobody reaches it, and the services are connected once it has written. Without the
// setting it goes, and what connects the services is told.
func TestQualityProfiles(t *testing.T) {
	dir := t.TempDir()
	w := open(t, func(o *workspace.Options) {
		o.State, o.Config = dir, withProfiles([]any{"hd-bluray-web"}, []any{"web-1080p"})
	})
	made := spans(up(t, w))
	all := state(t, w)
	c := container(t, w, media.RecyclarrName)
	require.NotEmpty(t, c.URN)
	healthy := named(t, all, "recyclarr-healthy")
	assert.Less(t, made[string(healthy.URN)].finished, made[string(container(t, w, media.WiringName).URN)].started)

	ways, _ := named(t, all, "recyclarr-reach").Inputs["stdin"].(string)
	var edges []string
	for line := range strings.Lines(ways) {
		if element, ok := strings.CutPrefix(strings.TrimSpace(line), "add element inet homelab_containers "); ok {
			edges = append(edges, element)
		}
	}
	assert.Equal(t, []string{
		"edges { 172.30.1.61 . 172.30.1.34 . 7878 }", "edges { 172.30.1.61 . 172.30.1.35 . 8989 }", "internet { 172.30.1.61 }",
	}, edges, "%s", ways)
	for _, other := range containers(all) {
		theirs, _ := named(t, all, other.URN.Name()+"-reach").Inputs["stdin"].(string)
		assert.NotContains(t, theirs, " . 172.30.1.61 . ", other.URN.Name())
	}
	for _, r := range all {
		if r.Type == typeDNS {
			assert.NotContains(t, r.URN.Name(), "recyclarr")
		}
		if strings.HasPrefix(r.URN.Name(), "recyclarr") {
			inputs, err := json.Marshal([]any{r.Inputs, r.Outputs})
			require.NoError(t, err)
			for _, secret := range w.World().Secrets() {
				require.False(t, strings.Contains(string(inputs), secret), "%s holds a secret that begins with %.4q", r.URN, secret)
			}
		}
	}
	assert.Equal(t, true, c.Inputs["readOnly"])
	require.NoError(t, w.Close())

	// Only Sonarr's: the other edge and the other key are gone.
	w = open(t, func(o *workspace.Options) { o.State, o.Config = dir, withProfiles(nil, []any{"web-1080p"}) })
	up(t, w)
	one, _ := named(t, state(t, w), "recyclarr-reach").Inputs["stdin"].(string)
	assert.NotContains(t, one, "172.30.1.34")
	assert.Equal(t, []string{media.RecyclarrName, media.WiringName}, changed(all, state(t, w)))
	before := state(t, w)
	require.NoError(t, w.Close())

	w = open(t, func(o *workspace.Options) { o.State = dir })
	up(t, w)
	for _, r := range state(t, w) {
		assert.False(t, strings.HasPrefix(r.URN.Name(), "recyclarr"), r.URN)
	}
	assert.Equal(t, []string{media.WiringName}, changed(before, state(t, w)))
}
