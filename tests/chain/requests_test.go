//go:build chain

package chain

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"homelab/tests/chain/internal/echo"
	"homelab/tests/chain/internal/visitor"
)

const (
	megabyte      = 1 << 20
	handshakeKey  = "dGhlIHNhbXBsZSBub25jZQ=="
	upgradeHeader = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + handshakeKey + "\r\n"
)

// smuggled is a request that hides in another's body. It must never be answered as a request of its
// own.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: requests.example.com\r\nX-Forwarded-Host: requests.example.com\r\nRemote-User: admin\r\n\r\n"

// testRequests sends requests whose shape is the attack.
func testRequests(t *testing.T, s *stage, session ticket) {
	t.Run("smuggling", func(t *testing.T) { testSmuggling(t, s, session) })
	t.Run("HTTP/2", func(t *testing.T) { testFrames(t, s, session) })
	t.Run("bodies", func(t *testing.T) { testBodies(t, s, session) })
	t.Run("WebSocket", func(t *testing.T) { testWebSocket(t, s, session) })
	t.Run("a header of 64 KiB is refused", func(t *testing.T) {
		answers, err := s.cloudflare.Raw(t.Context(), "requests.example.com",
			"GET / HTTP/1.1\r\nHost: requests.example.com\r\n{cloudflare}"+session.line()+"X-Long: "+strings.Repeat("a", 64<<10)+"\r\n\r\n")
		require.NoError(t, err)
		for _, a := range answers {
			assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, a.Status)
		}
		s.unreached(t, "a long header")
	})
	t.Run("a header that never ends is cut off", func(t *testing.T) {
		conn, err := s.cloudflare.Connect(t.Context(), s.cloudflare.TLS("requests.example.com", "http/1.1"))
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: requests.example.com\r\nX-Slow: ")
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, conn.SetDeadline(began.Add(20*time.Second)))
		_, _ = io.ReadAll(conn)
		assert.Less(t, time.Since(began), 15*time.Second, "an attacker holds a connection by doing nothing")
	})
}

// testSmuggling sends HTTP/1.1 requests whose length two readers could see differently.
func testSmuggling(t *testing.T, s *stage, session ticket) {
	length := fmt.Sprint(len(smuggled))
	for name, lines := range map[string]string{
		"length and chunks":                   "Content-Length: " + length + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"chunks and length":                   "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled,
		"two lengths":                         "Content-Length: 0\r\nContent-Length: " + length + "\r\n\r\n" + smuggled,
		"a list of lengths":                   "Content-Length: 0, " + length + "\r\n\r\n" + smuggled,
		"a signed length":                     "Content-Length: +0\r\n\r\n" + smuggled,
		"a negative length":                   "Content-Length: -1\r\n\r\n" + smuggled,
		"a length in hexadecimal":             "Content-Length: 0x0\r\n\r\n" + smuggled,
		"an unknown coding":                   "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled,
		"two codings":                         "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled,
		"a list of codings":                   "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a coding behind a tab":               "Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled,
		"a coding with a space in its name":   "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a coding on a folded line":           "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a coding behind a bare line end":     "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled,
		"a coding behind a bare return":       "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a null in a header":                  "X: y\x00\r\nContent-Length: 0\r\n\r\n" + smuggled,
		"a chunk whose size has an extension": "Transfer-Encoding: chunked\r\n\r\n0;x=\n\r\n\r\n" + smuggled,
		"a chunk of too great a size":         "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + smuggled,
		"a length hidden from the proxy":      "Connection: Content-Length\r\nContent-Length: " + length + "\r\n\r\n" + smuggled,
		"a second host":                       "Host: auth.example.com\r\nContent-Length: 0\r\n\r\n",
		"an expectation":                      "Expect: 100-continue\r\nContent-Length: " + length + "\r\n\r\n" + smuggled,
	} {
		for who, cookie := range map[string]string{"anonymous": "", "with a session": session.line()} {
			t.Run(name+" "+who, func(t *testing.T) {
				_, err := s.cloudflare.Raw(t.Context(), "requests.example.com",
					"POST /outer HTTP/1.1\r\nHost: requests.example.com\r\n{cloudflare}"+cookie+lines)
				if err != nil {
					t.Logf("the answer makes no sense: %v", err)
				}
				s.onlyOuter(t)
			})
		}
	}
	s.settle(t)
}

// onlyOuter requires of what reached the service that it is the request that was made, by the
// person whose session it carried. It does not say which case made it: a service can learn late of
// a request whose body never ends.
func (s *stage) onlyOuter(t *testing.T) {
	t.Helper()
	for _, seen := range s.Service("jellyseerr").Take() {
		assert.Equal(t, []string{"family"}, seen.Header["Remote-User"], "an anonymous attacker got %s %s through", seen.Method, seen.URI)
		// A request behind the first one is one of its own, without a session.
		assert.Equal(t, "/outer", seen.URI, "an attacker got a request through that nobody looked at")
		assert.Equal(t, "requests.example.com", strings.TrimSuffix(seen.Host, ":5055"))
	}
	assert.Empty(t, s.Service("jellyfin").Take(), "an attacker reached another service")
}

// settle waits for what comes late.
func (s *stage) settle(t *testing.T) {
	t.Helper()
	time.Sleep(2 * time.Second)
	s.onlyOuter(t)
}

// testBodies sends bodies that are too long, or whose length nobody says.
func testBodies(t *testing.T, s *stage, session ticket) {
	inspected := func(answer *visitor.Answer, err error) {
		t.Helper()
		seen := s.served(t, "jellyseerr", answer, err)
		assert.Equal(t, int64(megabyte/2), seen.BodyBytes)
	}
	post := func(b *visitor.Browser, address string, size int, chunked bool) (*visitor.Answer, error) {
		return b.Do(t.Context(), visitor.Request{Method: http.MethodPost, URL: address, Body: strings.Repeat("a", size), Chunked: chunked})
	}
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			b := session.give(t, s.cloudflare.Browser(protocol))
			a, err := post(b, requests+"/upload", megabyte/2, false)
			inspected(a, err)
			for _, c := range []struct {
				name, address string
				size          int
				chunked       bool
			}{
				{"longer than the service takes", requests + "/upload", 11 * megabyte, false},
				{"in chunks, where nobody can look", requests + "/upload", megabyte / 2, true},
				{"in chunks and too long", requests + "/upload", 11 * megabyte, true},
				{"longer than the portal takes", portal + "/api/firstfactor", 2 * megabyte, false},
				{"in chunks to the portal", portal + "/api/firstfactor", 100, true},
			} {
				t.Run(c.name, func(t *testing.T) {
					a, err := post(session.give(t, s.cloudflare.Browser(protocol)), c.address, c.size, c.chunked)
					if err == nil {
						assert.Contains(t, []int{http.StatusBadRequest, http.StatusLengthRequired, http.StatusRequestEntityTooLarge}, a.Status, "%s", a.Body)
					}
					for _, seen := range s.Service("jellyseerr").Take() {
						assert.LessOrEqual(t, seen.BodyBytes, int64(1), "the service got %d bytes that nobody looked at", seen.BodyBytes)
					}
				})
			}
		})
	}
}

// testWebSocket asks for a connection that outlives every check.
func testWebSocket(t *testing.T, s *stage, session ticket) {
	open := func(place visitor.Place, host, lines string) []*visitor.Answer {
		answers, err := place.Raw(t.Context(), host, "GET /socket HTTP/1.1\r\nHost: "+host+"\r\n{cloudflare}"+upgradeHeader+lines+"\r\n")
		require.NoError(t, err)
		return answers
	}
	t.Run("without a session", func(t *testing.T) {
		for _, lines := range []string{"", "Cookie: " + sessionCookie + "=x\r\n", "Sec-WebSocket-Protocol: " + sessionCookie + "\r\n", "Remote-User: admin\r\n"} {
			for _, a := range open(s.cloudflare, "requests.example.com", lines) {
				assert.NotEqual(t, http.StatusSwitchingProtocols, a.Status, "an attacker has a WebSocket")
				s.refused(t, a, nil)
			}
			s.unreached(t, "a WebSocket")
		}
	})
	t.Run("with a session", func(t *testing.T) {
		answers := open(s.cloudflare, "requests.example.com", session.line())
		require.Len(t, answers, 1)
		require.Equal(t, http.StatusSwitchingProtocols, answers[0].Status)
		assert.Equal(t, echo.Accept(handshakeKey), answers[0].Header.Get("Sec-Websocket-Accept"))
		assert.Contains(t, answers[0].Body, `{"Service":"jellyseerr"`)
		assert.Equal(t, []string{"family"}, s.reached(t, "jellyseerr").Header["Remote-User"])
	})
	t.Run("on the tailnet", func(t *testing.T) {
		answers := open(s.tailnet, "jellyfin.example.com", "")
		require.Len(t, answers, 1)
		require.Equal(t, http.StatusSwitchingProtocols, answers[0].Status)
		s.reached(t, "jellyfin")
	})
	t.Run("an upgrade to something else smuggles nothing", func(t *testing.T) {
		for _, protocol := range []string{"h2c", "websocket, h2c", "TLS/1.0"} {
			answers, err := s.cloudflare.Raw(t.Context(), "requests.example.com", "GET /upgrade HTTP/1.1\r\nHost: requests.example.com\r\n{cloudflare}"+
				"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nUpgrade: "+protocol+"\r\n\r\n"+smuggled)
			require.NoError(t, err)
			for _, a := range answers {
				assert.NotEqual(t, http.StatusSwitchingProtocols, a.Status, protocol)
			}
			s.unreached(t, protocol)
		}
	})
}

// testFrames sends requests in HTTP/2 that would be something else in HTTP/1.1, which is what the
// services speak.
func testFrames(t *testing.T, s *stage, session ticket) {
	base := func(extra ...hpack.HeaderField) []hpack.HeaderField {
		return append([]hpack.HeaderField{
			{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "requests.example.com"}, {Name: ":path", Value: "/outer"},
			{Name: "cf-connecting-ip", Value: goodVisitor},
		}, extra...)
	}
	replace := func(name, value string) []hpack.HeaderField {
		fields := base()
		for i, f := range fields {
			if f.Name == name {
				fields[i].Value = value
			}
		}
		return fields
	}
	cases := map[string][]hpack.HeaderField{
		"a transfer coding":              base(hpack.HeaderField{Name: "transfer-encoding", Value: "chunked"}),
		"a length of nothing":            base(hpack.HeaderField{Name: "content-length", Value: "0"}),
		"a length that is too long":      base(hpack.HeaderField{Name: "content-length", Value: "5000"}),
		"two lengths":                    base(hpack.HeaderField{Name: "content-length", Value: "0"}, hpack.HeaderField{Name: "content-length", Value: "7"}),
		"a line end in a value":          base(hpack.HeaderField{Name: "x", Value: "y\r\nRemote-User: admin"}),
		"a line end in a name":           base(hpack.HeaderField{Name: "x\r\nremote-user", Value: "admin"}),
		"a bare line feed in a value":    base(hpack.HeaderField{Name: "x", Value: "y\nRemote-User: admin"}),
		"a colon in a name":              base(hpack.HeaderField{Name: "remote-user: admin", Value: "x"}),
		"a space before the colon":       base(hpack.HeaderField{Name: "remote-user ", Value: "admin"}),
		"a name in capitals":             base(hpack.HeaderField{Name: "Remote-User", Value: "admin"}),
		"a connection header":            base(hpack.HeaderField{Name: "connection", Value: "cookie"}),
		"an upgrade":                     base(hpack.HeaderField{Name: "upgrade", Value: "websocket"}),
		"a host beside the authority":    base(hpack.HeaderField{Name: "host", Value: "auth.example.com"}),
		"a pseudo header twice":          base(hpack.HeaderField{Name: ":path", Value: "/api/v1/status"}),
		"a pseudo header after the rest": base(hpack.HeaderField{Name: ":authority", Value: "auth.example.com"}),
		"an unknown pseudo header":       base(hpack.HeaderField{Name: ":protocol", Value: "websocket"}),
		"a request line in the path":     replace(":path", "/ HTTP/1.1\r\nHost: requests.example.com\r\nRemote-User: admin\r\n\r\nGET /smuggled"),
		"a request line in the method":   replace(":method", "GET /smuggled HTTP/1.1\r\nRemote-User: admin\r\n\r\nPOST"),
		"a path without a slash":         replace(":path", "smuggled"),
		"an absolute path":               replace(":path", "https://auth.example.com/"),
		"a path of another host":         replace(":path", "http:x@auth.example.com/outer"),
		"an empty path":                  replace(":path", ""),
		"an authority with a path":       replace(":authority", "requests.example.com/x"),
		"an authority with a user":       replace(":authority", "auth.example.com@requests.example.com"),
		"an authority with a port":       replace(":authority", "requests.example.com:5055"),
		"another authority":              replace(":authority", "auth.example.com"),
		"no authority":                   replace(":authority", ""),
		"another scheme":                 replace(":scheme", "http"),
		"a scheme that is a URL":         replace(":scheme", "https://auth.example.com/?"),
	}
	for name, fields := range cases {
		for who, cookie := range map[string]string{"anonymous": "", "with a session": session.value} {
			t.Run(name+" "+who, func(t *testing.T) {
				sent := slices.Clone(fields)
				if cookie != "" {
					sent = append(sent, hpack.HeaderField{Name: "cookie", Value: sessionCookie + "=" + cookie})
				}
				status, err := frames(t, s.cloudflare, sent, []byte(smuggled))
				t.Logf("status %q, error: %v", status, err)
				s.onlyOuter(t)
			})
		}
	}
	s.settle(t)
}

// frames sends one request as it is written, and returns the status that comes back.
func frames(t *testing.T, place visitor.Place, fields []hpack.HeaderField, body []byte) (status string, err error) {
	t.Helper()
	conn, err := place.Connect(t.Context(), place.TLS("requests.example.com", "h2"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		require.NoError(t, encoder.WriteField(f))
	}
	require.NoError(t, framer.WriteSettings())
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}))
	// It may have hung up already, which the next read shows.
	_ = framer.WriteData(1, true, body)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return status, err
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			if status = f.PseudoValue("status"); f.StreamEnded() {
				return status, nil
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return status, nil
			}
		case *http2.RSTStreamFrame:
			return status, fmt.Errorf("reset: %s", f.ErrCode)
		case *http2.GoAwayFrame:
			return status, fmt.Errorf("gone: %s", f.ErrCode)
		}
	}
}
