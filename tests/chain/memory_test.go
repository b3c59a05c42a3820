//go:build chain

package chain

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// crowd is how many visitors send large bodies at once, and largest what each of them sends.
const (
	crowd   = 100
	largest = 9 * megabyte
)

// pressing are connections on which bodies are under way.
type pressing struct{ conns []net.Conn }

func (p *pressing) close() {
	for _, conn := range p.conns {
		_ = conn.Close()
	}
}

// press sends the first part of a large body on many connections, and leaves them open.
func (s *stage) press(t *testing.T, place visitor.Place, host, path, kind string) *pressing {
	t.Helper()
	p := &pressing{}
	chunk := strings.Repeat(" ", megabyte)
	done := make(chan net.Conn, crowd)
	for n := range crowd {
		go func() {
			place := place
			if place.Cloudflare {
				place = place.From(fmt.Sprintf("198.18.%d.%d", n/200, n%200+1))
			}
			conn, err := place.Connect(t.Context(), place.TLS(host, "http/1.1"))
			if err != nil {
				done <- nil
				return
			}
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			header := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n", path, host, kind, largest)
			if place.Cloudflare {
				header += "CF-Connecting-IP: " + place.Visitor + "\r\n"
			}
			_, err = io.WriteString(conn, header+"\r\n")
			for sent := 0; err == nil && sent < largest-megabyte; sent += megabyte {
				_, err = io.WriteString(conn, chunk)
			}
			done <- conn
		}()
	}
	for range crowd {
		if conn := <-done; conn != nil {
			p.conns = append(p.conns, conn)
		}
	}
	require.NotEmpty(t, p.conns)
	return p
}

// testMemory has strangers send more than the proxy has memory for. The kernel enforces the limit
// of its container, where it lets this process set one.
func testMemory(t *testing.T, s *stage, family *person, session ticket) {
	limit := s.Confine(t, "caddy")
	for name, c := range map[string]struct {
		place            visitor.Place
		host, path, kind string
	}{
		"behind the portal":                  {s.cloudflare, "requests.example.com", "/upload", "application/json"},
		"at the portal":                      {s.cloudflare, "auth.example.com", "/api/firstfactor", "application/json"},
		"at a service with its login":        {s.tailnet, "jellyfin.example.com", "/upload", "application/json"},
		"files, behind the portal":           {s.cloudflare, "requests.example.com", filesPath, "video/mp4"},
		"files, at a service with its login": {s.tailnet, "jellyfin.example.com", filesPath, "video/mp4"},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.press(t, c.place, c.host, c.path, c.kind)
			defer p.close()
			a, err := session.give(t, s.cloudflare.Browser("h2")).Get(t.Context(), requests+"/quiet")
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, a.Status, "a visitor with a session is not served meanwhile")
			b := s.cloudflare.From("203.0.113.60").Browser("h2")
			family.firstFactor(t, b)
			peak := s.Peak(t, "caddy")
			t.Logf("%d connections with %d MiB each: the proxy has used %d MiB of %d MiB", len(p.conns), largest/megabyte, peak>>20, limit>>20)
			assert.Less(t, peak, limit)
			if c.path == filesPath && !c.place.Cloudflare {
				p.close()
				s.StopService("jellyfin") // it has the beginnings of the files
				require.NoError(t, s.StartService("jellyfin"))
			}
			s.unreached(t, "a body that never ended")
		})
	}
	t.Run("a body that drips ends", func(t *testing.T) {
		for name, c := range map[string]struct {
			place visitor.Place
			host  string
		}{
			"behind the portal": {s.cloudflare, "requests.example.com"}, "at the portal": {s.cloudflare, "auth.example.com"}, "on the tailnet": {s.tailnet, "jellyfin.example.com"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				drip(t, c.place, c.host)
			})
		}
	})
	s.unreached(t, "a body that never ended")
}

// drip sends a body byte by byte until the other side hangs up.
func drip(t *testing.T, place visitor.Place, host string) {
	t.Helper()
	var conn *tls.Conn
	conn, err := place.Connect(t.Context(), place.TLS(host, "http/1.1"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	began := time.Now()
	require.NoError(t, conn.SetDeadline(began.Add(40*time.Second)))
	header := "POST /drip HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
	if place.Cloudflare {
		header += "CF-Connecting-IP: " + goodVisitor + "\r\n"
	}
	_, err = io.WriteString(conn, header+"\r\n")
	require.NoError(t, err)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, conn)
	}()
	for {
		select {
		case <-closed:
			t.Logf("the connection ended after %s", time.Since(began).Round(time.Second))
			assert.Less(t, time.Since(began), 25*time.Second)
			return
		case <-time.After(500 * time.Millisecond):
			_, _ = io.WriteString(conn, " ")
		}
	}
}

// testWebSocketEnds logs out while a WebSocket is open.
func testWebSocketEnds(t *testing.T, s *stage, family *person) {
	b := s.cloudflare.From("203.0.113.61").Browser("h2")
	family.login(t, b)
	mine := ticketOf(t, b)
	open := func(k ticket) *tls.Conn {
		conn, err := s.cloudflare.Connect(t.Context(), s.cloudflare.TLS("requests.example.com", "http/1.1"))
		require.NoError(t, err)
		_, err = io.WriteString(conn, "GET /hold HTTP/1.1\r\nHost: requests.example.com\r\nCF-Connecting-IP: "+goodVisitor+"\r\n"+upgradeHeader+k.line()+"\r\n")
		require.NoError(t, err)
		head := make([]byte, len("HTTP/1.1 101"))
		_, err = io.ReadFull(conn, head)
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 101", string(head))
		s.reached(t, "jellyseerr")
		return conn
	}
	lost, kept := open(mine), open(ticketOf(t, func() *visitor.Browser {
		other := s.cloudflare.From("203.0.113.62").Browser("h2")
		family.login(t, other)
		return other
	}()))
	defer func() { _, _ = lost.Close(), kept.Close() }()
	_, ok, err := post(t.Context(), b, http.MethodPost, "/api/logout", map[string]any{}, nil)
	require.NoError(t, err)
	require.True(t, ok)
	began := time.Now()
	require.NoError(t, lost.SetDeadline(began.Add(time.Minute)))
	_, err = io.Copy(io.Discard, lost)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "a WebSocket outlives a logout")
	t.Logf("it ended %s after the logout", time.Since(began).Round(time.Second))
	require.NoError(t, kept.SetDeadline(time.Now().Add(2*time.Second)))
	_, err = io.Copy(io.Discard, kept)
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "a WebSocket ends though its session goes on")
}
