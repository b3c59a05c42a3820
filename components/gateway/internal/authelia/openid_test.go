package authelia_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
	"homelab/components/internal/golden"
)

// secrets are those of the example's clients; the key signs nothing but what the stand-in's tests
// judge.
func secrets(t *testing.T) authelia.OpenIDSecrets {
	t.Helper()
	key, err := os.ReadFile(filepath.Join("testdata", "openid-issuer.pem"))
	require.NoError(t, err)
	out := authelia.OpenIDSecrets{IssuerKey: string(key), Digests: map[string]string{}}
	for name, secret := range map[string]string{"grafana": "grafana's secret", "photos": "photos' secret"} {
		digest, err := authelia.HashClientSecret(secret, []byte((name + "0123456789abcdef")[:16]))
		require.NoError(t, err)
		out.Digests[name] = digest
	}
	return out
}

func TestOpenIDConfiguration(t *testing.T) {
	got, err := authelia.OpenIDConfiguration(production(), secrets(t))
	require.NoError(t, err)
	golden.Equal(t, "openid", got)
	again, err := authelia.OpenIDConfiguration(production(), secrets(t))
	require.NoError(t, err)
	assert.Equal(t, string(got), string(again))
}

func TestOpenIDIsInTheEnvironmentOnlyWhereItIsDeclared(t *testing.T) {
	m := production()
	with := m.Environment()
	assert.Equal(t, "/run/secrets/openid-hmac-secret", with["AUTHELIA_IDENTITY_PROVIDERS_OIDC_HMAC_SECRET_FILE"])
	assert.Equal(t, "/config/configuration.yml,/run/secrets/openid.yml", with["X_AUTHELIA_CONFIG"])
	for i := range m.Sites {
		m.Sites[i].OpenID = nil
	}
	assert.Len(t, m.Environment(), len(with)-2)
	_, err := authelia.OpenIDConfiguration(m, authelia.OpenIDSecrets{IssuerKey: secrets(t).IssuerKey})
	require.ErrorContains(t, err, "there is nothing to render")
}

func TestOpenIDConfigurationRefuses(t *testing.T) {
	const otherKey = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n"
	key := secrets(t).IssuerKey
	for name, change := range map[string]func(*authelia.Model, *authelia.OpenIDSecrets){
		"digests": func(_ *authelia.Model, s *authelia.OpenIDSecrets) {
			s.Digests = map[string]string{"grafana": "grafana's secret", "radarr": secrets(t).Digests["grafana"]}
		},
		"no key":      func(_ *authelia.Model, s *authelia.OpenIDSecrets) { s.IssuerKey = "hunter2" },
		"two keys":    func(_ *authelia.Model, s *authelia.OpenIDSecrets) { s.IssuerKey += s.IssuerKey },
		"broken key":  func(_ *authelia.Model, s *authelia.OpenIDSecrets) { s.IssuerKey = strings.Replace(key, "M", "A", 1) },
		"another key": func(_ *authelia.Model, s *authelia.OpenIDSecrets) { s.IssuerKey = otherKey },
		"sites": func(m *authelia.Model, _ *authelia.OpenIDSecrets) {
			for i, s := range m.Sites {
				switch s.Name {
				case "grafana":
					m.Sites[i].OpenID = &site.OpenID{
						RedirectPaths: []string{"login", "/a?b=c", "/a/../b", "//evil.example.org", "/*", "/a", "/a", "https://evil.example.org/", ""},
						Scopes:        []site.Scope{"openid", "offline_access", site.Email, site.Email}, Policy: access.OneFactor, Groups: []string{"admins"},
					}
				case "photos":
					m.Sites[i].OpenID = &site.OpenID{}
				case "jellyfin":
					m.Sites[i].OpenID = &site.OpenID{RedirectPaths: []string{"/"}, Policy: access.Native, Groups: []string{"users"}}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, s := production(), secrets(t)
			change(&m, &s)
			got, err := authelia.OpenIDConfiguration(m, s)
			assert.Empty(t, got)
			golden.Error(t, "refused-openid-"+strings.ReplaceAll(name, " ", "-"), err)
			for _, shown := range []string{"hunter2", "grafana's secret", key[40:80], "MC4CAQ"} {
				assert.NotContains(t, err.Error(), shown)
			}
		})
	}
}

// The example of Authelia's documentation is the digest of "insecure_secret".
func TestHashClientSecret(t *testing.T) {
	const documented = "$pbkdf2-sha512$310000$c8p78n7pUMln0jzvd4aK4Q$JNRBzwAo0ek5qKn50cFzzvE9RXV88h1wJn5KGiHrD0YKtZaR/nCb2CJPOsKaPK0hjf.9yHxzQGZziziccp6Yng"
	salt, err := base64.RawStdEncoding.DecodeString("c8p78n7pUMln0jzvd4aK4Q")
	require.NoError(t, err)
	got, err := authelia.HashClientSecret("insecure_secret", salt)
	require.NoError(t, err)
	assert.Equal(t, documented, got)
}
