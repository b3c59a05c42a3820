package engine

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/workspace"
)

// A stack that nobody touches for three years keeps its way from Cloudflare to the origin: any
// deployment renews a client certificate that has less than that left, and a preview says when it
// ends.
func TestTheOriginPullCertificateIsRenewedYearsBeforeItEnds(t *testing.T) {
	w := open(t)
	up(t, w)
	ends := map[string]time.Time{}
	for _, r := range state(t, w) {
		if text, ok := r.Outputs["validityEndTime"].(string); ok {
			end, err := time.Parse(time.RFC3339, text)
			require.NoError(t, err)
			ends[r.URN.Name()] = end
		}
	}
	require.Len(t, ends, 2)
	year := 365 * 24 * time.Hour
	client := ends["edge-origin-pull"]
	assert.Greater(t, time.Until(client), 5*year-24*time.Hour)
	assert.Greater(t, ends["edge-origin-ca"].Sub(client), 20*year, "the authority must outlive what it signs")
	const output = "originPullCertificateExpires"
	preview, err := w.Preview(t.Context())
	require.NoError(t, err)
	assert.Equal(t, client.Format(time.RFC3339), preview.Outputs[output])

	for left, renewed := range map[time.Duration]bool{3*year + 24*time.Hour: false, 3*year - 24*time.Hour: true} {
		end := time.Now().UTC().Add(left).Format(time.RFC3339)
		editState(t, w, client.Format(time.RFC3339), end)
		preview, err := w.Preview(t.Context())
		require.NoError(t, err, "%s", logOf(preview))
		var replaced []string
		for _, r := range preview.Resources {
			if r.Op == "replace" {
				replaced = append(replaced, r.Name)
			}
		}
		if renewed {
			assert.Equal(t, []string{"edge-origin-pull", "edge-origin-pull"}, replaced, "the certificate, and what Cloudflare has of it")
		} else {
			assert.False(t, preview.HasChanges(), "%s", preview.Counts())
			assert.Equal(t, end, preview.Outputs[output])
		}
		editState(t, w, end, client.Format(time.RFC3339))
	}
}

// editState replaces a text in the stack's state.
func editState(t *testing.T, w *workspace.Simulation, from, to string) {
	t.Helper()
	file, err := w.StateFile()
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), from)
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), from, to)), 0o600))
}
