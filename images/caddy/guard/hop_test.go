package guard

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
		question, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader("body"))
		require.NoError(t, err)
		answer, text, err := h.do(question)
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
			question, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String(), nil)
			require.NoError(t, err)
			_, _, err = h.do(question)
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
			question, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String(), nil)
			require.NoError(t, err)
			_, text, err := h.do(question)
			require.NoError(t, err)
			assert.Equal(t, "ok", string(text), "an answer to nobody's question")
			time.Sleep(100 * time.Millisecond)
		}
	})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	question, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+silent.Addr().String(), nil)
	require.NoError(t, err)
	_, _, err = newHop(100 * time.Millisecond).do(question)
	var timeout net.Error
	require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "%v", err)
}
