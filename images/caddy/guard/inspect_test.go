package guard

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const limit = 1024

// site is a service behind an inspection.
type site struct {
	*engine
	app    *App
	server *httptest.Server
	served []string
}

func newSite(t *testing.T, handlers ...*Inspect) *site {
	e, address := newEngine(t)
	s := &site{engine: e, app: guarded(t, address)}
	chain := make([]caddyHandler, 0, len(handlers))
	for _, h := range handlers {
		h.app = s.app
		chain = append(chain, h)
	}
	s.server = behind(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		s.served = append(s.served, string(body))
		if r.URL.Path == "/held" {
			_, _ = fmt.Fprint(w, s.app.budgets["open"].inUse())
		}
	}, chain...)
	return s
}

// took returns what the service got since the last call.
func (s *site) took() []string {
	served := s.served
	s.served = nil
	return served
}

func TestInspect(t *testing.T) {
	s := newSite(t, &Inspect{Limit: limit, Body: true, Pool: "open"})
	post := func(body string, header ...string) *http.Response {
		request, err := http.NewRequest(http.MethodPost, s.server.URL+"/p%20q?a=b", strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Crowdsec-Appsec-Ip", "198.18.0.1")
		for i := 0; i < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response
	}
	t.Run("a body is inspected as the service gets it", func(t *testing.T) {
		response := post(`{"a":1}`)
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.Equal(t, []string{`{"a":1}`}, s.took())
		asked := s.engine.took()
		require.Len(t, asked, 1)
		assert.Equal(t, http.MethodPost, asked[0].Method)
		for name, want := range map[string]string{
			"X-Crowdsec-Appsec-Ip": visitorAddress, "X-Crowdsec-Appsec-Uri": "/p%20q?a=b", "X-Crowdsec-Appsec-Verb": "POST",
			"X-Crowdsec-Appsec-Http-Version": "11", "Content-Type": "application/json",
		} {
			assert.Equal(t, []string{want}, asked[0].Header.Values(name))
		}
		assert.Equal(t, []string{`{"a":1}`}, s.bodies)
		assert.Zero(t, s.app.budgets["open"].inUse())
	})
	t.Run("a request without a body is inspected too", func(t *testing.T) {
		response, err := http.Get(s.server.URL)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode)
		require.Len(t, s.engine.took(), 1)
		s.took()
	})
	t.Run("refused without asking", func(t *testing.T) {
		for name, c := range map[string]struct {
			body   string
			header []string
			status int
		}{
			"too long":         {strings.Repeat("a", limit+1), nil, http.StatusRequestEntityTooLarge},
			"encoded":          {"{}", []string{"Content-Encoding", "gzip"}, http.StatusUnsupportedMediaType},
			"in UTF-16":        {"{}", []string{"Content-Type", "application/json; charset=utf-16"}, http.StatusUnsupportedMediaType},
			"not what it says": {"\xff", nil, http.StatusUnsupportedMediaType},
		} {
			assert.Equal(t, c.status, post(c.body, c.header...).StatusCode, name)
		}
		request, err := http.NewRequest(http.MethodPost, s.server.URL, io.MultiReader(strings.NewReader("{}")))
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusLengthRequired, response.StatusCode)
		assert.Empty(t, s.engine.took())
		assert.Empty(t, s.took())
	})
	t.Run("headers that AppSec would not see", func(t *testing.T) {
		for name, c := range map[string]struct {
			header http.Header
			status int
		}{
			"an attack as a type without a body": {http.Header{"Content-Type": {"%{(#_='multipart/form-data')}"}}, http.StatusUnsupportedMediaType},
			"two types":                          {http.Header{"Content-Type": {"text/plain", "text/html"}}, http.StatusUnsupportedMediaType},
			"two user agents":                    {http.Header{"User-Agent": {"x", "${jndi:ldap://x}"}}, http.StatusBadRequest},
			"a type without a body":              {http.Header{"Content-Type": {"application/json; charset=utf-16"}}, http.StatusOK},
		} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header = c.header
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: visitorAddress}))
			w := httptest.NewRecorder()
			inner := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
				assert.Equal(t, "application/json", r.Header.Get("Content-Type"), name)
				return nil
			})
			require.NoError(t, (&Inspect{Limit: limit, Body: true, Pool: "open", app: s.app}).ServeHTTP(w, r, inner))
			assert.Equal(t, c.status, w.Code, name)
		}
		s.engine.took()
	})
	t.Run("nothing but consent lets it through", func(t *testing.T) {
		for _, status := range []int{204, 302, 404, 417, 500, 503} {
			s.set(func() { s.status = status })
			assert.Equal(t, http.StatusServiceUnavailable, post("{}").StatusCode, "AppSec answers %d", status)
		}
		s.set(func() { s.status, s.verdict = http.StatusForbidden, `{"action":"ban","http_status":403}` })
		assert.Equal(t, http.StatusForbidden, post("{}").StatusCode)
		assert.Empty(t, s.took())
		s.set(func() { s.status, s.verdict = http.StatusOK, `{"action":"allow"}` })
	})
	t.Run("what the service has taken makes room", func(t *testing.T) {
		response, err := http.Post(s.server.URL+"/held", "application/json", strings.NewReader(`{"a":1}`))
		require.NoError(t, err)
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, "0", string(text))
	})
}

// Before the portal has let somebody in, nobody's body is read; the line and the headers are
// inspected all the same.
func TestInspectHeadersFirst(t *testing.T) {
	s := newSite(t, &Inspect{Limit: limit}, &Inspect{Limit: limit, Body: true, Pool: "open"})
	response, err := http.Post(s.server.URL, "application/json", strings.NewReader(`{"a":1}`))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	asked := s.engine.took()
	require.Len(t, asked, 2)
	assert.Equal(t, []string{"", `{"a":1}`}, s.bodies)
	assert.Empty(t, asked[0].Header.Get("Content-Type"))
	assert.Equal(t, "POST", asked[0].Header.Get("X-Crowdsec-Appsec-Verb"))
	response, err = http.Get(s.server.URL)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Len(t, s.engine.took(), 1, "a request without a body was inspected twice")
}

// dribble begins a request whose body does not come.
func dribble(t *testing.T, s *httptest.Server, length int) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", length)
	require.NoError(t, err)
	return conn, bufio.NewReader(conn)
}

func TestBodiesThatDoNotCome(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Inspect{Limit: limit, Body: true, Pool: "open"})
	_, first := dribble(t, s.server, limit)
	_, second := dribble(t, s.server, limit)
	require.Eventually(t, func() bool { return s.app.budgets["open"].inUse() == 2*limit }, 5*time.Second, 10*time.Millisecond)
	// The visitor has his share: he waits for nothing.
	response, err := http.Post(s.server.URL, "application/json", strings.NewReader("{}"))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusTooManyRequests, response.StatusCode)
	assert.NotEmpty(t, response.Header.Get("Retry-After"))
	began := time.Now()
	for _, reader := range []*bufio.Reader{first, second} {
		answer, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusRequestTimeout, answer.StatusCode)
		assert.True(t, answer.Close, "the connection stays open")
	}
	assert.Less(t, time.Since(began), bodyGrace+5*time.Second)
	assert.Zero(t, s.app.budgets["open"].inUse())
	assert.Empty(t, s.took())
}

func TestAllowance(t *testing.T) {
	assert.Equal(t, bodyGrace, allowance(0))
	assert.Equal(t, bodyGrace, allowance(-1))
	assert.Equal(t, bodyGrace+16*time.Second, allowance(1<<20))
}

func TestBudget(t *testing.T) {
	b := newBudget(Pool{Total: 10, Share: 6})
	one, ok := b.take(t.Context(), "a", 6)
	require.True(t, ok)
	_, ok = b.take(t.Context(), "a", 1)
	assert.False(t, ok, "more than the share")
	began := time.Now()
	_, ok = b.take(t.Context(), "b", 5)
	assert.False(t, ok, "more than there is")
	assert.GreaterOrEqual(t, time.Since(began), budgetPatience)
	time.AfterFunc(100*time.Millisecond, one)
	two, ok := b.take(t.Context(), "b", 5)
	require.True(t, ok, "what is given back can be had")
	one()
	assert.Equal(t, int64(5), b.inUse())
	two()
	assert.Zero(t, b.inUse())
}
