package guard

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"bufio"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// raw sends the lines of a request without a body, and returns the status.
func raw(t *testing.T, s *httptest.Server, lines string) int {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", lines)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	return answer.StatusCode
}

func TestNormalize(t *testing.T) {
	var got http.Header
	identify := caddyhttp.MiddlewareHandler(handlerFunc(func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		r.Header.Set(UserHeader, "family")
		return next.ServeHTTP(w, r)
	}))
	s := behind(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }, Normalize{}, identify)
	for name, c := range map[string]struct {
		lines string
		want  map[string]string
	}{
		"an identity named as the connection's": {"Connection: Remote-User, close\r\n", map[string]string{"Remote-User": "family", "Connection": ""}},
		"a header named as the connection's":    {"Connection: X-A\r\nX-A: 1\r\nX-B: 2\r\n", map[string]string{"X-A": "", "X-B": "2"}},
		"an upgrade to h2c": {
			"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
			map[string]string{"Upgrade": "", "Connection": "", "Http2-Settings": ""},
		},
		"a WebSocket":              {"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n", map[string]string{"Upgrade": "websocket", "Connection": "Upgrade"}},
		"a WebSocket or h2c":       {"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", map[string]string{"Upgrade": ""}},
		"two upgrades":             {"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", map[string]string{"Upgrade": ""}},
		"an upgrade nobody named":  {"Upgrade: websocket\r\n", map[string]string{"Upgrade": "", "Connection": ""}},
		"a wish for trailers":      {"TE: trailers\r\nTrailer: Remote-User\r\n", map[string]string{"Te": "", "Trailer": ""}},
		"100-continue is answered": {"Expect: 100-continue\r\n", map[string]string{"Expect": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, http.StatusOK, raw(t, s, c.lines))
			for header, want := range c.want {
				assert.Equal(t, want, got.Get(header), header)
			}
		})
	}
}

// Over HTTP/2 an Expect reaches the handlers, whatever it says.
func TestExpectations(t *testing.T) {
	for expected, want := range map[string]int{"100-continue": 200, "100-Continue": 200, "x": 417, "": 417, "100-continue, x": 417} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Expect"] = []string{expected}
		w := httptest.NewRecorder()
		require.NoError(t, Normalize{}.ServeHTTP(w, r, nothing))
		assert.Equal(t, want, w.Code, "%q", expected)
	}
}

func TestTargetsWithoutASlash(t *testing.T) {
	for target, want := range map[string]int{"/a?b": 200, "//a": 200, "http:x@open.example.com/p": 400, "*": 400, "x@open.example.com": 400, "https://a.example.com/p": 200} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		parsed, err := url.Parse(target)
		require.NoError(t, err)
		r.URL = parsed
		w := httptest.NewRecorder()
		require.NoError(t, Normalize{}.ServeHTTP(w, r, nothing))
		assert.Equal(t, want, w.Code, target)
	}
}

func TestTrailersAreRemoved(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Trailer = http.Header{UserHeader: nil}
	require.NoError(t, Normalize{}.ServeHTTP(httptest.NewRecorder(), r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, inner *http.Request) error {
		r.Trailer.Set(UserHeader, "admin") // as the server does at the end of the body
		assert.Empty(t, inner.Trailer)
		return nil
	})))
}

func TestRequireClient(t *testing.T) {
	for _, c := range []struct {
		values []string
		client string
		passes bool
	}{
		{[]string{"203.0.113.7"}, "203.0.113.7", true},
		{[]string{"2001:db8::7"}, "2001:db8::7", true},
		{nil, "173.245.48.10", false},
		{[]string{""}, "173.245.48.10", false},
		{[]string{"garbage"}, "173.245.48.10", false},
		{[]string{"::ffff:203.0.113.7"}, "::ffff:203.0.113.7", false},
		{[]string{"203.0.113.7, 198.51.100.1"}, "203.0.113.7", false},
		{[]string{"203.0.113.7", "198.51.100.1"}, "203.0.113.7", false},
		{[]string{"203.0.113.7:443"}, "203.0.113.7", false},
		{[]string{"203.0.113.007"}, "203.0.113.7", false},
		{[]string{"fe80::1%eth0"}, "fe80::1", false},
		{[]string{"203.0.113.7"}, "198.51.100.1", false},
		{[]string{"2001:DB8::7"}, "2001:db8::7", true},
		{[]string{"127.0.0.1"}, "127.0.0.1", false},
		{[]string{"10.0.0.1"}, "10.0.0.1", false},
		{[]string{"64:ff9b::cb00:7107"}, "64:ff9b::cb00:7107", false},
		{[]string{"2002:cb00:7107::1"}, "2002:cb00:7107::1", false},
		{[]string{"::cb00:7107"}, "::203.0.113.7", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Cf-Connecting-Ip"] = c.values
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: c.client}))
		w := httptest.NewRecorder()
		require.NoError(t, (&RequireClient{Header: "Cf-Connecting-Ip"}).ServeHTTP(w, r, nothing))
		assert.Equal(t, c.passes, w.Code == http.StatusOK, "%q: %d", c.values, w.Code)
	}
}

func TestHideCookie(t *testing.T) {
	hide := &HideCookie{Name: "session"}
	var got []string
	var set []string
	s := behind(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Values("Cookie")
		for _, value := range set {
			w.Header().Add("Set-Cookie", value)
		}
		_, _ = io.WriteString(w, "page")
	}, hide)
	ask := func(cookies ...string) *http.Response {
		request, err := http.NewRequest(http.MethodGet, s.URL, nil)
		require.NoError(t, err)
		if cookies != nil {
			request.Header["Cookie"] = cookies
		}
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response
	}
	for _, spelling := range []string{
		"session=x", "session =x", "session\t=x", " session=x", `"session"=x`, "SESSION=x", "%73ession=x", "session", "=session=x", "a=b,session=x", "session=x=y",
	} {
		ask("one=1; "+spelling+"; two=2", "three=3")
		assert.Equal(t, []string{"one=1; two=2; three=3"}, got, "%q reaches the service", spelling)
		ask(spelling)
		assert.Empty(t, got, spelling)

		set = []string{"own=1; Path=/", strings.TrimSpace(spelling) + "; Domain=example.com; Path=/"}
		assert.Equal(t, []string{"own=1; Path=/"}, ask().Header.Values("Set-Cookie"), "a service sets %q", spelling)
		set = nil
	}
	ask("sessions=x; my_session=y")
	assert.Equal(t, []string{"sessions=x; my_session=y"}, got)
	ask()
	assert.Empty(t, got)
}

// nothing serves an empty page.
var nothing = caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusOK)
	return nil
})

// handlerFunc is a handler in the middle of a chain.
type handlerFunc func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error

func (f handlerFunc) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return f(w, r, next)
}
