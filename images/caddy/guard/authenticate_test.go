package guard

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAuthenticate(t *testing.T) {
	var question *http.Request
	answer := func(w http.ResponseWriter) {}
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question = r
		answer(w)
	}))
	t.Cleanup(portal.Close)
	a := &Authenticate{Portal: portal.URL + "/api/authz/forward-auth"}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	require.NoError(t, a.Provision(ctx))
	t.Cleanup(func() { assert.NoError(t, a.Cleanup()) })
	var served atomic.Pointer[http.Request]
	s := behind(t, func(_ http.ResponseWriter, r *http.Request) { served.Store(r) }, a)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func() *http.Response {
		served.Store(nil)
		request, err := http.NewRequest(http.MethodDelete, s.URL+"/a%2Fb?c=d", nil)
		require.NoError(t, err)
		request.Host = "requests.example.com"
		for name, value := range map[string]string{
			"Cookie": "session=x", "Authorization": "Basic eA==", "X-Forwarded-Host": "open.example.com", "Remote-Groups": "admins", "X-Other": "y", "Accept": "text/html",
		} {
			request.Header.Set(name, value)
		}
		response, err := client.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response
	}
	t.Run("consent", func(t *testing.T) {
		answer = func(w http.ResponseWriter) { w.Header().Set("Remote-User", "family") }
		assert.Equal(t, http.StatusOK, ask().StatusCode)
		assert.Equal(t, http.MethodHead, question.Method)
		for name, want := range map[string]string{
			"X-Forwarded-Method": "DELETE", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "requests.example.com", "X-Forwarded-Uri": "/a%2Fb?c=d",
			"X-Forwarded-For": visitorAddress, "Cookie": "session=x", "Accept": "text/html",
		} {
			assert.Equal(t, []string{want}, question.Header.Values(name), name)
		}
		for _, name := range []string{"Authorization", "Remote-Groups", "X-Other"} {
			assert.Empty(t, question.Header.Get(name), name)
		}
		require.NotNil(t, served.Load())
		assert.Equal(t, "family", served.Load().Header.Get("Remote-User"))
		assert.Empty(t, served.Load().Header.Get("Remote-Groups"), "a group that the portal did not name")
	})
	t.Run("a login is needed", func(t *testing.T) {
		answer = func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://auth.example.com/")
			w.Header().Set("Content-Length", "99")
			w.WriteHeader(http.StatusFound)
		}
		response := ask()
		assert.Equal(t, http.StatusFound, response.StatusCode)
		assert.Equal(t, "https://auth.example.com/", response.Header.Get("Location"))
		assert.Nil(t, served.Load())
	})
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError} {
		answer = func(w http.ResponseWriter) { w.WriteHeader(status) }
		assert.Equal(t, status, ask().StatusCode)
		assert.Nil(t, served.Load())
	}
	portal.Close()
	assert.Equal(t, http.StatusBadGateway, ask().StatusCode, "open without a portal")
	assert.Nil(t, served.Load())
}
