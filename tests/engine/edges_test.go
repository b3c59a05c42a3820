package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

const typeCommand = "command:remote:Command"

// containers are those with networks of their own: what is behind a tunnel has the tunnel's.
func containers(all []apitype.ResourceV3) []apitype.ResourceV3 {
	return slices.DeleteFunc(slices.Clone(all), func(r apitype.ResourceV3) bool {
		networks, _ := r.Inputs["networksAdvanced"].([]any)
		return len(networks) == 0
	})
}

func named(t *testing.T, all []apitype.ResourceV3, name string) apitype.ResourceV3 {
	t.Helper()
	for _, r := range all {
		if r.Custom && r.URN.Name() == name && r.Type == typeCommand {
			return r
		}
	}
	require.Fail(t, "no command "+name)
	return apitype.ResourceV3{}
}

// What a container may reach is in the filter before it starts, and out of it after it is gone.
func TestEdgesExistBeforeTheirConsumerAndGoAfterIt(t *testing.T) {
	w := open(t)
	made := spans(up(t, w))
	complete := state(t, w)
	require.Greater(t, len(containers(complete)), 5)
	closed := named(t, complete, "homelab-containers-filter-loaded")
	for _, c := range containers(complete) {
		reach := named(t, complete, c.URN.Name()+"-reach")
		assert.Contains(t, c.Dependencies, reach.URN)
		assert.Contains(t, reach.Dependencies, closed.URN)
		assert.Less(t, made[string(closed.URN)].finished, made[string(reach.URN)].started)
		assert.Less(t, made[string(reach.URN)].finished, made[string(c.URN)].started, c.URN.Name())
		script, _ := reach.Inputs["create"].(string)
		assert.True(t, strings.HasSuffix(script, ".nft && sudo -n /usr/local/sbin/homelab-unit firewall"), "the file is loaded in the same step: %s", script)
		script, _ = reach.Inputs["delete"].(string)
		assert.Contains(t, script, "homelab-file remove /opt/homelab/firewall/container-"+c.URN.Name()+".nft && sudo -n /usr/local/sbin/homelab-unit firewall")
	}
	_, err := w.LiftProtection(t.Context())
	require.NoError(t, err)
	destroyed, err := w.Destroy(t.Context())
	require.NoError(t, err, "%s", logOf(destroyed))
	gone := spans(destroyed)
	for _, c := range containers(complete) {
		reach := named(t, complete, c.URN.Name()+"-reach")
		assert.Less(t, gone[string(c.URN)].finished, gone[string(reach.URN)].started, c.URN.Name())
		assert.Less(t, gone[string(reach.URN)].finished, gone[string(closed.URN)].started)
	}
}

// An edge less, and an edge more: one file changes in place, and nothing restarts.
func TestAnEdgeMoreRestartsNothing(t *testing.T) {
	dir := t.TempDir()
	run := func(uses ...any) (*workspace.Summary, []apitype.ResourceV3) {
		config := readmeCustomService(t)
		config["homelab:customServices"].(map[string]any)["homepage"].(map[string]any)["uses"] = uses
		w := open(t, func(o *workspace.Options) { o.State, o.Config = dir, config })
		summary := up(t, w)
		all := state(t, w)
		require.NoError(t, w.Close())
		return summary, all
	}
	_, both := run("jellyfin", "jellyseerr")
	summary, one := run("jellyfin")
	assert.Equal(t, map[string]int{"same": summary.Changes["same"], "update": 1}, summary.Changes)
	assert.Equal(t, ids(both, ofType(typeContainer)), ids(one, ofType(typeContainer)))
	const consumer = "custom-homepage-reach"
	assert.NotEqual(t, named(t, both, consumer).Inputs["stdin"], named(t, one, consumer).Inputs["stdin"])

	summary, again := run("jellyfin", "jellyseerr")
	assert.Equal(t, map[string]int{"same": summary.Changes["same"], "update": 1}, summary.Changes)
	assert.Equal(t, named(t, both, consumer).Inputs["stdin"], named(t, again, consumer).Inputs["stdin"])
	assert.Equal(t, ids(both, ofType(typeContainer)), ids(again, ofType(typeContainer)))
}

// A service that comes and goes takes its edges with it, the proxy's edge to it too, and moves no
// other address.
func TestAServiceThatGoesTakesItsEdgesWithIt(t *testing.T) {
	dir := t.TempDir()
	w := open(t, func(o *workspace.Options) { o.State = dir })
	up(t, w)
	before := map[string]any{}
	for _, c := range containers(state(t, w)) {
		before[c.URN.Name()] = named(t, state(t, w), c.URN.Name()+"-reach").Inputs["stdin"]
	}
	require.NoError(t, w.Close())

	w = open(t, func(o *workspace.Options) { o.State, o.Config = dir, readmeCustomService(t) })
	up(t, w)
	assert.Len(t, containers(state(t, w)), len(before)+1)
	for name, was := range before {
		is := named(t, state(t, w), name+"-reach").Inputs["stdin"]
		assert.Equal(t, name != "caddy", was == is, "%s: %s", name, is)
	}
	require.NoError(t, w.Close())

	w = open(t, func(o *workspace.Options) { o.State = dir })
	up(t, w)
	for name, was := range before {
		assert.Equal(t, was, named(t, state(t, w), name+"-reach").Inputs["stdin"])
	}
	for _, r := range state(t, w) {
		assert.NotContains(t, r.URN.Name(), "custom-homepage")
	}
}

// Whichever filter entry fails: its container does not start, and what is loaded is what was
// declared, before or now.
func TestAContainerDoesNotStartWithoutItsFilterEntry(t *testing.T) {
	w := open(t)
	up(t, w)
	complete := state(t, w)
	// The table of faults fails every creation in turn; these are the first container and the last.
	for _, c := range slices.DeleteFunc(containers(complete), func(r apitype.ResourceV3) bool {
		return r.URN.Name() != "authelia-store" && r.URN.Name() != "caddy"
	}) {
		t.Run(c.URN.Name(), func(t *testing.T) {
			t.Parallel()
			broken := open(t)
			broken.World().Inject(simcloud.Fault{Type: typeCommand, Name: c.URN.Name() + "-reach", Operation: simcloud.OpCreate, Times: 1})
			_, err := broken.Up(t.Context())
			require.Error(t, err)
			for _, r := range state(t, broken) {
				assert.False(t, r.Type == typeContainer && r.URN.Name() == c.URN.Name(), "it started")
			}
			_, err = broken.World().Live(typeContainer, c.URN.Name())
			require.Error(t, err, "it started")
			up(t, broken)
			assert.ElementsMatch(t, urns(complete), urns(state(t, broken)))
		})
	}
}

// An edge that cannot be added keeps its service from starting; one that cannot be taken away fails
// the deployment, and nothing that comes after it goes on.
func TestAnEdgeThatCannotBeChanged(t *testing.T) {
	dir := t.TempDir()
	config := readmeCustomService(t)
	w := open(t, func(o *workspace.Options) { o.State = dir })
	up(t, w)
	require.NoError(t, w.Close())

	w = open(t, func(o *workspace.Options) { o.State, o.Config = dir, config })
	w.World().Inject(simcloud.Fault{Type: typeCommand, Name: "caddy-reach", Operation: simcloud.OpUpdate, Times: 1})
	_, err := w.Up(t.Context())
	require.Error(t, err)
	assert.NotContains(t, w.World().PublicHostnames(), "links.example.com", "a hostname leads to a proxy that cannot reach the service")
	up(t, w)
	assert.Contains(t, w.World().PublicHostnames(), "links.example.com")
	require.NoError(t, w.Close())

	w = open(t, func(o *workspace.Options) { o.State = dir })
	w.World().Inject(simcloud.Fault{Type: typeCommand, Name: "custom-homepage-reach", Operation: simcloud.OpDelete, Times: 1})
	_, err = w.Up(t.Context())
	require.Error(t, err)
	assert.False(t, slices.ContainsFunc(state(t, w), func(r apitype.ResourceV3) bool {
		return r.Type == typeContainer && r.URN.Name() == "custom-homepage"
	}), "the container is there while its edges are going")
	up(t, w)
	assert.False(t, slices.ContainsFunc(state(t, w), func(r apitype.ResourceV3) bool { return r.URN == resource.URN("custom-homepage-reach") }))
}
