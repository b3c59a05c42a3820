package engine

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/workspace"
	"homelab/policy/rules"
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
	graph := exported(t, w)
	for _, record := range records(complete) {
		for _, urn := range chainOf(complete, record) {
			needed := graph.Get(string(urn))
			require.NotNil(t, needed, urn)
			assert.True(t, graph.Needs(graph.Get(string(record.URN)), needed), "%s does not depend on %s", record.URN.Name(), urn)
		}
	}
}

// exported is the stack as an audit reads it.
func exported(t *testing.T, w *workspace.Simulation) *rules.Graph {
	t.Helper()
	text, err := w.Export(t.Context())
	require.NoError(t, err)
	export, err := rules.ReadExport(bytes.NewReader(text))
	require.NoError(t, err)
	return export.Graph
}
