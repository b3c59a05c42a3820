package portal_test

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	twoFactor = "requests.example.com"
	oneFactor = "movies.example.com"
	tailnet   = "grafana.example.com"
	inTailnet = "100.100.1.2"
)

func TestAnonymousIsSentToThePortal(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		headers []string
		status  int
	}{
		"browser":              {nil, 302},
		"any type comes first": {[]string{"Accept", "*/*"}, 302},
		"any type comes later": {[]string{"Accept", "application/json, */*"}, 401},
		"no type":              {[]string{"Accept", ""}, 401},
		"program":              {[]string{"Accept", "application/json"}, 401},
		"script":               {[]string{"X-Requested-With", "xmlhttprequest"}, 401},
		"head":                 {[]string{"X-Forwarded-Method", "HEAD"}, 302},
		"options":              {[]string{"X-Forwarded-Method", "OPTIONS"}, 302},
		"post":                 {[]string{"X-Forwarded-Method", "POST"}, 303},
		"delete":               {[]string{"X-Forwarded-Method", "DELETE"}, 303},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.visitor().ask(twoFactor, "/x?a=b&c=d", c.headers...)
			assert.Equal(t, c.status, a.StatusCode)
			to, err := url.Parse(a.Header.Get("Location"))
			require.NoError(t, err)
			assert.Equal(t, "https://auth.example.com/", to.Scheme+"://"+to.Host+to.Path)
			assert.Equal(t, "https://requests.example.com/x?a=b&c=d", to.Query().Get("rd"))
			assert.NotEmpty(t, to.Query().Get("rm"))
			assert.Empty(t, a.Header.Get("Remote-User"))
			assert.Contains(t, a.Header.Get("Set-Cookie"), "homelab_session=")
		})
	}
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	w := newWorld(t)
	for name, headers := range map[string][]string{
		"no method":         {"X-Forwarded-Method", ""},
		"lower case method": {"X-Forwarded-Method", "get"},
		"no scheme":         {"X-Forwarded-Proto", ""},
		"not secure":        {"X-Forwarded-Proto", "http"},
		"no host":           {"X-Forwarded-Host", ""},
		"another domain":    {"X-Forwarded-Host", "requests.example.org"},
		"domain's ending":   {"X-Forwarded-Host", "evilexample.com"},
		"upper case host":   {"X-Forwarded-Host", "REQUESTS.EXAMPLE.COM"},
		"no URI":            {"X-Forwarded-Host", "requests example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.visitor().ask(twoFactor, "/api/v1/status", headers...)
			assert.Equal(t, http.StatusBadRequest, a.StatusCode)
			assert.Equal(t, "400 Bad Request", a.body)
		})
	}
	a := w.visitor().do(http.MethodPost, "/api/authz/forward-auth", nil, "")
	assert.Equal(t, http.StatusMethodNotAllowed, a.StatusCode)
	a = w.visitor().do(http.MethodGet, "/api/authz/auth-request", nil, "")
	assert.Equal(t, http.StatusNotFound, a.StatusCode, "only the endpoint that is configured is there")
	a = w.visitor().do(http.MethodGet, "/api/verify", nil, "")
	assert.Equal(t, http.StatusNotFound, a.StatusCode)
}

func TestRulesForEverybody(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	assert.Equal(t, http.StatusOK, v.ask(twoFactor, "/api/v1/status").StatusCode, "a path without login")
	assert.Equal(t, http.StatusOK, v.ask(twoFactor, "/api/v1/status?x=1").StatusCode)
	assert.Equal(t, http.StatusOK, v.ask(twoFactor, "/site.webmanifest").StatusCode)
	assert.Equal(t, http.StatusFound, v.ask(twoFactor, "/a/site.webmanifest").StatusCode)
	assert.Equal(t, http.StatusFound, v.ask(twoFactor, "/api/v1/statuses").StatusCode)
	assert.Equal(t, http.StatusFound, v.ask(twoFactor, "/admin?/site.webmanifest").StatusCode)
	assert.Equal(t, http.StatusFound, v.ask(twoFactor, "/api/v1/status/../../admin").StatusCode, "paths are cleaned")
	assert.Equal(t, http.StatusForbidden, v.ask("other.example.com", "/").StatusCode, "what no rule names is denied")
	const hook = "/api/v1/hooks/0123456789abcdef0123456789abcdef"
	for method, status := range map[string][2]int{
		"GET": {200, 302}, "HEAD": {200, 302}, "OPTIONS": {200, 302},
		"POST": {303, 200}, "PUT": {303, 303}, "PATCH": {303, 303}, "DELETE": {303, 303}, "PROPFIND": {303, 303},
	} {
		assert.Equal(t, status[0], v.ask(twoFactor, "/api/v1/status", "X-Forwarded-Method", method).StatusCode, "%s where only reading needs no login", method)
		assert.Equal(t, status[1], v.ask(twoFactor, hook, "X-Forwarded-Method", method).StatusCode, "%s where only POST needs no login", method)
	}

	assert.Equal(t, http.StatusForbidden, v.ask(tailnet, "/").StatusCode, "from outside the network no rule matches")
	assert.Equal(t, http.StatusForbidden, v.ask(tailnet, "/api/health").StatusCode)
	v.addr = inTailnet
	assert.Equal(t, http.StatusFound, v.ask(tailnet, "/").StatusCode)
	assert.Equal(t, http.StatusOK, v.ask(tailnet, "/api/health").StatusCode)
	v.addr = "fd7a:115c:a1e0::1"
	assert.Equal(t, http.StatusOK, v.ask(tailnet, "/api/health").StatusCode)
	v.addr = inTailnet + ", 203.0.113.5"
	assert.Equal(t, http.StatusOK, v.ask(tailnet, "/api/health").StatusCode, "the leftmost address counts: the proxy must set it")
	v.addr = "203.0.113.5, " + inTailnet
	assert.Equal(t, http.StatusForbidden, v.ask(tailnet, "/api/health").StatusCode)
	v.addr = "no address"
	assert.Equal(t, http.StatusForbidden, v.ask(tailnet, "/api/health").StatusCode, "and otherwise the peer's")
}

// The portal's own API asks for one factor before it removes a second one; the proxy asks the rule
// for the portal's hostname first.
func TestThePortalItselfNeedsBothFactors(t *testing.T) {
	w := newWorld(t)
	remove := func(v *visitor) int {
		return v.ask("auth.example.com", "/api/secondfactor/totp", "X-Forwarded-Method", "DELETE").StatusCode
	}
	assert.Equal(t, http.StatusSeeOther, remove(w.visitor()))
	owner := w.ready()
	assert.Equal(t, http.StatusOK, remove(owner))
	thief := w.visitor()
	require.Equal(t, http.StatusOK, thief.login("admin", adminPassword).StatusCode)
	assert.Equal(t, http.StatusSeeOther, remove(thief), "with the password alone")
}

func TestCredentialsInHeadersAreNoSession(t *testing.T) {
	v := newWorld(t).visitor()
	// admin:correct horse battery staple
	const basic = "Basic YWRtaW46Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ=="
	assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/", "Authorization", basic).StatusCode)
	assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/", "Proxy-Authorization", basic).StatusCode)
	assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/", "Remote-User", "admin").StatusCode)
}

func TestFactorsDecide(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	assert.Equal(t, http.StatusFound, v.ask(twoFactor, "/").StatusCode, "a password is not enough")
	one := v.ask(oneFactor, "/")
	assert.Equal(t, http.StatusOK, one.StatusCode)
	assert.Equal(t, "admin", one.Header.Get("Remote-User"))
	assert.Equal(t, "admins,users", one.Header.Get("Remote-Groups"))
	assert.Equal(t, "Admin", one.Header.Get("Remote-Name"))
	assert.Equal(t, "admin@example.com", one.Header.Get("Remote-Email"))
	assert.Empty(t, one.Header.Get("Set-Cookie"), "an answer that lets pass sets no cookie")

	v.enrol()
	assert.Equal(t, http.StatusFound, v.ask(twoFactor, "/").StatusCode, "enrolling is not logging in")
	require.Equal(t, http.StatusOK, v.second(v.code(1)).StatusCode)
	assert.Equal(t, http.StatusOK, v.ask(twoFactor, "/").StatusCode)
	assert.Equal(t, http.StatusForbidden, v.ask(tailnet, "/").StatusCode)

	guest := w.visitor()
	require.Equal(t, http.StatusOK, guest.login("guest", guestPassword).StatusCode)
	assert.Equal(t, http.StatusForbidden, guest.ask(oneFactor, "/").StatusCode, "who is in no group of the rule")
	assert.Equal(t, http.StatusFound, guest.ask(twoFactor, "/").StatusCode)
}

func TestSessionsEnd(t *testing.T) {
	t.Run("unused too long", func(t *testing.T) {
		w := newWorld(t)
		v := w.visitor()
		require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
		for range 3 {
			w.clock.advance(59 * time.Minute)
			require.Equal(t, http.StatusOK, v.ask(oneFactor, "/").StatusCode, "each visit counts")
		}
		w.clock.advance(time.Hour + time.Second)
		before := v.cookie
		assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode)
		assert.NotEqual(t, before, v.cookie)
		v.cookie = before
		assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode, "it does not come back")
	})
	t.Run("expired in the store", func(t *testing.T) {
		w := newWorld(t)
		v := w.visitor()
		require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
		w.redis.FastForward(12*time.Hour + time.Second)
		assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode)
	})
	t.Run("remembered", func(t *testing.T) {
		w := newWorld(t)
		v := w.visitor()
		a := v.api(http.MethodPost, "/api/firstfactor", `{"username":"admin","password":"`+adminPassword+`","keepMeLoggedIn":true}`)
		require.Equal(t, http.StatusOK, a.StatusCode)
		w.clock.advance(700 * time.Hour)
		w.redis.FastForward(700 * time.Hour)
		assert.Equal(t, http.StatusOK, v.ask(oneFactor, "/").StatusCode)
		w.redis.FastForward(721 * time.Hour)
		assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode)
	})
	t.Run("nobody is remembered", func(t *testing.T) {
		w := newWorld(t, "remember_me: 720h", "remember_me: -1")
		v := w.visitor()
		a := v.api(http.MethodPost, "/api/firstfactor", `{"username":"admin","password":"`+adminPassword+`","keepMeLoggedIn":true}`)
		require.Equal(t, http.StatusOK, a.StatusCode)
		w.clock.advance(time.Hour + time.Second)
		assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode)
	})
	t.Run("user removed", func(t *testing.T) {
		w := newWorld(t)
		v := w.visitor()
		require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
		data, err := os.ReadFile(w.path("users_database.yml"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(w.path("users_database.yml"), []byte(strings.ReplaceAll(string(data), "admin:", "somebody:")), 0o600))
		watched(t, w)
		w.clock.advance(time.Minute + time.Second)
		assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode)
		assert.Equal(t, http.StatusUnauthorized, v.login("admin", adminPassword).StatusCode)
	})
	t.Run("cookie of somebody else", func(t *testing.T) {
		w := newWorld(t)
		v := w.visitor()
		require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
		assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/", "Session-Username", "guest").StatusCode)
	})
}

// Nobody logged in passes while the store is away. A path without login stays open, as it does with
// the real program.
func TestStoreDown(t *testing.T) {
	w := newWorld(t)
	v := w.ready()
	require.Equal(t, http.StatusOK, v.ask(twoFactor, "/").StatusCode)
	w.redis.SetError("LOADING")
	cookie := v.cookie
	assert.Equal(t, http.StatusFound, v.ask(twoFactor, "/").StatusCode)
	assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode)
	assert.Equal(t, http.StatusUnauthorized, v.ask(oneFactor, "/", "Accept", "application/json").StatusCode)
	assert.Equal(t, http.StatusForbidden, v.ask("other.example.com", "/").StatusCode)
	assert.Equal(t, http.StatusOK, v.ask(twoFactor, "/api/v1/status").StatusCode)
	assert.Equal(t, http.StatusUnauthorized, v.login("admin", adminPassword).StatusCode)
	assert.Equal(t, http.StatusForbidden, v.second(v.code(0)).StatusCode)
	w.redis.SetError("")
	v.cookie = cookie
	assert.Equal(t, http.StatusOK, v.ask(twoFactor, "/").StatusCode)
}

func TestSessionsAreEncryptedInTheStore(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	key := "authelia-session:" + v.cookie
	value, err := w.redis.Get(key)
	require.NoError(t, err)
	assert.NotContains(t, value, "admin")
	assert.Equal(t, 12*time.Hour, w.redis.TTL(key))
	require.NoError(t, w.redis.Set(key, value[:len(value)-1]+"x"))
	assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode, "what was tampered with is nobody's")
}
