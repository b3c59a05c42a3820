//go:build chain

package chain

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
	"homelab/tests/internal/totp"
)

// Identity that the portal gives to a service.
var identity = []string{"Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email"}

// toPortal requires a redirect to the portal that leads back to the page.
func (s *stage) toPortal(t testing.TB, a *visitor.Answer, err error) {
	t.Helper()
	require.NoError(t, err)
	assert.Equal(t, http.StatusFound, a.Status, "%s", a.Body)
	assert.True(t, strings.HasPrefix(a.Header.Get("Location"), portal+"/?rd="), "the redirect is to %q", a.Header.Get("Location"))
	s.unreached(t, "the page itself")
}

// testLogin goes through logins from the beginning, and returns a session with both factors.
func testLogin(t *testing.T, s *stage, family *person) (session ticket) {
	b := s.cloudflare.Browser("h2")
	t.Run("login", func(t *testing.T) {
		t.Run("anonymous is sent to the portal", func(t *testing.T) {
			a, err := b.Get(t.Context(), requests+"/x?y=1")
			s.toPortal(t, a, err)
			assert.Contains(t, a.Header.Get("Location"), "requests.example.com")
			a, err = b.Do(t.Context(), visitor.Request{Method: http.MethodPost, URL: requests + "/x", Body: "{}"})
			s.refused(t, a, err)
		})
		t.Run("a refusal is a whole answer, and its connection goes on", func(t *testing.T) {
			const again = "GET /x HTTP/1.1\r\nHost: requests.example.com\r\n{cloudflare}Accept: text/html\r\n"
			answers, err := s.cloudflare.Raw(t.Context(), "requests.example.com", again+"\r\n"+again+"Connection: close\r\n\r\n")
			require.NoError(t, err)
			require.Len(t, answers, 2)
			for _, a := range answers {
				s.toPortal(t, a, nil)
			}
		})
		t.Run("the portal answers", func(t *testing.T) {
			a, err := b.Get(t.Context(), portal+"/")
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, a.Status)
			for name, want := range map[string]string{"Strict-Transport-Security": "max-age=31536000", "X-Content-Type-Options": "nosniff", "Server": ""} {
				assert.Equal(t, want, a.Header.Get(name), name)
			}
		})
		t.Run("a wrong password and an unknown user look alike", func(t *testing.T) {
			b := s.cloudflare.From("203.0.113.11").Browser("h2")
			var answers []int
			for _, who := range []string{"family", "nobody-of-that-name"} {
				status, ok, err := post(t.Context(), b, http.MethodPost, "/api/firstfactor", map[string]any{"username": who, "password": "wrong"}, nil)
				require.NoError(t, err)
				assert.False(t, ok)
				answers = append(answers, status)
			}
			assert.Equal(t, []int{http.StatusUnauthorized, http.StatusUnauthorized}, answers)
			a, err := b.Get(t.Context(), requests+"/")
			s.toPortal(t, a, err)
		})
		t.Run("a password alone is not enough", func(t *testing.T) {
			family.firstFactor(t, b)
			a, err := b.Get(t.Context(), requests+"/")
			s.toPortal(t, a, err)
		})
		t.Run("a wrong code is not enough", func(t *testing.T) {
			family.enrol(t, b)
			status, ok, err := post(t.Context(), b, http.MethodPost, "/api/secondfactor/totp", map[string]any{"token": "000000"}, nil)
			require.NoError(t, err)
			assert.False(t, ok)
			assert.Equal(t, http.StatusForbidden, status)
			a, err := b.Get(t.Context(), requests+"/")
			s.toPortal(t, a, err)
		})
		t.Run("password and code open the service", func(t *testing.T) {
			before := b.Cookie(requests, sessionCookie)
			family.secondFactor(t, b)
			session = ticketOf(t, b)
			assert.NotEqual(t, before, session.value, "the session kept its number: who knew it before the login has it now")
			a, err := b.Get(t.Context(), requests+"/page?x=%41")
			seen := s.served(t, "jellyseerr", a, err)
			assert.Equal(t, "/page?x=%41", seen.URI)
			assert.Equal(t, "requests.example.com", seen.Host)
			want := map[string]string{
				"Remote-User": "family", "Remote-Groups": "users", "Remote-Name": "Family", "Remote-Email": "family@example.com",
				"X-Forwarded-For": goodVisitor, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "requests.example.com", "X-Real-Ip": goodVisitor,
			}
			for name, value := range want {
				assert.Equal(t, []string{value}, seen.Header[name], name)
			}
			assert.NotContains(t, strings.Join(seen.Header["Cookie"], ";"), session.value, "the service could use the visitor's session at the portal")
		})
		t.Run("a used code is not accepted again", func(t *testing.T) {
			b := s.cloudflare.Browser("h2")
			family.firstFactor(t, b)
			used, err := totp.Code(family.secret, time.Unix(family.used[len(family.used)-1]*30, 0))
			require.NoError(t, err)
			_, ok, err := post(t.Context(), b, http.MethodPost, "/api/secondfactor/totp", map[string]any{"token": used}, nil)
			require.NoError(t, err)
			assert.False(t, ok, "whoever saw a code over a shoulder could use it")
			a, err := b.Get(t.Context(), requests+"/")
			s.toPortal(t, a, err)
		})
		t.Run("the wrong group gets 403", func(t *testing.T) {
			guest, b := s.person(t, "guest"), s.cloudflare.From("203.0.113.12").Browser("h2")
			guest.login(t, b)
			a, err := b.Get(t.Context(), requests+"/")
			s.refused(t, a, err)
			assert.Equal(t, http.StatusForbidden, a.Status)
		})
		t.Run("the cookie is for the browser and for https only", func(t *testing.T) {
			a, err := s.cloudflare.Browser("h2").Get(t.Context(), requests+"/")
			require.NoError(t, err)
			cookies := (&http.Response{Header: a.Header}).Cookies()
			for _, c := range cookies {
				assert.True(t, c.Secure && c.HttpOnly && c.SameSite == http.SameSiteLaxMode, "%+v", c)
			}
		})
		t.Run("logout ends the session everywhere", func(t *testing.T) {
			admin, b := s.person(t, "admin"), s.cloudflare.From("203.0.113.13").Browser("h2")
			admin.login(t, b)
			mine := ticketOf(t, b)
			a, err := b.Get(t.Context(), requests+"/")
			s.served(t, "jellyseerr", a, err)
			_, ok, err := post(t.Context(), b, http.MethodPost, "/api/logout", map[string]any{}, nil)
			require.NoError(t, err)
			require.True(t, ok)
			a, err = b.Get(t.Context(), requests+"/")
			s.toPortal(t, a, err)
			a, err = mine.give(t, s.cloudflare.Browser("h2")).Get(t.Context(), requests+"/")
			s.toPortal(t, a, err)
		})
		t.Run("an invented session is nobody's", func(t *testing.T) {
			for _, value := range []string{"a", strings.Repeat("A", 32), strings.ToUpper(session.value), session.value + "x", "%00", "*"} {
				a, err := ticket{value}.give(t, s.cloudflare.Browser("h2")).Get(t.Context(), requests+"/")
				s.toPortal(t, a, err)
			}
		})
	})
	return session
}
