//go:build chain

package chain

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// testUploads sends files that are larger than what is inspected whole, and what is none.
func testUploads(t *testing.T, s *stage, session ticket) {
	file := make([]byte, 12*megabyte)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(file)
	sum := sha256.Sum256(file)
	places := map[string]struct {
		service, host string
		browser       func(protocol string) *visitor.Browser
	}{
		"behind the portal": {"jellyseerr", requests, func(p string) *visitor.Browser { return session.give(t, s.cloudflare.Browser(p)) }},
		"on the tailnet":    {"jellyfin", films, s.tailnet.Browser},
	}
	for name, place := range places {
		for _, protocol := range []string{"http/1.1", "h2"} {
			t.Run("a file arrives whole "+name+" over "+protocol, func(t *testing.T) {
				b := place.browser(protocol)
				for _, r := range []visitor.Request{
					{Method: http.MethodPut, URL: filesPath + "/a%20film.mkv", Header: map[string]string{"Content-Type": "application/octet-stream"}},
					{Method: http.MethodPost, URL: filesPath + "?name=x", Header: map[string]string{"Content-Type": "video/mp4"}},
				} {
					r.URL, r.Body = place.host+r.URL, string(file)
					a, err := b.Do(t.Context(), r)
					seen := s.served(t, place.service, a, err)
					assert.Equal(t, int64(len(file)), seen.BodyBytes)
					assert.Equal(t, hex.EncodeToString(sum[:]), seen.BodySum)
				}
			})
		}
		t.Run("no file "+name, func(t *testing.T) { testNoFile(t, s, place.browser("h2"), place.host, string(file)) })
		t.Run("an attack that begins a file "+name, func(t *testing.T) {
			a, err := place.browser("h2").Do(t.Context(), visitor.Request{
				Method: http.MethodPut, URL: place.host + filesPath, Body: attack + string(file), Header: map[string]string{"Content-Type": "application/octet-stream"},
			})
			s.refused(t, a, err)
			require.NoError(t, err)
			assert.Equal(t, http.StatusForbidden, a.Status)
		})
	}
	t.Run("without a session", func(t *testing.T) {
		a, err := s.cloudflare.From("203.0.113.53").Browser("h2").Do(t.Context(), visitor.Request{
			Method: http.MethodPut, URL: requests + filesPath, Body: string(file), Header: map[string]string{"Content-Type": "video/mp4"},
		})
		s.refused(t, a, err)
	})
	t.Run("larger than declared", func(t *testing.T) {
		for length, want := range map[int]int{100*1000*1000 + 1: http.StatusRequestEntityTooLarge, 1 << 40: http.StatusRequestEntityTooLarge} {
			answers, err := s.cloudflare.Raw(t.Context(), "requests.example.com", fmt.Sprintf(
				"PUT %s HTTP/1.1\r\nHost: requests.example.com\r\n{cloudflare}%sContent-Type: video/mp4\r\nContent-Length: %d\r\n\r\n", filesPath, session.line(), length))
			require.NoError(t, err)
			require.Len(t, answers, 1)
			assert.Equal(t, want, answers[0].Status)
			s.unreached(t, "a file that is too large")
		}
	})
	t.Run("one that does not come is given up", func(t *testing.T) { testDripping(t, s) })
	t.Run("one that is answered before its end", func(t *testing.T) { testSmuggled(t, s, session) })
}

// testNoFile sends what some service would read as something else than a file.
func testNoFile(t *testing.T, s *stage, b *visitor.Browser, host, content string) {
	for name, r := range map[string]visitor.Request{
		"JSON":                {URL: filesPath, Header: map[string]string{"Content-Type": "application/json"}},
		"a form":              {URL: filesPath, Header: map[string]string{"Content-Type": "multipart/form-data; boundary=a"}},
		"a picture in XML":    {URL: filesPath, Header: map[string]string{"Content-Type": "image/svg+xml"}},
		"compressed":          {URL: filesPath, Header: map[string]string{"Content-Type": "video/mp4", "Content-Encoding": "gzip"}},
		"another method":      {Method: http.MethodPatch, URL: filesPath, Header: map[string]string{"Content-Type": "video/mp4"}},
		"another path":        {URL: "/other", Header: map[string]string{"Content-Type": "video/mp4"}},
		"a longer name":       {URL: filesPath + "ystem", Header: map[string]string{"Content-Type": "video/mp4"}},
		"dots":                {URL: filesPath + "/../other", Header: map[string]string{"Content-Type": "video/mp4"}},
		"encoded dots":        {URL: filesPath + "/%2e%2e/other", Header: map[string]string{"Content-Type": "video/mp4"}},
		"an encoded slash":    {URL: filesPath + "/..%2fother", Header: map[string]string{"Content-Type": "video/mp4"}},
		"a parameter":         {URL: filesPath + "/..;/other", Header: map[string]string{"Content-Type": "video/mp4"}},
		"an encoded question": {URL: filesPath + "%3f/../other", Header: map[string]string{"Content-Type": "video/mp4"}},
		"another path's name": {URL: "/other", Header: map[string]string{"Content-Type": "video/mp4", "X-Original-Uri": filesPath, "X-Http-Method-Override": "PUT"}},
	} {
		t.Run(name, func(t *testing.T) {
			if r.Method == "" {
				r.Method = http.MethodPut
			}
			r.URL, r.Body = host+r.URL, content
			a, err := b.Do(t.Context(), r)
			s.refused(t, a, err)
			require.NoError(t, err)
			assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status)
		})
	}
}

// testDripping begins a file on the tailnet, where nobody is asked to log in, and sends no more of
// it.
func testDripping(t *testing.T, s *stage) {
	conn, err := s.tailnet.Connect(t.Context(), s.tailnet.TLS("jellyfin.example.com", "http/1.1"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	began := time.Now()
	require.NoError(t, conn.SetDeadline(began.Add(60*time.Second)))
	_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: jellyfin.example.com\r\nContent-Type: video/mp4\r\nContent-Length: %d\r\n\r\n%s",
		filesPath, 1000*megabyte, strings.Repeat("x", 100<<10))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, conn)
	t.Logf("the connection ended after %s", time.Since(began).Round(time.Second))
	assert.NoError(t, err)
	assert.Less(t, time.Since(began), 40*time.Second, "the time of the whole file was given at once")
	s.Service("jellyfin").Take() // the service saw that it began
}

// testSmuggled hides a request in a file that the service answers before it has all of it. A
// connection of Cloudflare's carries the requests of many visitors.
func testSmuggled(t *testing.T, s *stage, session ticket) {
	for name, place := range map[string]struct {
		visitor.Place
		host, header string
	}{
		"behind the portal": {s.cloudflare, "requests.example.com", "CF-Connecting-IP: " + goodVisitor + "\r\n" + session.line()},
		"on the tailnet":    {s.tailnet, "jellyfin.example.com", ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := place.Connect(t.Context(), place.TLS(place.host, "http/1.1"))
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
			// The proxy hangs up on what nobody will read: an error of this computer says nothing.
			_, _ = fmt.Fprintf(conn, "PUT %s?early HTTP/1.1\r\nHost: %s\r\n%sContent-Type: video/mp4\r\nContent-Length: %d\r\n\r\n%s",
				filesPath, place.host, place.header, 50*megabyte, strings.Repeat("x", 128<<10))
			reader := bufio.NewReader(conn)
			if answer, err := http.ReadResponse(reader, nil); err == nil {
				assert.True(t, answer.Close, "the connection goes on in the middle of a file")
				_, _ = io.Copy(io.Discard, answer.Body)
			}
			_, _ = fmt.Fprintf(conn, "GET /smuggled HTTP/1.1\r\nHost: %s\r\n%s\r\n", place.host, place.header)
			rest, _ := io.ReadAll(reader)
			assert.Empty(t, string(rest))
			for _, service := range []string{"jellyseerr", "jellyfin"} {
				for _, seen := range s.Service(service).Take() {
					assert.NotEqual(t, "/smuggled", seen.URI, "an attacker got a request through that nobody looked at")
				}
			}
		})
	}
}
