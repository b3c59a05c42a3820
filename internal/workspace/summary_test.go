package workspace

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	stackURN = "urn:pulumi:prod::homelab::pulumi:pulumi:Stack::homelab-prod"
	topURN   = "urn:pulumi:prod::homelab::test:index:Top::top"
	leafURN  = "urn:pulumi:prod::homelab::test:index:Top$test:index:Leaf::leaf"
)

func metadata(op apitype.OpType, urn, kind, parent string) apitype.StepEventMetadata {
	return apitype.StepEventMetadata{Op: op, URN: urn, Type: kind, New: &apitype.StepEventStateMetadata{Parent: parent}}
}

func pre(meta apitype.StepEventMetadata) events.EngineEvent {
	return events.EngineEvent{EngineEvent: apitype.EngineEvent{ResourcePreEvent: &apitype.ResourcePreEvent{Metadata: meta}}}
}

func TestSummarizeCollapsesReplacementsAndKeepsFailures(t *testing.T) {
	stack := metadata(apitype.OpSame, stackURN, "pulumi:pulumi:Stack", "")
	stack.New.Outputs = map[string]any{
		"unknown": plugin.UnknownStringValue,
		"list":    []any{"[secret]", plugin.UnknownNumberValue},
	}
	failed := metadata(apitype.OpUpdate, topURN, "test:index:Top", stackURN)
	list := []events.EngineEvent{
		pre(stack),
		pre(metadata(apitype.OpUpdate, topURN, "test:index:Top", stackURN)),
		pre(metadata(apitype.OpCreateReplacement, leafURN, "test:index/leaf:Leaf", topURN)),
		pre(metadata(apitype.OpReplace, leafURN, "test:index/leaf:Leaf", topURN)),
		pre(metadata(apitype.OpDeleteReplaced, leafURN, "test:index/leaf:Leaf", topURN)),
		{EngineEvent: apitype.EngineEvent{ResOutputsEvent: &apitype.ResOutputsEvent{Metadata: stack}}},
		{EngineEvent: apitype.EngineEvent{DiagnosticEvent: &apitype.DiagnosticEvent{
			URN: topURN, Severity: "error", Message: "<{%fg 1%}>no<{%reset%}>\n",
		}}},
		{EngineEvent: apitype.EngineEvent{DiagnosticEvent: &apitype.DiagnosticEvent{Severity: "warning", Message: "hm"}}},
		{EngineEvent: apitype.EngineEvent{ResOpFailedEvent: &apitype.ResOpFailedEvent{Metadata: failed}}},
	}
	summary := &Summary{}
	summary.summarize(list)

	assert.Equal(t, []Resource{
		{URN: stackURN, Type: "pulumi:pulumi:Stack", Name: "homelab-prod", Op: "same"},
		{URN: leafURN, Type: "test:index/leaf:Leaf", Name: "leaf", Parent: topURN, Op: "replace"},
		{URN: topURN, Type: "test:index:Top", Name: "top", Parent: stackURN, Op: "update", Failed: true},
	}, summary.Resources)
	assert.Equal(t, map[string]int{"same": 1, "replace": 1, "update": 1}, summary.Changes)
	assert.Equal(t, "1 replace, 1 same, 1 update", summary.Counts())
	assert.Equal(t, []string{"test:index:Top top: no"}, summary.Problems)
	assert.Equal(t, map[string]any{"unknown": "[unknown]", "list": []any{"[secret]", "[unknown]"}}, summary.Outputs)
	assert.Len(t, summary.Events, len(list))
	assert.True(t, summary.HasChanges())

	var tree strings.Builder
	require.NoError(t, summary.WriteTree(&tree))
	assert.Equal(t, `  pulumi:pulumi:Stack homelab-prod  (same)
! └─ test:index:Top top  (update failed)
±    └─ test:index:Leaf leaf  (replace)
`, tree.String())
}

func TestNothingIsNoChange(t *testing.T) {
	summary := &Summary{}
	summary.summarize(nil)
	assert.False(t, summary.HasChanges())
	assert.Equal(t, "nothing", summary.Counts())
	assert.NotNil(t, summary.Resources)
	assert.NotNil(t, summary.Problems)
}

func TestTouchedIsWhatChangedOutside(t *testing.T) {
	finished := func(op apitype.OpType, kind string, custom, planning bool) events.EngineEvent {
		meta := metadata(op, leafURN, kind, stackURN)
		meta.New.Custom = custom
		return events.EngineEvent{EngineEvent: apitype.EngineEvent{
			ResOutputsEvent: &apitype.ResOutputsEvent{Metadata: meta, Planning: planning},
		}}
	}
	const leaf = "test:index:Leaf"
	for name, each := range map[string]struct {
		event events.EngineEvent
		want  bool
	}{
		"a resource":           {finished(apitype.OpCreate, leaf, true, false), true},
		"one only planned":     {finished(apitype.OpCreate, leaf, true, true), false},
		"one left as it was":   {finished(apitype.OpSame, leaf, true, false), false},
		"a component":          {finished(apitype.OpCreate, leaf, false, false), false},
		"a provider":           {finished(apitype.OpCreate, "pulumi:providers:hcloud", true, false), false},
		"one that is underway": {pre(metadata(apitype.OpCreate, leafURN, leaf, stackURN)), false},
	} {
		summary := &Summary{}
		summary.summarize([]events.EngineEvent{each.event})
		assert.Equal(t, each.want, summary.touched, name)
	}
}
