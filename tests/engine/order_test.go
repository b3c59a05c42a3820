package engine

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/workspace"
)

// span is when a step ran, as positions in the engine's own record.
type span struct{ started, finished int }

func spans(s *workspace.Summary) map[string]span {
	out := map[string]span{}
	for i, event := range s.Events {
		switch {
		case event.ResourcePreEvent != nil:
			out[event.ResourcePreEvent.Metadata.URN] = span{started: i, finished: len(s.Events)}
		case event.ResOutputsEvent != nil:
			urn := event.ResOutputsEvent.Metadata.URN
			out[urn] = span{started: out[urn].started, finished: i}
		}
	}
	return out
}

// A record is the last thing made for a service, and the first to go.
func TestHostnamesComeLastAndGoFirst(t *testing.T) {
	w := open(t)
	made := spans(up(t, w))
	complete := state(t, w)
	require.Len(t, records(complete), 1+len(offered()), "the portal and the services")
	for _, record := range records(complete) {
		chain := chainOf(complete, record)
		require.Greater(t, len(chain), 60, "the chain of %s is too short to be one", record.URN)
		for _, urn := range chain {
			assert.Less(t, made[string(urn)].finished, made[string(record.URN)].started, "%s began before %s had finished", record.URN.Name(), urn)
		}
	}

	_, err := w.LiftProtection(t.Context())
	require.NoError(t, err)
	destroyed, err := w.Destroy(t.Context())
	require.NoError(t, err, "%s", logOf(destroyed))
	gone := spans(destroyed)
	for _, record := range records(complete) {
		for _, urn := range chainOf(complete, record) {
			assert.Less(t, gone[string(record.URN)].finished, gone[string(urn)].started, "%s was still there when %s went", record.URN.Name(), urn)
		}
	}
}

// The state itself says that a record hangs on its chain, so every later operation, by whatever
// program, keeps the order.
func TestTheStateKnowsTheChain(t *testing.T) {
	w := open(t)
	up(t, w)
	complete := state(t, w)
	byURN := map[string]apitype.ResourceV3{}
	for _, r := range complete {
		byURN[string(r.URN)] = r
	}
	for _, record := range records(complete) {
		reached := map[string]bool{}
		var follow func(urn string)
		follow = func(urn string) {
			if reached[urn] {
				return
			}
			reached[urn] = true
			for _, next := range byURN[urn].Dependencies {
				follow(string(next))
			}
			// A provider is referred to as URN::ID.
			if end := strings.LastIndex(byURN[urn].Provider, "::"); end > 0 {
				follow(byURN[urn].Provider[:end])
			}
		}
		follow(string(record.URN))
		for _, urn := range chainOf(complete, record) {
			assert.True(t, reached[string(urn)], "%s does not depend on %s", record.URN.Name(), urn)
		}
	}
}
