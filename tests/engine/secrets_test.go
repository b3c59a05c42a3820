package engine

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/workspace"
)

// Every secret that was generated, by a provider or for the configuration, is looked for wherever
// somebody might read: in clear, in base64, and as it stands inside JSON.
func TestSecretsAreNowhereInClear(t *testing.T) {
	var streamed strings.Builder
	w := open(t, func(o *workspace.Options) {
		o.Stdout, o.Stderr = &streamed, &streamed
		o.Config = mailServer
	})
	preview, err := w.Preview(t.Context())
	require.NoError(t, err, "%s", logOf(preview))
	created := up(t, w)
	again, err := w.Preview(t.Context())
	require.NoError(t, err)

	secrets := w.World().Secrets()
	configured, err := w.SecretValues(t.Context())
	require.NoError(t, err)
	require.Contains(t, configured, "homelab:smtpPassword")
	for _, value := range configured {
		secrets = append(secrets, value)
	}
	require.Greater(t, len(secrets), 20, "the simulation generated too few secrets to search for")

	file, err := w.StateFile()
	require.NoError(t, err)
	stored, err := os.ReadFile(file)
	require.NoError(t, err)
	config, err := os.ReadFile(w.Dir() + "/Pulumi.prod.yaml")
	require.NoError(t, err)
	deployment, err := w.Deployment()
	require.NoError(t, err)
	exported, err := json.Marshal(deployment)
	require.NoError(t, err)
	events, err := json.Marshal([]any{preview.Events, created.Events, again.Events})
	require.NoError(t, err)
	summaries, err := json.Marshal([]any{preview, created, again})
	require.NoError(t, err)
	for place, text := range map[string]string{
		"the state":                  string(stored),
		"the exported stack":         string(exported),
		"the stack's configuration":  string(config),
		"the output, as it streamed": streamed.String(),
		"the logs":                   preview.Log + created.Log + again.Log,
		"the engine's events":        string(events),
		"the summaries":              string(summaries),
	} {
		require.NotEmpty(t, text, place)
		for _, secret := range secrets {
			for form, disguised := range map[string]string{
				"in clear": secret, "in base64": base64.StdEncoding.EncodeToString([]byte(secret)), "in JSON": inJSON(t, secret),
			} {
				// Not assert.NotContains: its message would print the whole place.
				if strings.Contains(text, disguised) {
					assert.Fail(t, "a secret leaked", "%s holds, %s, a secret that begins with %.4q", place, form, secret)
				}
			}
		}
	}
}

func inJSON(t *testing.T, secret string) string {
	t.Helper()
	quoted, err := json.Marshal(secret)
	require.NoError(t, err)
	return strings.Trim(string(quoted), `"`)
}
