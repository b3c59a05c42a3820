//go:build chain

package chain

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// testPortal uses the portal's own API to get in with less than both factors.
func testPortal(t *testing.T, s *stage, family *person) {
	t.Run("no call replaces the password", func(t *testing.T) {
		b := s.cloudflare.From("203.0.113.20").Browser("h2")
		for _, c := range calls(family) {
			status, ok, err := post(t.Context(), b, c.method, c.path, c.body, nil)
			require.NoError(t, err)
			assert.False(t, ok && status < 300, "anonymous: %s %s succeeds", c.method, c.path)
			a, err := b.Get(t.Context(), requests+"/")
			s.toPortal(t, a, err)
		}
	})
	t.Run("no call replaces the code", func(t *testing.T) {
		b := s.cloudflare.From("203.0.113.21").Browser("h2")
		family.firstFactor(t, b)
		for _, c := range calls(family) {
			_, _, err := post(t.Context(), b, c.method, c.path, c.body, nil)
			require.NoError(t, err)
			a, err := b.Get(t.Context(), requests+"/")
			s.toPortal(t, a, err)
		}
	})
	t.Run("a password cannot enrol another app", func(t *testing.T) {
		b := s.cloudflare.From("203.0.113.22").Browser("h2")
		family.firstFactor(t, b)
		// Even who reads the mail needs the second factor that is there.
		_, _, err := post(t.Context(), b, http.MethodPost, "/api/user/session/elevation", nil, nil)
		require.NoError(t, err)
		_, _, err = post(t.Context(), b, http.MethodPut, "/api/user/session/elevation", map[string]any{"otc": s.mailed(t)}, nil)
		require.NoError(t, err)
		var device struct {
			Secret string `json:"base32_secret"`
		}
		status, ok, err := post(t.Context(), b, http.MethodPut, "/api/secondfactor/totp/register", map[string]any{"algorithm": "SHA1", "length": 6, "period": 30}, &device)
		require.NoError(t, err)
		assert.False(t, ok, "an attacker with the password and the mail has a second factor of his own")
		assert.Equal(t, http.StatusForbidden, status)
		assert.Empty(t, device.Secret)
	})
	t.Run("a password cannot remove the app", func(t *testing.T) { testRemovingTheApp(t, s) })
	t.Run("the portal sends nobody elsewhere", func(t *testing.T) {
		b := s.cloudflare.From("203.0.113.24").Browser("h2")
		for _, target := range []string{"https://evil.example.org/", "http://requests.example.com/", "//evil.example.org", "https://example.com.evil.example.org/", "javascript:alert(1)"} {
			var data struct {
				Redirect string `json:"redirect"`
			}
			_, ok, err := post(t.Context(), b, http.MethodPost, "/api/firstfactor", map[string]any{
				"username": family.name, "password": family.password, "targetURL": target, "requestMethod": "GET",
			}, &data)
			require.NoError(t, err)
			assert.False(t, ok && data.Redirect == target, "the portal sends people to %s", target)
		}
	})
	t.Run("lies do not move the portal", func(t *testing.T) { testLiesToThePortal(t, s) })
}

// testRemovingTheApp tries to get rid of a second factor with the first one alone. Authelia itself
// would allow it.
func testRemovingTheApp(t *testing.T, s *stage) {
	guest, thief := s.person(t, "guest"), s.cloudflare.From("203.0.113.23").Browser("http/1.1")
	guest.firstFactor(t, thief)
	remove := func(method, path string, header map[string]string) *visitor.Answer {
		headers := map[string]string{"Accept": "application/json"}
		maps.Copy(headers, header)
		a, err := thief.Do(t.Context(), visitor.Request{Method: method, URL: portal + path, Header: headers})
		require.NoError(t, err)
		return a
	}
	for _, path := range []string{
		"/api/secondfactor/totp", "/api/secondfactor/totp/", "/api/secondfactor//totp", "/api/./secondfactor/totp", "/api/secondfactor/totp/register/../",
		"/api/secondfactor/totp/register/..", "/api/secondfactor/%74otp", "/api/secondfactor%2ftotp", "/api/secondfactor/totp?x=/api/secondfactor/totp/register",
		"/API/secondfactor/totp", "/api/secondfactor/totp;x", "/api/user/session/elevation/../../../secondfactor/totp",
		"/api/user/session/elevation/%2e%2e/%2e%2e/%2e%2e/secondfactor/totp", "/api/secondfactor/webauthn/credential/1",
		"/api/secondfactor/webauthn/credential/register/../1",
	} {
		a := remove(http.MethodDelete, path, nil)
		assert.GreaterOrEqual(t, a.Status, 300, "DELETE %s: %s", path, a.Body)
		assert.NotContains(t, a.Body, `"status":"OK"`, "DELETE %s", path)
	}
	for _, lie := range []header{{"X-HTTP-Method-Override", "DELETE"}, {"X-Forwarded-Method", "GET"}, {"X-Method-Override", "DELETE"}} {
		for _, method := range []string{http.MethodDelete, http.MethodPut, http.MethodPatch} {
			a := remove(method, "/api/secondfactor/totp", map[string]string{lie.name: lie.value})
			assert.NotContains(t, a.Body, `"status":"OK"`, "%s with %s: %s", method, lie.name, lie.value)
		}
	}
	a, err := thief.Get(t.Context(), portal+"/api/secondfactor/totp")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.Status, "the app is gone: %s", a.Body)

	// The owner removes it with both factors, and gets another one the way he got the first.
	owner := s.cloudflare.From("203.0.113.25").Browser("h2")
	guest.login(t, owner)
	_, ok, err := post(t.Context(), owner, http.MethodDelete, "/api/secondfactor/totp", nil, nil)
	require.NoError(t, err)
	assert.True(t, ok, "nobody can remove an app, not even with both factors")
	guest.secret = ""
	guest.firstFactor(t, owner)
	guest.enrol(t, owner)
}

type call struct {
	method, path string
	body         map[string]any
}

// calls are what the portal's API offers, asked for in the wrong order.
func calls(p *person) []call {
	return []call{
		{http.MethodPost, "/api/secondfactor/totp", map[string]any{"token": "000000"}},
		{http.MethodPost, "/api/secondfactor/totp", map[string]any{"token": "", "username": p.name}},
		{http.MethodPost, "/api/secondfactor/totp", map[string]any{"token": nil}},
		{http.MethodPost, "/api/secondfactor/totp", map[string]any{"token": []any{}}},
		{http.MethodPut, "/api/secondfactor/totp/register", map[string]any{"algorithm": "SHA1", "length": 6, "period": 30}},
		{http.MethodPost, "/api/secondfactor/totp/register", map[string]any{"token": "000000"}},
		{http.MethodPut, "/api/user/session/elevation", map[string]any{"otc": ""}},
		{http.MethodPut, "/api/user/session/elevation", map[string]any{"otc": "AAAAAAAA"}},
		{http.MethodPost, "/api/secondfactor/webauthn", map[string]any{"response": map[string]any{}}},
		{http.MethodPost, "/api/secondfactor/duo", map[string]any{}},
		{http.MethodPost, "/api/firstfactor/passkey", map[string]any{"response": map[string]any{}}},
		{http.MethodPost, "/api/firstfactor/reauthenticate", map[string]any{"password": ""}},
		{http.MethodPost, "/api/firstfactor", map[string]any{"username": p.name, "password": nil}},
		{http.MethodPost, "/api/reset-password/identity/start", map[string]any{"username": p.name}},
		{http.MethodPost, "/api/reset-password/identity/finish", map[string]any{"token": "x"}},
		{http.MethodPost, "/api/reset-password", map[string]any{"password": "x"}},
		{http.MethodPost, "/api/change-password", map[string]any{"username": p.name, "old_password": "", "new_password": "x"}},
		{http.MethodGet, "/api/user/info/totp", nil},
		{http.MethodPost, "/api/oidc/token", map[string]any{"grant_type": "password"}},
		{http.MethodGet, "/api/verify?auth=basic", nil},
		{http.MethodGet, "/api/authz/auth-request", nil},
		{http.MethodGet, "/api/authz/ext-authz/", nil},
		{http.MethodGet, "/debug/pprof/", nil},
		{http.MethodGet, "/metrics", nil},
	}
}

// testLiesToThePortal sends the lies with logins: the portal must neither believe them, nor name
// another address in its log.
func testLiesToThePortal(t *testing.T, s *stage) {
	path := s.Deployment.Path("/opt/homelab/authelia/logs/authelia.log")
	for n, lie := range lies {
		if lie.name == "Connection" {
			continue
		}
		t.Run(lie.name+" "+lie.value, func(t *testing.T) {
			// The portal must ask for the decision about the visitor, whatever the visitor says
			// about another.
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			visitorAddress := fmt.Sprintf("203.0.113.%d", 100+n)
			b := s.cloudflare.From(visitorAddress).Browser("http/1.1")
			a, err := b.Do(t.Context(), visitor.Request{URL: portal + "/api/authz/forward-auth", Header: map[string]string{lie.name: lie.value}})
			require.NoError(t, err)
			assert.False(t, a.Status >= 200 && a.Status < 300, "the portal gives a decision to whoever asks: %d", a.Status)
			if n%12 == 0 {
				a, err = b.Do(t.Context(), visitor.Request{
					Method: http.MethodPost, URL: portal + "/api/firstfactor", Body: `{"username":"nobody-there","password":"x"}`, Header: map[string]string{lie.name: lie.value},
				})
				require.NoError(t, err)
				assert.NotEqual(t, http.StatusOK, a.Status)
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			for line := range strings.Lines(string(after[len(before):])) {
				if strings.Contains(line, `"remote_ip"`) {
					assert.Contains(t, line, `"remote_ip":"`+visitorAddress+`"`, "the log names an address that the visitor chose")
				}
			}
		})
	}
}
