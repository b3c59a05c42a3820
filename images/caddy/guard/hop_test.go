package guard

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func urlOf(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := httpURL(address)
	require.NoError(t, err)
	return u
}

func get(t *testing.T, from net.Listener) *question {
	t.Helper()
	return &question{method: http.MethodGet, url: urlOf(t, "http://"+from.Addr().String())}
}

// A question arrives as it was asked, byte for byte.
func TestQuestion(t *testing.T) {
	q := &question{method: http.MethodPost, url: urlOf(t, "http://portal:9091/a%2Fb?c=d"), body: []byte("body")}
	require.NoError(t, q.add("Cookie", "a=b; c=\"d\""))
	require.NoError(t, q.add("Empty", ""))
	var out bytes.Buffer
	require.NoError(t, q.write(bufio.NewWriter(&out)))
	assert.Equal(t, "POST /a%2Fb?c=d HTTP/1.1\r\nHost: portal:9091\r\nContent-Length: 4\r\nCookie: a=b; c=\"d\"\r\nEmpty: \r\n\r\nbody", out.String())

	for _, h := range [][2]string{{"X", "a\r\nY: b"}, {"X", "a\nY: b"}, {"X", "a\x00"}, {"X\r\nY", "b"}, {"X Y", "b"}, {"X:", "b"}, {"", "b"}} {
		require.Error(t, q.add(h[0], h[1]), "%q", h)
	}
	for _, address := range []string{"", "portal:9091", "https://portal:9091", "http://portal", "http://:9091", "http://a:b@portal:9091", "http://portal:9091\r\n"} {
		_, err := httpURL(address)
		require.Error(t, err, "%q", address)
	}
}

// A hop uses its connections again, and makes a new one where the other side has closed them.
func TestHopKeepsConnections(t *testing.T) {
	var opened atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		_, _ = fmt.Fprint(w, r.ContentLength)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	h := newHop(5 * time.Second)
	t.Cleanup(h.close)
	ask := func(path string) {
		t.Helper()
		answer, text, err := h.do(t.Context(), &question{method: http.MethodPost, url: urlOf(t, server.URL+path), body: []byte("body")})
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, answer.StatusCode)
		assert.Equal(t, "4", string(text))
	}
	ask("/")
	ask("/")
	assert.Equal(t, int64(1), opened.Load())
	ask("/close")
	ask("/")
	assert.Equal(t, int64(2), opened.Load())
	server.CloseClientConnections()
	ask("/")
	assert.Equal(t, int64(3), opened.Load())
}

// Nothing that is not one whole answer counts as one, and no such connection is used again.
func TestHopRefusesOddAnswers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, c := range map[string]string{
		"nothing":                   "",
		"no HTTP":                   "hello\r\n\r\n",
		"half an answer":            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
		"an answer before it":       "HTTP/1.1 103 Early Hints\r\n\r\n" + ok,
		"two answers":               ok + ok,
		"an answer without an end":  "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("a", maxAnswer+1),
		"another protocol":          "HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"a header that never ended": "HTTP/1.1 200 OK\r\nX: y",
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { _ = listener.Close() })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Read(make([]byte, 4096))
					_, _ = conn.Write([]byte(c))
					_ = conn.Close()
				}
			}()
			h := newHop(time.Second)
			_, _, err = h.do(t.Context(), get(t, listener))
			require.Error(t, err)
			assert.Empty(t, h.idle)
		})
	}
	t.Run("another answer, later", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = conn.Read(make([]byte, 4096))
					_, _ = conn.Write([]byte(ok))
					time.Sleep(20 * time.Millisecond)
					_, _ = conn.Write([]byte(strings.ReplaceAll(ok, "ok", "no")))
				}()
			}
		}()
		h := newHop(time.Second)
		for range 2 {
			_, text, err := h.do(t.Context(), get(t, listener))
			require.NoError(t, err)
			assert.Equal(t, "ok", string(text), "an answer to nobody's question")
			time.Sleep(100 * time.Millisecond)
		}
	})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	_, _, err = newHop(100*time.Millisecond).do(t.Context(), get(t, silent))
	var timeout net.Error
	require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "%v", err)
}
