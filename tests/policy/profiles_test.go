package policy

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/stack"
)

// What writes quality profiles, which the production example does without, breaks no rule; unless
// nothing waits for it.
func TestQualityProfilesBreakNoRule(t *testing.T) {
	text, err := deploy(stack.From, object{"homelab:wiring": object{
		"qualityProfiles": object{"radarr": []any{"hd-bluray-web"}, "sonarr": []any{"web-1080p"}},
	}})
	require.NoError(t, err)
	s := &state{t: t}
	require.NoError(t, json.Unmarshal(text, &s.file))
	written := s.get("command:remote:Command", "recyclarr-healthy")
	assert.Empty(t, s.failed())
	s.drop(written)
	assert.Contains(t, s.failed(), "container-orphan")
}
