//go:build chain

package chain

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
	"homelab/tests/chain/internal/visitor"
)

// A service of the renderer's example that logs its users in at the portal, and lets more people in
// than the stack's Grafana. The example has the stack's own zone, so its second configuration fits
// the deployed one.
const (
	photosBack   = "https://photos.example.com/auth/login"
	photosSecret = "photos' secret"
	grafanaBack  = "https://grafana.example.com/login/generic_oauth"
	verifier     = "a-verifier-of-the-service-0123456789-abcdefg"
	clientState  = "a-state-of-the-service"
)

// register gives the portal the second configuration, as a deployment with such services does: as a
// secret of the portal, named by the environment.
func (s *stage) register(t *testing.T) {
	t.Helper()
	root, err := toolchain.Root()
	require.NoError(t, err)
	second, err := os.ReadFile(filepath.Join(root, "components/gateway/internal/authelia/testdata/openid.golden"))
	require.NoError(t, err)
	folder := s.Deployment.Path("/opt/homelab/authelia/secrets")
	like, err := os.Stat(filepath.Join(folder, "session-secret"))
	require.NoError(t, err)
	owner, ok := like.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	for base, content := range map[string]string{"openid.yml": string(second), "openid-hmac-secret": "the secret of codes and tokens"} {
		path := filepath.Join(folder, base)
		require.NoError(t, os.WriteFile(path, []byte(content), like.Mode()))
		require.NoError(t, os.Chown(path, int(owner.Uid), int(owner.Gid)))
	}
	s.StopContainer("authelia")
	s.AddEnv("authelia", "AUTHELIA_IDENTITY_PROVIDERS_OIDC_HMAC_SECRET_FILE=/run/secrets/openid-hmac-secret",
		"X_AUTHELIA_CONFIG=/config/configuration.yml,/run/secrets/openid.yml")
	require.NoError(t, s.StartContainer(t.Context(), "authelia"))
}

// authorization is where the service sends a browser.
func authorization(client, back string) string {
	sum := sha256.Sum256([]byte(verifier))
	return portal + "/api/oidc/authorization?" + url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {back}, "scope": {"openid email profile"}, "state": {clientState},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode()
}

// sentBack is what a browser brings back to the service.
func sentBack(t *testing.T, b *visitor.Browser, client, back string) url.Values {
	t.Helper()
	a, err := b.Get(t.Context(), authorization(client, back))
	require.NoError(t, err)
	to, err := url.Parse(a.Header.Get("Location"))
	require.NoError(t, err)
	require.Equal(t, back, to.Scheme+"://"+to.Host+to.Path, "%d %s", a.Status, a.Body)
	require.Equal(t, clientState, to.Query().Get("state"))
	return to.Query()
}

// testOpenID is a login at a service by OpenID Connect through the whole chain: the browser's part,
// and what the service asks for by itself from the machine's own address, by the portal's public
// name.
func testOpenID(t *testing.T, s *stage, family *person) {
	s.register(t)
	service := s.cloudflare.From("203.0.113.60").Browser("h2")
	ask := func(method, path, authorization, body string, into any) int {
		t.Helper()
		header := map[string]string{"Accept": "application/json"}
		if authorization != "" {
			header["Authorization"] = authorization
		}
		if body != "" {
			header["Content-Type"] = "application/x-www-form-urlencoded"
		}
		a, err := service.Do(t.Context(), visitor.Request{Method: method, URL: portal + path, Header: header, Body: body})
		require.NoError(t, err)
		if a.Status == http.StatusOK {
			require.NoError(t, json.Unmarshal([]byte(a.Body), into), "%s", a.Body)
		}
		return a.Status
	}
	basic := func(secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("photos:"+url.QueryEscape(secret)))
	}

	var known map[string]any
	require.Equal(t, http.StatusOK, ask(http.MethodGet, "/.well-known/openid-configuration", "", "", &known))
	assert.Equal(t, portal, known["issuer"])
	assert.Equal(t, portal+"/api/oidc/token", known["token_endpoint"])
	var keys struct{ Keys []any }
	require.Equal(t, http.StatusOK, ask(http.MethodGet, "/jwks.json", "", "", &keys))
	assert.Len(t, keys.Keys, 1)

	b := s.cloudflare.From("203.0.113.61").Browser("h2")
	toLogin := func() {
		t.Helper()
		a, err := b.Get(t.Context(), authorization("photos", photosBack))
		require.NoError(t, err)
		require.Contains(t, a.Header.Get("Location"), portal+"/?flow=openid_connect&flow_id=", "%d %s", a.Status, a.Body)
	}
	toLogin()
	family.firstFactor(t, b)
	toLogin() // one factor is not enough
	family.secondFactor(t, b)
	code := sentBack(t, b, "photos", photosBack).Get("code")
	require.NotEmpty(t, code)
	assert.Equal(t, "access_denied", sentBack(t, b, "grafana", grafanaBack).Get("error"), "somebody who is not in the site's group")

	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {photosBack}, "code_verifier": {verifier}}.Encode()
	require.Equal(t, http.StatusUnauthorized, ask(http.MethodPost, "/api/oidc/token", basic("guessed"), form, nil))
	var token struct {
		Access string `json:"access_token"`
		ID     string `json:"id_token"`
	}
	require.Equal(t, http.StatusOK, ask(http.MethodPost, "/api/oidc/token", basic(photosSecret), form, &token))
	require.NotEmpty(t, token.ID)
	var user map[string]any
	require.Equal(t, http.StatusOK, ask(http.MethodGet, "/api/oidc/userinfo", "Bearer "+token.Access, "", &user))
	assert.Equal(t, "family", user["preferred_username"])
	assert.Equal(t, "family@example.com", user["email"])
	require.Equal(t, http.StatusBadRequest, ask(http.MethodPost, "/api/oidc/token", basic(photosSecret), form, nil), "a code is good twice")
	require.Equal(t, http.StatusUnauthorized, ask(http.MethodGet, "/api/oidc/userinfo", "Bearer "+token.Access, "", nil))

	for _, log := range []string{"caddy/logs/access.log", "authelia/logs/authelia.log"} {
		text, err := os.ReadFile(s.Deployment.Path("/opt/homelab/" + log))
		require.NoError(t, err)
		require.Contains(t, string(text), "/api/oidc/token", "%s says nothing of the login", log)
		for _, secret := range []string{code, token.Access, token.ID, strings.TrimPrefix(basic(photosSecret), "Basic "), photosSecret, verifier} {
			assert.NotContains(t, string(text), secret, "%s shows a secret", log)
		}
	}
}
