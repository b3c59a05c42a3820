package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/workspace"
)

// The official plugins warn of the settings that a destroy leaves as they are, and of nothing else
// that the program does.
func TestWarningsAreThoseOfTheOfficialPlugins(t *testing.T) {
	w := open(t)
	preview, err := w.Preview(t.Context())
	require.NoError(t, err, "%s", logOf(preview))
	created := up(t, w)
	want := map[string]bool{}
	for _, r := range state(t, w) {
		if strings.HasSuffix(string(r.Type), ":ZoneSetting") || strings.HasSuffix(string(r.Type), ":AuthenticatedOriginPullsSettings") {
			want[string(r.URN)] = true
		}
	}
	require.Greater(t, len(want), 3)
	for _, s := range []*workspace.Summary{preview, created} {
		got := map[string]bool{}
		for _, event := range s.Events {
			if d := event.DiagnosticEvent; d != nil && d.Severity == "warning" {
				assert.Contains(t, d.Message, "cannot be destroyed from Terraform", "%s of %s", s.Command, d.URN)
				got[d.URN] = true
			}
		}
		assert.Equal(t, want, got, s.Command)
	}
}
