package portal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/pquerna/otp"
	otptotp "github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"homelab/tests/chain/standin/internal/config"
	"homelab/tests/chain/standin/internal/logs"
	"homelab/tests/chain/standin/internal/portal"
)

// goldens are what homelab renders.
const goldens = "../../../../../components/gateway/internal/authelia/testdata"

const (
	adminPassword = "correct horse battery staple"
	guestPassword = "guest's password"
	storePassword = "the store's password"
)

// fakeClock stands still until it is told to go on, and counts for how long it was asked to sleep.
type fakeClock struct {
	mu    sync.Mutex
	now   time.Time
	slept time.Duration
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Sleep(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept += d
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a running portal with everything around it.
type world struct {
	t      *testing.T
	dir    string
	clock  *fakeClock
	redis  *miniredis.Miniredis
	portal *portal.Portal
	client *http.Client
}

// newWorld runs the portal from the production golden, in which change may replace text.
func newWorld(t *testing.T, change ...string) *world {
	t.Helper()
	return runWorld(t, false, change...)
}

// runWorld adds, with openID, the golden of the second configuration.
func runWorld(t *testing.T, openID bool, change ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), clock: &fakeClock{now: time.Now().Truncate(30 * time.Second).Add(5 * time.Second)}}
	w.redis = miniredis.RunT(t)
	w.redis.RequireAuth(storePassword)
	paths, environment := w.configure(change...), w.environment()
	if openID {
		second, err := os.ReadFile(filepath.Join(goldens, "openid.golden"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(w.path("openid.yml"), second, 0o600))
		require.NoError(t, os.WriteFile(w.path("hmac"), []byte("the secret of codes and tokens\n"), 0o600))
		paths, environment = paths+","+w.path("openid.yml"), append(environment, "AUTHELIA_IDENTITY_PROVIDERS_OIDC_HMAC_SECRET_FILE="+w.path("hmac"))
	}
	c, err := config.Load(paths, environment)
	require.NoError(t, err)
	log, err := logs.Open(c.Log.FilePath, nil, logs.ParseLevel(c.Log.Level), w.clock.Now)
	require.NoError(t, err)
	w.portal, err = portal.Open(context.Background(), c, log, portal.Clock{Now: w.clock.Now, Sleep: w.clock.Sleep})
	require.NoError(t, err)
	listener := fasthttputil.NewInmemoryListener()
	server := &fasthttp.Server{Handler: w.portal.Handler(), NoDefaultServerHeader: true}
	go func() { _ = server.Serve(listener) }()
	transport := &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return listener.Dial() },
		DisableCompression: true,
	}
	w.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Shutdown()
		_ = w.portal.Close()
		_ = log.Close()
	})
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// configure writes the files, and returns the configuration's path.
func (w *world) configure(change ...string) string {
	w.t.Helper()
	golden, err := os.ReadFile(filepath.Join(goldens, "production.golden"))
	require.NoError(w.t, err)
	users, err := os.ReadFile(filepath.Join(goldens, "users.golden"))
	require.NoError(w.t, err)
	pairs := append([]string{
		"level: warn", "level: info", // the tests read what a deployment's portal does not log
		"/config/", w.dir + "/", "/data/", w.dir + "/", "/var/log/authelia/", w.dir + "/",
		"host: authelia-store", "host: " + w.redis.Host(), "port: 6379", "port: " + w.redis.Port(),
	}, change...)
	for i := 0; i < len(pairs); i += 2 {
		require.Contains(w.t, string(golden), pairs[i])
		golden = []byte(strings.ReplaceAll(string(golden), pairs[i], pairs[i+1]))
	}
	for name, text := range map[string]string{
		"configuration.yml": string(golden), "users_database.yml": string(users),
		"session": "the sessions' secret\n", "store": storePassword + "\n", "storage": "a key of more than twenty characters\n",
	} {
		require.NoError(w.t, os.WriteFile(w.path(name), []byte(text), 0o600))
	}
	return w.path("configuration.yml")
}

func (w *world) environment() []string {
	return []string{
		"AUTHELIA_SESSION_SECRET_FILE=" + w.path("session"),
		"AUTHELIA_SESSION_REDIS_PASSWORD_FILE=" + w.path("store"),
		"AUTHELIA_STORAGE_ENCRYPTION_KEY_FILE=" + w.path("storage"),
	}
}

// logged returns the lines of the log.
func (w *world) logged() []string {
	data, err := os.ReadFile(w.path("authelia.log"))
	require.NoError(w.t, err)
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// visitor is a browser: an address, and the session's cookie.
type visitor struct {
	*world
	addr   string
	cookie string
	device string
}

func (w *world) visitor() *visitor { return &visitor{world: w, addr: "203.0.113.5"} }

// answer is an HTTP answer, read.
type answer struct {
	*http.Response
	body string
}

// data reads the answer's JSON, or fails.
func (a answer) data(t *testing.T, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), &struct {
		Data any `json:"data"`
	}{into}), a.body)
}

func (v *visitor) do(method, path string, headers map[string]string, body string) answer {
	v.t.Helper()
	request, err := http.NewRequest(method, "http://portal"+path, bytes.NewBufferString(body))
	require.NoError(v.t, err)
	request.Header.Set("X-Forwarded-For", v.addr)
	for name, value := range headers {
		if value == "" {
			request.Header.Del(name)
			continue
		}
		request.Header.Set(name, value)
	}
	if v.cookie != "" {
		request.Header.Set("Cookie", "homelab_session="+v.cookie)
	}
	response, err := v.client.Do(request)
	require.NoError(v.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(v.t, err)
	for _, c := range response.Cookies() {
		v.cookie = c.Value
	}
	return answer{response, string(text)}
}

// ask is the proxy's question; headers replace those of a browser that wants a page.
func (v *visitor) ask(host, uri string, headers ...string) answer {
	v.t.Helper()
	all := map[string]string{
		"X-Forwarded-Method": "GET", "X-Forwarded-Proto": "https", "X-Forwarded-Host": host, "X-Forwarded-Uri": uri,
		"Accept": "text/html,*/*;q=0.8",
	}
	for i := 0; i < len(headers); i += 2 {
		all[headers[i]] = headers[i+1]
	}
	return v.do(http.MethodGet, "/api/authz/forward-auth", all, "")
}

// api calls the portal as the proxy passes it on.
func (v *visitor) api(method, path, body string) answer {
	v.t.Helper()
	return v.do(method, path, map[string]string{
		"X-Forwarded-Proto": "https", "X-Forwarded-Host": "auth.example.com", "X-Forwarded-Uri": path, "Content-Type": "application/json",
	}, body)
}

func (v *visitor) login(user, password string) answer {
	v.t.Helper()
	body, err := json.Marshal(map[string]any{"username": user, "password": password, "keepMeLoggedIn": false, "requestMethod": "GET"})
	require.NoError(v.t, err)
	return v.api(http.MethodPost, "/api/firstfactor", string(body))
}

var oneTimeCode = regexp.MustCompile(`(?m)^-{10,}\s+([A-Z0-9]{8})\s+-{10,}$`)

// elevate confirms the visitor by the code in the notification file.
func (v *visitor) elevate() {
	v.t.Helper()
	require.Equal(v.t, http.StatusOK, v.api(http.MethodPost, "/api/user/session/elevation", "").StatusCode)
	require.Equal(v.t, http.StatusOK, v.api(http.MethodPut, "/api/user/session/elevation", `{"otc":"`+v.mailed()+`"}`).StatusCode)
}

func (v *visitor) mailed() string {
	v.t.Helper()
	mail, err := os.ReadFile(v.path("notifications.txt"))
	require.NoError(v.t, err)
	found := oneTimeCode.FindSubmatch(mail)
	require.NotNil(v.t, found, string(mail))
	return string(found[1])
}

// enrol gives the visitor, who has shown the password, a TOTP device.
func (v *visitor) enrol() {
	v.t.Helper()
	require.Equal(v.t, http.StatusOK, v.api(http.MethodPost, "/api/user/info", "").StatusCode, "the page asks for it after each login")
	v.register()
}

// register is enrol without the page.
func (v *visitor) register() {
	v.t.Helper()
	v.elevate()
	a := v.api(http.MethodPut, "/api/secondfactor/totp/register", `{"algorithm":"SHA1","length":6,"period":30}`)
	require.Equal(v.t, http.StatusOK, a.StatusCode, a.body)
	var key struct {
		Secret string `json:"base32_secret"`
		URL    string `json:"otpauth_url"`
	}
	a.data(v.t, &key)
	parsed, err := otp.NewKeyFromURL(key.URL)
	require.NoError(v.t, err)
	require.Equal(v.t, key.Secret, parsed.Secret())
	v.device = key.Secret
	a = v.api(http.MethodPost, "/api/secondfactor/totp/register", `{"token":"`+v.code(0)+`"}`)
	require.Equal(v.t, http.StatusOK, a.StatusCode, a.body)
}

// code is what the device shows so many periods from now.
func (v *visitor) code(periods int) string {
	v.t.Helper()
	at := v.clock.Now().Add(time.Duration(periods) * 30 * time.Second)
	code, err := otptotp.GenerateCode(v.device, at)
	require.NoError(v.t, err)
	return code
}

func (v *visitor) second(code string) answer {
	v.t.Helper()
	return v.api(http.MethodPost, "/api/secondfactor/totp", `{"token":`+strconv.Quote(code)+`}`)
}

// ready logs the admin in with both factors.
func (w *world) ready() *visitor {
	w.t.Helper()
	v := w.visitor()
	require.Equal(w.t, http.StatusOK, v.login("admin", adminPassword).StatusCode)
	v.enrol()
	require.Equal(w.t, http.StatusOK, v.second(v.code(1)).StatusCode)
	w.clock.advance(time.Minute)
	return v
}
