package guard

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const uploadLimit = 8 << 20

func uploading(pool string) *Inspect {
	return &Inspect{Limit: limit, Body: true, Pool: pool, Uploads: []Upload{{Path: "/files", Limit: uploadLimit, Methods: []string{"PUT", "POST"}}}}
}

// send puts a file, and returns the answer's status.
func send(t *testing.T, s *site, method, path, kind string, body []byte) int {
	t.Helper()
	request, err := http.NewRequest(method, s.server.URL+path, bytes.NewReader(body))
	require.NoError(t, err)
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

func TestUpload(t *testing.T) {
	s := newSite(t, &Inspect{Limit: limit, Uploads: uploading("").Uploads}, uploading("wide"))
	file := bytes.Repeat([]byte("0123456789abcdef"), (uploadHead+3*uploadStep)/16)
	for _, kind := range []string{"application/octet-stream", "application/offset+octet-stream", "image/png", "video/mp4", "audio/flac"} {
		require.Equal(t, http.StatusOK, send(t, s, http.MethodPut, "/files/a%20b/c", kind, file))
		assert.Equal(t, []string{string(file)}, s.took(), "the service gets another file")
		assert.Equal(t, []string{"", string(file[:uploadHead])}, s.bodies, "the headers are inspected, and the beginning")
		s.bodies = nil
		assert.Zero(t, s.app.budgets["wide"].inUse())
	}
	// What is small enough is inspected whole.
	small := file[:limit]
	require.Equal(t, http.StatusOK, send(t, s, http.MethodPut, "/files", "application/octet-stream", small))
	assert.Equal(t, string(small), s.bodies[len(s.bodies)-1])
	s.took()
	// Where less than a beginning is inspected whole, a file of that size passes too.
	middle := file[:uploadHead/2]
	require.Equal(t, http.StatusOK, send(t, s, http.MethodPut, "/files", "video/mp4", middle))
	assert.Equal(t, string(middle), s.bodies[len(s.bodies)-1])
	assert.Equal(t, []string{string(middle)}, s.took())

	s.set(func() { s.status, s.verdict = http.StatusForbidden, `{"action":"ban","http_status":403}` })
	assert.Equal(t, http.StatusForbidden, send(t, s, http.MethodPut, "/files", "video/mp4", file))
	s.set(func() { s.status, s.verdict = http.StatusNotFound, "" })
	assert.Equal(t, http.StatusServiceUnavailable, send(t, s, http.MethodPut, "/files", "video/mp4", file))
	assert.Empty(t, s.took())
}

func TestUploadThatIsNone(t *testing.T) {
	s := newSite(t, &Inspect{Limit: limit, Uploads: uploading("").Uploads}, uploading("wide"))
	file := bytes.Repeat([]byte("a"), 2*uploadHead)
	for name, c := range map[string]struct{ method, path, kind string }{
		"another path":        {"PUT", "/other", "video/mp4"},
		"longer name":         {"PUT", "/filesystem", "video/mp4"},
		"another method":      {"PATCH", "/files", "video/mp4"},
		"dots":                {"PUT", "/files/../admin", "video/mp4"},
		"dots at the end":     {"PUT", "/files/..", "video/mp4"},
		"encoded dots":        {"PUT", "/files/%2e%2e/admin", "video/mp4"},
		"half encoded dots":   {"PUT", "/files/.%2e/admin", "video/mp4"},
		"an encoded slash":    {"PUT", "/files/..%2fadmin", "video/mp4"},
		"a backslash":         {"PUT", "/files/..%5cadmin", "video/mp4"},
		"a parameter":         {"PUT", "/files/..;/admin", "video/mp4"},
		"an encoded query":    {"PUT", "/files/x%3fy", "video/mp4"},
		"an encoded percent":  {"PUT", "/files/%252e%252e/admin", "video/mp4"},
		"an empty segment":    {"PUT", "/files//x", "video/mp4"},
		"a slash at the end":  {"PUT", "/files/", "video/mp4"},
		"NUL":                 {"PUT", "/files/x%00", "video/mp4"},
		"the path, encoded":   {"PUT", "/%66iles", "video/mp4"},
		"another case":        {"PUT", "/Files", "video/mp4"},
		"JSON":                {"PUT", "/files", "application/json"},
		"text":                {"PUT", "/files", "text/plain"},
		"a form":              {"POST", "/files", "multipart/form-data; boundary=x"},
		"a form of old":       {"POST", "/files", "application/x-www-form-urlencoded"},
		"XML in a picture":    {"PUT", "/files", "image/svg+xml"},
		"no type":             {"PUT", "/files", ""},
		"what nobody knows":   {"PUT", "/files", "application/x-php"},
		"two types in one":    {"PUT", "/files", "video/mp4, application/json"},
		"in another charset":  {"PUT", "/files", "video/mp4; charset=utf-16"},
		"another way to name": {"PUT", "/files", "video/mp4; charset*=x"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, http.StatusRequestEntityTooLarge, send(t, s, c.method, c.path, c.kind, file))
		})
	}
	assert.Equal(t, http.StatusRequestEntityTooLarge, send(t, s, http.MethodPut, "/files", "video/mp4", make([]byte, uploadLimit+1)))
	request, err := http.NewRequest(http.MethodPut, s.server.URL+"/files", bytes.NewReader(file))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "video/mp4")
	request.Header.Set("Content-Encoding", "gzip")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
	assert.Empty(t, s.took())
	assert.Empty(t, s.engine.took(), "AppSec was asked")
}

// begin sends the head of an upload and n bytes of its body.
func begin(t *testing.T, s *httptest.Server, length, n int) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = fmt.Fprintf(conn, "PUT /files HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: %d\r\n\r\n%s", length, strings.Repeat("a", n))
	require.NoError(t, err)
	return conn, bufio.NewReader(conn)
}

// An upload holds its beginning only until the service has taken it, and nothing if it does not
// come.
func TestUploadsThatDoNotCome(t *testing.T) {
	t.Parallel()
	s := newSite(t, uploading("wide"))
	_, reader := begin(t, s.server, uploadLimit, uploadHead-1)
	require.Eventually(t, func() bool { return s.app.budgets["wide"].inUse() == uploadHead }, 5*time.Second, 10*time.Millisecond)
	_, _ = begin(t, s.server, uploadLimit, uploadHead-1)
	require.Eventually(t, func() bool { return s.app.budgets["wide"].inUse() == 2*uploadHead }, 5*time.Second, 10*time.Millisecond)
	assert.Equal(t, http.StatusTooManyRequests, send(t, s, http.MethodPut, "/files", "video/mp4", make([]byte, 2*uploadHead)), "a visitor has his share")

	// The server closes what comes too slowly, long before the time of the whole file.
	answer, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusRequestTimeout, answer.StatusCode)
	assert.True(t, answer.Close)
	require.Eventually(t, func() bool { return s.app.budgets["wide"].inUse() == 0 }, 15*time.Second, 10*time.Millisecond)
	assert.Empty(t, s.took())
}

// A service that answers before it has the whole file gets no second request out of the rest.
func TestAnAnswerBeforeTheEnd(t *testing.T) {
	_, address := newEngine(t)
	i := uploading("wide")
	i.app = guarded(t, address)
	var served atomic.Int64
	service := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		served.Add(1)
		_, _ = r.Body.Read(make([]byte, 1))
		_ = r.Body.Close() // as a transport does with what it will not send
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Caddy puts a body of its own in the place of the server's.
		r.Body = struct{ io.ReadCloser }{r.Body}
		vars := map[string]any{caddyhttp.ClientIPVarKey: visitorAddress}
		assert.NoError(t, i.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars)), service))
	}))
	t.Cleanup(s.Close)
	conn, reader := begin(t, s, uploadLimit, 2*uploadHead)
	answer, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	assert.True(t, answer.Close)
	_, _ = io.WriteString(conn, "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
	rest, _ := io.ReadAll(reader)
	assert.Empty(t, rest)
	assert.Equal(t, int64(1), served.Load())
}

// Who is not let in does not keep the connection for the time of a file that was announced.
func TestAFileThatNobodyReads(t *testing.T) {
	t.Parallel()
	_, address := newEngine(t)
	i := &Inspect{Limit: limit, Uploads: uploading("").Uploads, app: guarded(t, address)}
	portal := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body} // as Caddy does: the server reads what is left of it
		vars := map[string]any{caddyhttp.ClientIPVarKey: visitorAddress}
		assert.NoError(t, i.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars)), portal))
	}))
	t.Cleanup(s.Close)
	began := time.Now()
	_, reader := begin(t, s, uploadLimit, 1)
	_, err := io.ReadAll(reader)
	assert.NoError(t, err)
	assert.Less(t, time.Since(began), bodyGrace+5*time.Second)
}

// A transport may read on after the service has answered and the request has ended. Over HTTP/2 a
// deadline that is set then ends the whole proxy.
func TestWhoReadsOnAfterTheEnd(t *testing.T) {
	_, address := newEngine(t)
	i := uploading("wide")
	i.app = guarded(t, address)
	readOn := make(chan error, 1)
	service := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		body := r.Body
		_, err := io.ReadFull(body, make([]byte, uploadHead))
		assert.NoError(t, err)
		go func() {
			time.Sleep(200 * time.Millisecond)
			_, err := body.Read(make([]byte, 1))
			readOn <- err
		}()
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		vars := map[string]any{caddyhttp.ClientIPVarKey: visitorAddress}
		assert.NoError(t, i.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars)), service))
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	content, more := io.Pipe()
	t.Cleanup(func() { _ = more.Close() })
	go func() { _, _ = more.Write(make([]byte, uploadHead)) }()
	request, err := http.NewRequest(http.MethodPut, s.URL+"/files", content)
	require.NoError(t, err)
	request.ContentLength = uploadLimit
	request.Header.Set("Content-Type", "video/mp4")
	response, err := s.Client().Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, 2, response.ProtoMajor)
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	assert.Error(t, <-readOn)
}

func TestPaced(t *testing.T) {
	var deadlines []time.Duration
	began := time.Now()
	p := &paced{
		body: io.NopCloser(bytes.NewReader(make([]byte, 5*uploadStep/2))), length: 5 * uploadStep / 2, began: began,
		deadline: func(at time.Time) error {
			deadlines = append(deadlines, at.Sub(began))
			return nil
		},
	}
	n, err := io.Copy(io.Discard, struct{ io.Reader }{p})
	require.NoError(t, err)
	assert.Equal(t, int64(5*uploadStep/2), n)
	last := len(deadlines) - 1
	assert.Equal(t, allowance(uploadHead), deadlines[0])
	for i, at := range deadlines[1:last] {
		assert.LessOrEqual(t, at, allowance(int64(uploadHead+(i+1)*(uploadStep+64<<10))), "time cannot be saved for later")
	}
	assert.Equal(t, allowance(5*uploadStep/2), deadlines[last-1])
	assert.Negative(t, deadlines[last], "the next request has its own time")
}

func TestDirectiveWithUploads(t *testing.T) {
	i := new(Inspect)
	require.NoError(t, i.UnmarshalCaddyfile(caddyfile.NewTestDispenser("inspect body 1024B wide {\nupload /files 8MiB PUT POST\nupload /b/c 2GB PATCH\n}")))
	assert.Equal(t, []Upload{{"/files", uploadLimit, []string{"PUT", "POST"}}, {"/b/c", 2e9, []string{"PATCH"}}}, i.Uploads)
	for _, block := range []string{"upload /files", "upload /files 8MiB", "upload /files many PUT", "download /files 8MiB PUT"} {
		assert.Error(t, new(Inspect).UnmarshalCaddyfile(caddyfile.NewTestDispenser("inspect body 1024B wide {\n"+block+"\n}")), block)
	}
	for want, u := range map[string]Upload{
		"is not a plain path":       {"files", uploadLimit, []string{"PUT"}},
		`"/" is not a plain path`:   {"/", uploadLimit, []string{"PUT"}},
		`"/a/" is not a plain`:      {"/a/", uploadLimit, []string{"PUT"}},
		`"/a/../b" is not a plain`:  {"/a/../b", uploadLimit, []string{"PUT"}},
		`"/a%2fb" is not a plain`:   {"/a%2fb", uploadLimit, []string{"PUT"}},
		"1024 bytes are inspected":  {"/a", limit, []string{"PUT"}},
		"no method":                 {"/a", uploadLimit, nil},
		`the method "GET"`:          {"/a", uploadLimit, []string{"GET"}},
		`the method "DELETE"`:       {"/a", uploadLimit, []string{"PUT", "DELETE"}},
		`"/a b" is not a plain`:     {"/a b", uploadLimit, []string{"PUT"}},
		`"/a;b" is not a plain`:     {"/a;b", uploadLimit, []string{"PUT"}},
		`"/a//b" is not a plain pa`: {"/a//b", uploadLimit, []string{"PUT"}},
	} {
		require.ErrorContains(t, u.check(limit), want)
	}
}

// A pool in which no beginning of an upload has room would refuse all of them.
func TestPoolThatIsTooSmallForUploads(t *testing.T) {
	_, address := newEngine(t)
	a := guarded(t, address)
	_, ok := a.Hold["open"]
	require.True(t, ok)
	assert.ErrorContains(t, uploading("open").bind(a), "share of the pool")
	assert.NoError(t, uploading("wide").bind(a))
}
