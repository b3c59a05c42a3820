//go:build chain

package chain

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tricks are request lines with which somebody without a session asks for a service: paths that two
// readers could understand differently, and whole other lines. {path} is a path worth reaching; it
// begins with a slash.
var tricks = []string{
	"GET /{path} HTTP/1.1",
	"GET //{path} HTTP/1.1",
	"GET /.{path} HTTP/1.1",
	"GET /..{path} HTTP/1.1",
	"GET /x/..{path} HTTP/1.1",
	"GET /x/../..{path} HTTP/1.1",
	"GET /%2e{path} HTTP/1.1",
	"GET /%2e%2e{path} HTTP/1.1",
	"GET /x/%2e%2e{path} HTTP/1.1",
	"GET /x/%2E%2E{path} HTTP/1.1",
	"GET /x/.%2e{path} HTTP/1.1",
	"GET /x%2f..{path} HTTP/1.1",
	"GET /x%2F%2e%2e{path} HTTP/1.1",
	"GET /x%5c..{path} HTTP/1.1",
	"GET /x\\..{path} HTTP/1.1",
	"GET \\{path} HTTP/1.1",
	"GET /%252e%252e{path} HTTP/1.1",
	"GET /;{path} HTTP/1.1",
	"GET /x;/..{path} HTTP/1.1",
	"GET /..;{path} HTTP/1.1",
	"GET /%3b{path} HTTP/1.1",
	"GET /%00{path} HTTP/1.1",
	"GET /%0d%0aX:{path} HTTP/1.1",
	"GET /%u002e%u002e{path} HTTP/1.1",
	"GET /%c0%ae%c0%ae{path} HTTP/1.1",
	"GET {path}/ HTTP/1.1",
	"GET {path}// HTTP/1.1",
	"GET {path}/. HTTP/1.1",
	"GET {path}/.. HTTP/1.1",
	"GET {path}; HTTP/1.1",
	"GET {path};x=y HTTP/1.1",
	"GET {path}%20 HTTP/1.1",
	"GET {path}%00 HTTP/1.1",
	"GET {path}%00.js HTTP/1.1",
	"GET {path}%23 HTTP/1.1",
	"GET {path}# HTTP/1.1",
	"GET {path}%3f HTTP/1.1",
	"GET {path}? HTTP/1.1",
	"GET {path}.css HTTP/1.1",
	"GET {path}/x.webmanifest HTTP/1.1",
	"GET /x?{path} HTTP/1.1",
	"GET /x#{path} HTTP/1.1",
	"GET ?{path} HTTP/1.1",
	"GET https://auth.example.com{path} HTTP/1.1",
	"GET https://jellyfin.example.com{path} HTTP/1.1",
	"GET http://requests.example.com{path} HTTP/1.1",
	"GET https://requests.example.com{path} HTTP/1.1",
	"GET http://jellyseerr:5055{path} HTTP/1.1",
	"GET https://user@requests.example.com{path} HTTP/1.1",
	"GET //auth.example.com{path} HTTP/1.1",
	"GET * HTTP/1.1",
	"OPTIONS * HTTP/1.1",
	"OPTIONS {path} HTTP/1.1",
	"HEAD {path} HTTP/1.1",
	"TRACE {path} HTTP/1.1",
	"CONNECT {path} HTTP/1.1",
	"CONNECT jellyseerr:5055 HTTP/1.1",
	"PROPFIND {path} HTTP/1.1",
	"get {path} HTTP/1.1",
	"Get {path} HTTP/1.1",
	"GETX {path} HTTP/1.1",
	"GET\t{path}\tHTTP/1.1",
	"GET  {path} HTTP/1.1",
	" GET {path} HTTP/1.1",
	"GET {path} HTTP/1.0",
	"GET {path} HTTP/0.9",
	"GET {path}",
	"GET {path} HTTP/2.0",
	"GET {path} http/1.1",
	"PRI * HTTP/2.0",
}

// testPaths asks for a service in the ways of the tricks.
func testPaths(t *testing.T, s *stage, session ticket) {
	for _, trick := range tricks {
		line := strings.ReplaceAll(trick, "{path}", "/api/v1/settings")
		t.Run("anonymous "+line, func(t *testing.T) {
			answers, err := s.cloudflare.Raw(t.Context(), "requests.example.com", line+"\r\nHost: requests.example.com\r\n{cloudflare}Connection: close\r\n\r\n")
			require.NoError(t, err)
			for _, a := range answers {
				// The server itself answers to the question what it can do, with nothing.
				if !strings.HasPrefix(line, "OPTIONS *") || a.Body != "" {
					s.refused(t, a, nil)
				}
			}
			s.unreached(t, line)
		})
	}
	t.Run("an ambiguous path is refused even with a session", func(t *testing.T) {
		for _, path := range []string{"//x", "/x/../y", "/x/%2e%2e/y", "/x;/y", "/x%2fy", "/x%5cy", "/x\\y", "/%00", "/%252e", "/x%3fy"} {
			answers, err := s.cloudflare.Raw(t.Context(), "requests.example.com",
				"GET "+path+" HTTP/1.1\r\nHost: requests.example.com\r\n{cloudflare}"+session.line()+"Connection: close\r\n\r\n")
			require.NoError(t, err)
			require.Len(t, answers, 1, path)
			assert.Equal(t, 400, answers[0].Status, path)
			s.unreached(t, path)
		}
	})
	t.Run("a path reaches the service as it was written", func(t *testing.T) {
		for _, path := range []string{"/a%20b", "/%C3%A9?q=%2e%2e%2f;x&y=%00", "/a+b", "/A/b", "/a.b/..c", "/?", "/?x=//../"} {
			answers, err := s.cloudflare.Raw(t.Context(), "requests.example.com",
				"GET "+path+" HTTP/1.1\r\nHost: requests.example.com\r\n{cloudflare}"+session.line()+"Connection: close\r\n\r\n")
			require.NoError(t, err)
			require.Len(t, answers, 1, path)
			assert.Equal(t, path, s.served(t, "jellyseerr", answers[0], nil).URI)
		}
	})
}
