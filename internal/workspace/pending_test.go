package workspace

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatIsDeletedAlreadyIsForgotten(t *testing.T) {
	const state = `{"manifest":{"time":"2026-11-24T00:00:00Z"},"resources":[
		{"urn":"network","pendingReplacement":true},
		{"urn":"container","dependencies":["network","image"],"propertyDependencies":{"networks":["network"],"image":["image"]},"pendingReplacement":true},
		{"urn":"image","inputs":{"size":12345678901234567890}},
		{"urn":"gate","dependencies":["container","image"],"propertyDependencies":{"triggers":["container"]},"deletedWith":"container"},
		{"urn":"file","dependencies":["image"],"deletedWith":"image"}]}`
	const want = `{"manifest":{"time":"2026-11-24T00:00:00Z"},"resources":[
		{"urn":"image","inputs":{"size":12345678901234567890}},
		{"urn":"gate","dependencies":["image"],"propertyDependencies":{"triggers":null}},
		{"urn":"file","dependencies":["image"],"deletedWith":"image"}]}`
	got, changed, err := withoutDeleted(json.RawMessage(state))
	require.NoError(t, err)
	assert.True(t, changed)
	assert.JSONEq(t, want, string(got))

	const interrupted = `{"pending_operations":[{"type":"creating"}],"resources":[{"urn":"network","pendingReplacement":true}]}`
	_, changed, err = withoutDeleted(json.RawMessage(interrupted))
	require.NoError(t, err)
	assert.False(t, changed, "an interrupted operation would be forgotten")

	again, changed, err := withoutDeleted(got)
	require.NoError(t, err)
	assert.False(t, changed)
	assert.Equal(t, got, again)
}
