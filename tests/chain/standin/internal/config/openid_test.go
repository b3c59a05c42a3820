package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/standin/internal/config"
)

// openID is what homelab sets when a service logs its users in at the portal.
func openID(t *testing.T) []string {
	t.Helper()
	return append(environment(t), "AUTHELIA_IDENTITY_PROVIDERS_OIDC_HMAC_SECRET_FILE="+write(t, "of codes and tokens\n"))
}

func TestOpenID(t *testing.T) {
	c, err := config.Load(write(t, golden(t, "production.golden"))+","+write(t, golden(t, "openid.golden")), openID(t))
	require.NoError(t, err)
	require.NotNil(t, c.Providers.OIDC)
	assert.Equal(t, "of codes and tokens", c.Providers.OIDC.HMACSecret)
	require.Len(t, c.Providers.OIDC.Clients, 2)
	assert.True(t, c.Providers.OIDC.Clients[0].Proves("grafana's secret"))
	assert.False(t, c.Providers.OIDC.Clients[0].Proves("photos' secret"))
	assert.Equal(t, 2048, c.Providers.OIDC.JWKS[0].Private.N.BitLen())
}

func TestRefusesOpenID(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key":        {"enforce_pkce: always", "enforce_pkce: always\n    pkce: always", "field pkce not found"},
		"a section twice":    {"identity_providers:", "theme: auto\nidentity_providers:", "configuration key 'theme' is in"},
		"PKCE for nobody":    {"enforce_pkce: always", "enforce_pkce: sometimes", "enforce_pkce"},
		"encryption key":     {"use: sig", "use: enc", "option 'use'"},
		"algorithm":          {"algorithm: RS256", "algorithm: none", "option 'algorithm'"},
		"no key":             {"-----BEGIN PRIVATE KEY-----", "-----", "must be a PEM block"},
		"a public key":       {"PRIVATE KEY-----", "PUBLIC KEY-----", "must be an RSA private key"},
		"policy of nobody":   {"authorization_policy: site-grafana", "authorization_policy: site-radarr", "authorization_policy"},
		"a standard name":    {"site-grafana", "two_factor", "must have a name of its own"},
		"default policy":     {"default_policy: deny", "default_policy: bypass", "option 'default_policy'"},
		"rule's policy":      {"- policy: two_factor", "- policy: bypass", "option 'policy'"},
		"subject":            {"- - group:admins", "- - admins", "option 'subject' with value"},
		"two of a name":      {"client_id: photos", "client_id: grafana", "must be unique"},
		"client's name":      {"client_id: photos", "client_id: our photos", "option 'client_id'"},
		"a public client":    {"public: false", "public: true", "option 'public'"},
		"secret in clear":    {"client_secret: $pbkdf2-sha512$310000$", "client_secret: $plaintext$", "option 'client_secret'"},
		"few rounds":         {"$310000$", "$1000$", "out of range"},
		"plain challenge":    {"pkce_challenge_method: S256", "pkce_challenge_method: plain", "option 'pkce_challenge_method'"},
		"secret in a form":   {"client_secret_basic", "client_secret_post", "option 'token_endpoint_auth_method'"},
		"consent":            {"consent_mode: implicit", "consent_mode: explicit", "option 'consent_mode'"},
		"implicit flow":      {"          - code\n", "          - code\n          - id_token\n", "option 'response_types'"},
		"refresh":            {"          - authorization_code\n", "          - refresh_token\n", "option 'grant_types'"},
		"no openid":          {"          - openid\n", "", "must have 'openid'"},
		"scope":              {"          - groups\n", "          - phone\n", "option 'scopes'"},
		"redirect in clear":  {"- https://photos.example.com", "- http://photos.example.com", "option 'redirect_uris'"},
		"redirect of no one": {"        redirect_uris:\n          - https://photos.example.com/auth/login\n", "", "option 'redirect_uris' is required"},
	} {
		t.Run(name, func(t *testing.T) {
			text := golden(t, "openid.golden")
			require.Contains(t, text, c.old)
			_, err := config.Load(write(t, golden(t, "production.golden"))+","+write(t, strings.ReplaceAll(text, c.old, c.new)), openID(t))
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := config.Load(write(t, golden(t, "production.golden"))+","+write(t, golden(t, "openid.golden")), environment(t))
	require.ErrorContains(t, err, "option 'hmac_secret' is required")
	_, err = config.Load(write(t, golden(t, "production.golden")), openID(t))
	require.ErrorContains(t, err, "there is nothing that 'identity_providers.oidc.hmac_secret' could belong to")
}
