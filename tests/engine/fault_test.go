package engine

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/media"
	"homelab/components/service"
	"homelab/components/stack"
	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

// inFlight is how many resources the engine works on at once in the fault tests: its default on two
// processors.
const inFlight = 8

// failure is one thing that goes wrong: the creation of a resource, or, when partial, its start
// after it was created.
type failure struct {
	resource apitype.ResourceV3
	partial  bool
}

func (f failure) String() string {
	name := f.resource.Type.Name().String() + " " + f.resource.URN.Name()
	if f.partial {
		return name + " unhealthy"
	}
	return name
}

// oneOfEachShape are the services of the catalogue without those that are made as another one is:
// what can fail of them fails of that one, and costs minutes less. A service of a new shape is in
// it without anybody remembering.
func oneOfEachShape() []definition {
	type shape struct {
		library                           service.Library
		downloads, behind, ready, rewrite bool
	}
	seen := map[shape]bool{}
	var out []definition
	for _, d := range media.Catalog() {
		is := shape{d.Library, d.Downloads != "", d.BehindTunnel, d.Prepare != nil, len(d.Seeds) > 0}
		needed := slices.ContainsFunc(out, func(o definition) bool { return slices.Contains(o.Offer().Uses, d.Name) })
		if !seen[is] || needed {
			out = append(out, d)
		}
		seen[is] = true
	}
	return out
}

func ofEachShape(o *workspace.Options) { o.Program = stack.FromCatalog(oneOfEachShape()) }

// Each resource's creation fails in turn. After the failed deployment nothing is published without
// its whole chain, and the next ones complete the work. The table is made from the resources of a
// complete deployment, so a new resource is covered without anybody remembering.
//
// Failures that are far apart in a deployment share a simulation: the deployment that repairs one
// runs into the next, and the last one into none. So a failure costs one deployment, of which most
// is there already, instead of two whole ones.
func TestEveryCreationMayFail(t *testing.T) {
	w := open(t, ofEachShape)
	up(t, w)
	complete := state(t, w)
	left := failures(t, w, complete)
	assert.Greater(t, len(left), 80)
	for round := 1; len(left) > 0 && !t.Failed(); round++ {
		left = failAll(t, fmt.Sprintf("round %d", round), complete, left)
	}
}

// failures are all failures of a deployment, in the order in which it made its resources.
func failures(t *testing.T, w *workspace.Simulation, complete []apitype.ResourceV3) []failure {
	t.Helper()
	resources := map[string]apitype.ResourceV3{}
	for _, r := range complete {
		if isCloud(r) {
			resources[string(r.URN)] = r
		}
	}
	var all []failure
	for _, op := range w.World().Journal() {
		r, found := resources[op.URN]
		if !found || op.Kind != simcloud.OpCreate {
			continue
		}
		delete(resources, op.URN)
		all = append(all, failure{resource: r})
		if r.Type == typeContainer {
			// The engine's commonest failure: the container is there, and never becomes healthy.
			all = append(all, failure{resource: r, partial: true})
		}
	}
	require.Empty(t, resources, "the clouds did not record how these were made")
	return all
}

// failAll deals the failures out to several simulations. It returns those that could not happen:
// the engine had made the resource beside one whose creation failed.
func failAll(t *testing.T, name string, complete []apitype.ResourceV3, all []failure) []failure {
	var mu sync.Mutex
	var left []failure
	// Each simulation has engine processes of its own; more at once than cores only makes all of
	// them slower.
	slots := make(chan struct{}, runtime.NumCPU())
	t.Run(name, func(t *testing.T) {
		for first := range min(inFlight, len(all)) {
			// Neighbours are made at the same time, so they go to different simulations.
			var mine []failure
			for i := first; i < len(all); i += inFlight {
				mine = append(mine, all[i])
			}
			t.Run(fmt.Sprint(first), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				missed := failInTurn(t, complete, mine)
				mu.Lock()
				defer mu.Unlock()
				left = append(left, missed...)
			})
		}
	})
	// What is left keeps the order in which a deployment makes it.
	return slices.DeleteFunc(slices.Clone(all), func(f failure) bool {
		return !slices.ContainsFunc(left, func(l failure) bool { return l.resource.URN == f.resource.URN && l.partial == f.partial })
	})
}

// failInTurn runs a deployment per failure, and a last one that must complete the work. It returns
// the failures that could not happen.
func failInTurn(t *testing.T, complete []apitype.ResourceV3, all []failure) (missed []failure) {
	w := open(t, ofEachShape)
	for _, f := range all {
		exists := slices.ContainsFunc(state(t, w), func(r apitype.ResourceV3) bool { return r.URN == f.resource.URN })
		if exists {
			missed = append(missed, f)
			continue
		}
		if !t.Run(f.String(), func(t *testing.T) { fail(t, w, complete, f) }) {
			return nil
		}
	}
	w.World().ClearFaults()
	up(t, w)
	assert.Equal(t, urns(complete), urns(state(t, w)), "the last deployment did not complete the work")
	for _, r := range state(t, w) {
		assert.Empty(t, r.InitErrors, "%s is still not healthy", r.URN)
	}
	assert.Len(t, w.World().DNSRecords(), len(records(complete)))
	return missed
}

// fail runs a deployment in which one resource fails, and nothing else does.
func fail(t *testing.T, w *workspace.Simulation, complete []apitype.ResourceV3, f failure) {
	urn := string(f.resource.URN)
	w.World().ClearFaults()
	w.World().Inject(simcloud.Fault{
		Type: string(f.resource.Type), Name: f.resource.URN.Name(), Operation: simcloud.OpCreate, Partial: f.partial,
	})
	start := len(w.World().Journal())
	failed, err := w.Up(t.Context(), workspace.Parallel(inFlight))
	require.Error(t, err, "the fault did not hit")
	assert.Contains(t, failed.Log, "injected fault")
	hit := false
	for _, op := range w.World().Journal()[start:] {
		hit = hit || op.URN == urn && op.Err != ""
		assert.True(t, op.URN == urn || op.Err == "" || strings.Contains(op.Err, "cancelled"), "%s of %s failed, too: %s", op.Kind, op.URN, op.Err)
	}
	assert.True(t, hit, "the fault hit something else")
	requireNothingExposed(t, w, complete)
}

// Each deletion fails once: every destroy stops at the next resource whose deletion has not failed
// yet, and the last one at none. Whatever is published in between has its whole chain.
func TestEveryDeletionMayFail(t *testing.T) {
	w := unprotected(t, ofEachShape)
	complete := state(t, w)
	for _, r := range complete {
		if isCloud(r) {
			w.World().Inject(simcloud.Fault{Type: string(r.Type), Name: r.URN.Name(), Operation: simcloud.OpDelete, Times: 1})
		}
	}
	start := len(w.World().Journal())
	for range complete {
		// One at a time, so that one fails at a time.
		destroyed, err := w.Destroy(t.Context(), workspace.Parallel(1))
		if err == nil {
			break
		}
		require.Contains(t, logOf(destroyed), "injected fault")
		requireNothingExposed(t, w, complete)
	}
	assert.Empty(t, state(t, w))
	assert.Empty(t, w.World().Inventory())
	failed := map[string]int{}
	for _, op := range w.World().Journal()[start:] {
		if op.Kind == simcloud.OpDelete && op.Err != "" {
			failed[op.URN]++
		}
	}
	for _, op := range w.World().Journal()[start:] {
		if op.Kind == simcloud.OpDelete && op.Err == "" {
			assert.Equal(t, 1, failed[op.URN], "the deletion of %s did not fail once", op.URN)
		}
	}
	assert.Greater(t, len(failed), 40)
}
