package portal_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPages(t *testing.T) {
	v := newWorld(t).visitor()
	for _, path := range []string{"/", "/?rd=https%3A%2F%2Frequests.example.com%2F&rm=GET", "/2fa/one-time-password", "/logout"} {
		a := v.api(http.MethodGet, path, "")
		assert.Equal(t, http.StatusOK, a.StatusCode, path)
		assert.Contains(t, a.Header.Get("Content-Type"), "text/html")
		assert.Equal(t, "DENY", a.Header.Get("X-Frame-Options"))
	}
	for _, path := range []string{"/api/nothing", "/static/x.js", "/api/reset-password/identity/start", "/.well-known/openid-configuration", "/API/state"} {
		assert.Equal(t, http.StatusNotFound, v.api(http.MethodGet, path, "").StatusCode, path)
	}
	a := v.api(http.MethodGet, "/api/health", "")
	assert.Equal(t, http.StatusOK, a.StatusCode)
	assert.JSONEq(t, `{"status":"OK"}`, a.body)
	assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	assert.Equal(t, http.StatusMethodNotAllowed, v.api(http.MethodPost, "/api/health", "").StatusCode)
}

func TestState(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	state := func() (out struct {
		Username string `json:"username"`
		Level    int    `json:"authentication_level"`
		Redirect string `json:"default_redirection_url"`
	}) {
		a := v.api(http.MethodGet, "/api/state", "")
		require.Equal(t, http.StatusOK, a.StatusCode)
		a.data(t, &out)
		return out
	}
	assert.Equal(t, 0, state().Level)
	assert.Equal(t, "https://requests.example.com", state().Redirect)
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	assert.Equal(t, 1, state().Level)
	assert.Equal(t, "admin", state().Username)
	v.enrol()
	require.Equal(t, http.StatusOK, v.second(v.code(1)).StatusCode)
	assert.Equal(t, 2, state().Level)
	a := v.do(http.MethodGet, "/api/state", map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "auth.example.org"}, "")
	assert.Equal(t, http.StatusForbidden, a.StatusCode, "on another domain there is no session")
}

func TestLoginGivesAFreshSession(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	v.cookie = "chosen-by-an-attacker"
	require.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode)
	require.Equal(t, "chosen-by-an-attacker", v.cookie)
	a := v.login("admin", adminPassword)
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.NotEqual(t, "chosen-by-an-attacker", v.cookie)
	assert.Len(t, v.cookie, 32)
	assert.False(t, w.redis.Exists("authelia-session:chosen-by-an-attacker"))
	set := strings.ToLower(a.Header.Get("Set-Cookie"))
	for _, part := range []string{"homelab_session=", "; domain=example.com", "; path=/", "; httponly", "; secure", "; samesite=lax", "; expires="} {
		assert.Contains(t, set, part)
	}
	first := v.cookie
	v.enrol()
	require.Equal(t, http.StatusOK, v.second(v.code(1)).StatusCode)
	assert.NotEqual(t, first, v.cookie, "the second factor gives a fresh one too")
	assert.False(t, w.redis.Exists("authelia-session:"+first))

	last := v.cookie
	a = v.api(http.MethodPost, "/api/logout", `{"targetURL":"https://requests.example.com/"}`)
	assert.JSONEq(t, `{"status":"OK","data":{"safeTargetURL":true}}`, a.body)
	assert.False(t, w.redis.Exists("authelia-session:"+last))
	v.cookie = last
	assert.Equal(t, http.StatusFound, v.ask(oneFactor, "/").StatusCode)
	a = v.api(http.MethodPost, "/api/logout", `{"targetURL":"https://requests.example.org/"}`)
	assert.JSONEq(t, `{"status":"OK","data":{"safeTargetURL":false}}`, a.body)
}

func TestWhereToAfterLogin(t *testing.T) {
	w := newWorld(t)
	for target, want := range map[string]string{
		"":                             `{"status":"OK"}`,
		"https://movies.example.com/x": `{"status":"OK","data":{"redirect":"https://movies.example.com/x"}}`,
		"https://requests.example.com": `{"status":"OK"}`,
		"https://evil.example.org/":    `{"status":"OK"}`,
		"http://movies.example.com/":   `{"status":"OK"}`,
		"no URL":                       `{"status":"KO","message":"Authentication failed. Check your credentials."}`,
	} {
		body, err := json.Marshal(map[string]string{"username": "admin", "password": adminPassword, "targetURL": target, "requestMethod": "GET"})
		require.NoError(t, err)
		a := w.visitor().api(http.MethodPost, "/api/firstfactor", string(body))
		assert.Equal(t, http.StatusOK, a.StatusCode)
		assert.JSONEq(t, want, a.body, target)
	}
	v := w.visitor()
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	v.enrol()
	a := v.second(v.code(1))
	assert.JSONEq(t, `{"status":"OK","data":{"redirect":"https://requests.example.com"}}`, a.body)
	a = v.api(http.MethodPost, "/api/checks/safe-redirection", `{"uri":"https://evil.example.org/"}`)
	assert.JSONEq(t, `{"status":"OK","data":{"ok":false}}`, a.body)
}

func TestNoFactorIsSkipped(t *testing.T) {
	w := newWorld(t)
	owner := w.ready()
	stranger := w.visitor()
	for _, c := range [][2]string{
		{http.MethodPost, "/api/secondfactor/totp"}, {http.MethodGet, "/api/secondfactor/totp"}, {http.MethodDelete, "/api/secondfactor/totp"},
		{http.MethodPut, "/api/secondfactor/totp/register"}, {http.MethodPost, "/api/secondfactor/totp/register"},
		{http.MethodGet, "/api/secondfactor/webauthn"}, {http.MethodPut, "/api/secondfactor/webauthn/credential/register"},
		{http.MethodPost, "/api/user/session/elevation"}, {http.MethodPut, "/api/user/session/elevation"}, {http.MethodGet, "/api/user/info"},
		{http.MethodGet, "/api/configuration"}, {http.MethodPost, "/api/firstfactor/reauthenticate"},
	} {
		a := stranger.api(c[0], c[1], `{"token":"`+owner.code(0)+`","otc":"ABCDEFGH","password":"`+adminPassword+`"}`)
		assert.Equal(t, http.StatusForbidden, a.StatusCode, "%s %s", c[0], c[1])
	}
	// With the password alone nobody enrols a further device, for there is one already.
	require.Equal(t, http.StatusOK, stranger.login("admin", adminPassword).StatusCode)
	a := stranger.api(http.MethodPut, "/api/secondfactor/totp/register", `{"algorithm":"SHA1","length":6,"period":30}`)
	assert.Equal(t, http.StatusForbidden, a.StatusCode)
	assert.JSONEq(t, `{"status":"KO","data":{"elevation":false,"first_factor":false,"second_factor":true}}`, a.body)
	assert.Equal(t, http.StatusNotImplemented, owner.api(http.MethodGet, "/api/secondfactor/webauthn", "").StatusCode)
}

func TestCodes(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	require.Equal(t, http.StatusForbidden, v.second("123456").StatusCode, "nobody has a device yet")
	v.enrol()
	assert.Equal(t, http.StatusForbidden, v.second(v.code(0)).StatusCode, "the code of the enrolment was used")
	assert.Equal(t, http.StatusForbidden, v.second(v.code(2)).StatusCode, "two periods early")
	assert.Equal(t, http.StatusForbidden, v.second(v.code(-2)).StatusCode, "two periods late")
	assert.Equal(t, http.StatusBadRequest, v.second("12345").StatusCode)
	assert.Equal(t, http.StatusForbidden, v.second("").StatusCode)
	early := v.code(1)
	require.Equal(t, http.StatusOK, v.second(early).StatusCode, "one period early")
	assert.Equal(t, http.StatusForbidden, v.second(early).StatusCode, "again")
	w.clock.advance(30 * time.Second)
	assert.Equal(t, http.StatusForbidden, v.second(early).StatusCode, "again in its own period")
	another := w.visitor()
	another.device = v.device
	require.Equal(t, http.StatusOK, another.login("admin", adminPassword).StatusCode)
	assert.Equal(t, http.StatusForbidden, another.second(early).StatusCode, "again in another session")
	late := v.code(0)
	require.NotEqual(t, early, v.code(2))
	w.clock.advance(60 * time.Second)
	assert.Equal(t, http.StatusOK, another.second(another.code(-1)).StatusCode, "one period late: %s", late)
}

func TestEnrolment(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	const path, options = "/api/secondfactor/totp/register", `{"algorithm":"SHA1","length":6,"period":30}`
	a := v.api(http.MethodPut, path, options)
	assert.Equal(t, http.StatusForbidden, a.StatusCode)
	assert.JSONEq(t, `{"status":"KO","data":{"elevation":true,"first_factor":false,"second_factor":false}}`, a.body)

	a = v.do(http.MethodPost, "/api/user/session/elevation", map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "requests.example.com"}, "")
	assert.Equal(t, http.StatusForbidden, a.StatusCode, "only on the portal's own host")
	v.api(http.MethodPost, "/api/user/session/elevation", "")
	code := v.mailed()
	assert.Equal(t, http.StatusForbidden, v.api(http.MethodPut, "/api/user/session/elevation", `{"otc":"AAAAAAAA"}`).StatusCode)
	v.addr = "203.0.113.6"
	assert.Equal(t, http.StatusForbidden, v.api(http.MethodPut, "/api/user/session/elevation", `{"otc":"`+code+`"}`).StatusCode, "from elsewhere")
	v.addr = "203.0.113.5"
	require.Equal(t, http.StatusOK, v.api(http.MethodPut, "/api/user/session/elevation", `{"otc":"`+strings.ToLower(code)+`"}`).StatusCode)

	assert.Equal(t, http.StatusBadRequest, v.api(http.MethodPut, path, `{"algorithm":"SHA512","length":6,"period":30}`).StatusCode)
	assert.Equal(t, http.StatusForbidden, v.api(http.MethodPost, path, `{"token":"123456"}`).StatusCode, "nothing begun")
	require.Equal(t, http.StatusOK, v.api(http.MethodPut, path, options).StatusCode)
	assert.Equal(t, http.StatusForbidden, v.api(http.MethodPost, path, `{"token":"000000"}`).StatusCode)
	assert.Equal(t, http.StatusNotFound, v.api(http.MethodGet, "/api/secondfactor/totp", "").StatusCode)

	v.addr = "203.0.113.6"
	assert.Equal(t, http.StatusForbidden, v.api(http.MethodPut, path, options).StatusCode, "an elevation holds for one address")
	v.addr = "203.0.113.5"
	assert.Equal(t, http.StatusForbidden, v.api(http.MethodPut, path, options).StatusCode, "and is lost elsewhere")
}

func TestElevationEnds(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	v.api(http.MethodPost, "/api/user/session/elevation", "")
	code := v.mailed()
	w.clock.advance(5*time.Minute + time.Second)
	assert.Equal(t, http.StatusForbidden, v.api(http.MethodPut, "/api/user/session/elevation", `{"otc":"`+code+`"}`).StatusCode, "the code is too old")
	var begun struct {
		ID string `json:"delete_id"`
	}
	v.api(http.MethodPost, "/api/user/session/elevation", "").data(t, &begun)
	code = v.mailed()
	require.JSONEq(t, `{"status":"OK"}`, w.visitor().api(http.MethodDelete, "/api/user/session/elevation/"+begun.ID, "").body)
	assert.Equal(t, http.StatusForbidden, v.api(http.MethodPut, "/api/user/session/elevation", `{"otc":"`+code+`"}`).StatusCode, "the code was revoked")
	w.clock.advance(time.Hour / 2)
	v.elevate()
	w.clock.advance(10*time.Minute + time.Second)
	a := v.api(http.MethodPut, "/api/secondfactor/totp/register", `{"algorithm":"SHA1","length":6,"period":30}`)
	assert.Equal(t, http.StatusForbidden, a.StatusCode)
}

func TestRateLimits(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	for range 3 {
		assert.Equal(t, http.StatusOK, v.api(http.MethodPost, "/api/user/session/elevation", "").StatusCode)
	}
	a := v.api(http.MethodPost, "/api/user/session/elevation", "")
	assert.Equal(t, http.StatusTooManyRequests, a.StatusCode)
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	w.clock.advance(5 * time.Minute)
	assert.Equal(t, http.StatusOK, v.api(http.MethodPost, "/api/user/session/elevation", "").StatusCode)
	for range 10 {
		assert.Equal(t, http.StatusForbidden, v.second("000000").StatusCode)
	}
	assert.Equal(t, http.StatusTooManyRequests, v.second("000000").StatusCode)
	w.clock.advance(time.Minute)
	assert.Equal(t, http.StatusForbidden, v.second("000000").StatusCode)
	assert.Equal(t, http.StatusTooManyRequests, v.second("000000").StatusCode, "one more each minute")
	v.addr = "203.0.113.99"
	assert.Equal(t, http.StatusForbidden, v.second("000000").StatusCode, "another address has a bucket of its own")
}

func TestRegulation(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	for range 5 {
		assert.Equal(t, http.StatusUnauthorized, v.login("admin", "wrong").StatusCode)
	}
	a := v.login("admin", adminPassword)
	assert.Equal(t, http.StatusUnauthorized, a.StatusCode, "the address is banned, even with the right password")
	assert.JSONEq(t, `{"status":"KO","message":"Authentication failed. Check your credentials."}`, a.body)
	lines := w.logged()
	assert.Regexp(t, `"msg":"Unsuccessful 1FA authentication attempt by user 'admin' and they are banned until `, lines[len(lines)-1])
	elsewhere := w.visitor()
	elsewhere.addr = "203.0.113.77"
	assert.Equal(t, http.StatusOK, elsewhere.login("admin", adminPassword).StatusCode, "the user is not")
	w.clock.advance(10*time.Minute + time.Second)
	assert.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)

	// Guesses with names of nobody count as well, and a success begins anew.
	other := w.visitor()
	other.addr = "203.0.113.99"
	for range 4 {
		other.login("nobody", "wrong")
	}
	assert.Equal(t, http.StatusOK, other.login("admin", adminPassword).StatusCode)
	for range 4 {
		other.login("nobody", "wrong")
	}
	assert.Equal(t, http.StatusOK, other.login("admin", adminPassword).StatusCode)
	for range 5 {
		other.login("nobody", "wrong")
	}
	assert.Equal(t, http.StatusUnauthorized, other.login("admin", adminPassword).StatusCode)
}

func TestLoginTakesTime(t *testing.T) {
	w := newWorld(t)
	w.visitor().login("nobody", "wrong")
	assert.Greater(t, w.clock.slept, 500*time.Millisecond)
	assert.Less(t, w.clock.slept, 1100*time.Millisecond)
}

// The filter that homelab installs, in Go's spelling.
func TestFail2banReadsTheLog(t *testing.T) {
	filter, err := os.ReadFile("../../../../../components/gateway/internal/fail2ban/templates/homelab-authelia.conf")
	require.NoError(t, err)
	pattern := regexp.MustCompile(`(?m)^failregex = (.*)$`).FindStringSubmatch(string(filter))
	require.NotNil(t, pattern)
	failure := regexp.MustCompile(strings.ReplaceAll(pattern[1], "<ADDR>", `([0-9a-f.:]+)`))

	w := newWorld(t)
	v := w.visitor()
	matched := func() (out []string) {
		for _, line := range w.logged() {
			require.True(t, json.Valid([]byte(line)), line)
			if found := failure.FindStringSubmatch(line); found != nil {
				out = append(out, found[1])
			}
		}
		return out
	}
	v.login("admin", "wrong")
	assert.Equal(t, []string{v.addr}, matched())
	last := w.logged()[len(w.logged())-1]
	assert.Equal(t, `{"level":"error","method":"POST","msg":"Unsuccessful 1FA authentication attempt by user 'admin'","path":"/api/firstfactor",`+
		`"remote_ip":"203.0.113.5","time":"`+w.clock.Now().Format(time.RFC3339)+`"}`, last)
	v.login(`no","remote_ip":"198.51.100.1","x":"`, "wrong")
	assert.Equal(t, []string{v.addr, v.addr, v.addr}, matched(), "an unknown name makes two lines, and cannot name another address")
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	v.enrol()
	v.second("000000")
	assert.Len(t, matched(), 4)
	assert.Contains(t, strings.Join(w.logged(), "\n"), "Unsuccessful TOTP authentication attempt by user 'admin'")
}

func TestUserInfo(t *testing.T) {
	w := newWorld(t)
	v := w.ready()
	a := v.api(http.MethodGet, "/api/user/info", "")
	assert.JSONEq(t, `{"status":"OK","data":{"display_name":"Admin","emails":["a***n@example.com"],"method":"totp","has_totp":true,"has_webauthn":false,"has_duo":false}}`, a.body)
	require.Equal(t, http.StatusOK, v.api(http.MethodPost, "/api/user/info/2fa_method", `{"method":"totp"}`).StatusCode)
	assert.Contains(t, v.api(http.MethodPost, "/api/user/info", "").body, `"method":"totp"`)
	assert.Contains(t, v.api(http.MethodPost, "/api/user/info/2fa_method", `{"method":"mobile_push"}`).body, `"KO"`)
	a = v.api(http.MethodGet, "/api/configuration", "")
	assert.JSONEq(t, `{"status":"OK","data":{"available_methods":["totp","webauthn"],"password_change_disabled":true,"password_reset_disabled":true}}`, a.body)
	assert.Equal(t, http.StatusOK, v.api(http.MethodGet, "/api/secondfactor/totp", "").StatusCode)
	assert.NotContains(t, v.api(http.MethodGet, "/api/secondfactor/totp", "").body, v.device)
	require.Equal(t, http.StatusOK, v.api(http.MethodDelete, "/api/secondfactor/totp", "").StatusCode)
	assert.Equal(t, http.StatusForbidden, v.second(v.code(0)).StatusCode)
}

// Before the page has asked for POST /api/user/info, the portal does not see the second factor that
// is there, as the real one.
func TestWithoutPreferencesNoFactorIsSeen(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	v.register()
	assert.Contains(t, v.api(http.MethodGet, "/api/user/info", "").body, `"method":"","has_totp":false`)
	thief := w.visitor()
	require.Equal(t, http.StatusOK, thief.login("admin", adminPassword).StatusCode)
	const enrol, device = "/api/secondfactor/totp/register", `{"algorithm":"SHA1","length":6,"period":30}`
	refusal := func() string { return thief.api(http.MethodPut, enrol, device).body }
	assert.JSONEq(t, `{"status":"KO","data":{"elevation":true,"first_factor":false,"second_factor":false}}`, refusal())
	require.Contains(t, v.api(http.MethodPost, "/api/user/info", "").body, `"has_totp":true`)
	assert.JSONEq(t, `{"status":"KO","data":{"elevation":false,"first_factor":false,"second_factor":true}}`, refusal())
}

// A browser puts no space before the sign, but who forges a request may: a space is trimmed, a tab
// makes another name.
func TestWhatIsTheCookie(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	require.Equal(t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	session := v.cookie
	for header, want := range map[string]int{
		"homelab_session=" + session: 200, "homelab_session =" + session: 200, " homelab_session=" + session: 200, "a=b; homelab_session=" + session: 200,
		"homelab_session=\"" + session + "\"": 200,
		"homelab_session\t=" + session:        302, "Homelab_session=" + session: 302, "a=homelab_session=" + session: 302,
	} {
		v.cookie = ""
		assert.Equal(t, want, v.ask(oneFactor, "/", "Cookie", header).StatusCode, "%q", header)
	}
}

func TestReauthentication(t *testing.T) {
	w := newWorld(t)
	v := w.ready()
	before := v.cookie
	assert.Equal(t, http.StatusUnauthorized, v.api(http.MethodPost, "/api/firstfactor/reauthenticate", `{"password":"wrong"}`).StatusCode)
	assert.Equal(t, http.StatusOK, v.api(http.MethodPost, "/api/firstfactor/reauthenticate", `{"password":"`+adminPassword+`"}`).StatusCode)
	assert.NotEqual(t, before, v.cookie)
	assert.Equal(t, http.StatusOK, v.ask(twoFactor, "/").StatusCode)
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	v := w.visitor()
	v.login("admin", "wrong")
	v.ask(twoFactor, "/")
	v.ask(twoFactor, "/api/v1/status")
	families, err := w.portal.Metrics().Registry.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			key := family.GetName()
			for _, label := range m.GetLabel() {
				key += " " + label.GetName() + "=" + label.GetValue()
			}
			values[key] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for key, want := range map[string]float64{
		"authelia_authz code=302": 1, "authelia_authz code=200": 1, "authelia_request code=401 method=POST": 1,
		"authelia_authn_duration success=false": 1, "authelia_request_duration code=200": 1,
	} {
		assert.InDelta(t, want, values[key], 0, key)
	}
}
