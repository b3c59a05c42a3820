package engine

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/simcloud"
)

// Each resource's creation fails in turn. After the failed deployment nothing is published without its whole chain, and the next one
// completes the work. The table is made from the resources of a complete deployment, so a new resource is covered without anybody
// remembering.
func TestEveryCreationMayFail(t *testing.T) {
	w := open(t)
	up(t, w)
	complete := state(t, w)
	// Each case has engine processes of its own; more at once than cores only makes all of them slower.
	slots := make(chan struct{}, runtime.NumCPU())
	count := 0
	for _, r := range complete {
		if !isCloud(r) {
			continue
		}
		count++
		faults := map[string]simcloud.Fault{"": {Type: string(r.Type), Name: r.URN.Name(), Operation: simcloud.OpCreate}}
		if r.Type == typeContainer {
			// The engine's commonest failure: the container is there, and never becomes healthy.
			faults[" unhealthy"] = simcloud.Fault{Type: string(r.Type), Name: r.URN.Name(), Operation: simcloud.OpCreate, Partial: true}
		}
		for suffix, fault := range faults {
			t.Run(fmt.Sprintf("%s %s%s", r.Type.Name(), r.URN.Name(), suffix), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				failAndConverge(t, complete, fault)
			})
		}
	}
	assert.Greater(t, count, 80)
}

func failAndConverge(t *testing.T, complete []apitype.ResourceV3, fault simcloud.Fault) {
	w := open(t)
	w.World().Inject(fault)
	failed, err := w.Up(t.Context())
	require.Error(t, err, "the fault did not hit")
	assert.Contains(t, failed.Log, "injected fault")
	requireNothingExposed(t, w, complete)

	w.World().ClearFaults()
	up(t, w)
	assert.Equal(t, urns(complete), urns(state(t, w)), "the next deployment did not complete the work")
	for _, r := range state(t, w) {
		assert.Empty(t, r.InitErrors, "%s is still not healthy", r.URN)
	}
	assert.Len(t, w.World().DNSRecords(), len(records(complete)))
}
