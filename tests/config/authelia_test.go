//go:build chain

package config

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Authelia's module holds its own JSON schemas. It is pinned here by version and by hash, because
// the homelab's module shall not require it.
const (
	autheliaModule = "github.com/authelia/authelia/v4@v4.39.20"
	autheliaHash   = "h1:nM/fmvpLtlJ1Nx9SttGsVFQF6NRun85en8y/MiVJeAk="
	autheliaSchema = "docs/static/schemas/v4.39/json-schema"
)

func autheliaSchemas(t *testing.T) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", autheliaModule)
	cmd.Dir, cmd.Stderr = t.TempDir(), &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s%s", out, stderr.String())
	var module struct{ Dir, Sum string }
	require.NoError(t, json.Unmarshal(out, &module))
	require.Equal(t, autheliaHash, module.Sum)
	return filepath.Join(module.Dir, autheliaSchema)
}

func TestAutheliaSchemasAccept(t *testing.T) {
	schemas, check := autheliaSchemas(t), built(t, schemaTool)
	for name, schema := range map[string]string{
		"production": "configuration.json", "mail": "configuration.json", "mail-implicit": "configuration.json", "short-sessions": "configuration.json",
		"a-session-domain-of-its-own": "configuration.json", "openid": "configuration.json", "users": "user-database.json",
	} {
		t.Run(name, func(t *testing.T) {
			document := filepath.Join(t.TempDir(), "document.yml")
			write(t, document, rendered(t, "authelia", name))
			accepted(t, check, filepath.Join(schemas, schema), document)
		})
	}
}

// A judge that accepts everything proves nothing.
func TestAutheliaSchemasRefuse(t *testing.T) {
	schemas, check := autheliaSchemas(t), built(t, schemaTool)
	for name, c := range map[string]struct{ file, old, new string }{
		"unknown key":            {"production", "default_policy: deny", "defaultpolicy: deny"},
		"unknown policy":         {"production", "policy: two_factor", "policy: three_factor"},
		"unknown method of HTTP": {"production", "        - POST\n", "        - SHOUT\n"},
		"unknown rate limit":     {"production", "second_factor_totp:", "second_factor:"},
		"no duration":            {"production", "inactivity: 1h", "inactivity: soon"},
		"unknown mail key":       {"mail", "identifier: auth", "helo: auth"},
		"no mail address":        {"mail", "address: submission://", "address: https://"},
		"unknown scope":          {"openid", "          - groups\n", "          - group\n"},
		"no digest":              {"openid", "$pbkdf2-sha512$", "$md5$"},
		"unknown method":         {"openid", "pkce_challenge_method: S256", "pkce_challenge_method: S512"},
		"unknown consent":        {"openid", "consent_mode: implicit", "consent_mode: always"},
		"unknown client key":     {"openid", "redirect_uris:", "redirect_urls:"},
		"unknown OIDC policy":    {"openid", "default_policy: deny", "default_policy: refuse"},
	} {
		t.Run(name, func(t *testing.T) {
			document := filepath.Join(t.TempDir(), "document.yml")
			write(t, document, replaced(t, rendered(t, "authelia", c.file), c.old, c.new))
			out, err := run(t, check, filepath.Join(schemas, "configuration.json"), document)
			require.Error(t, err, out)
		})
	}
}
