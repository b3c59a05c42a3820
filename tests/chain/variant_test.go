//go:build chain

package chain

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// open paths of the variant, for reading and for one method that writes, and how long a session may
// rest: the shortest that the settings allow.
const (
	openPath = "/api/v1/status"
	hookPath = "/api/v1/hook"
	rest     = time.Minute
)

// variant are settings that the production example does not use: a path without login, a service on
// the tailnet with one, short sessions.
var variant = map[string]any{
	"homelab:auth": map[string]any{"hostname": "auth", "sessionInactivity": rest.String(), "sessionExpiration": "12h", "rememberMe": "720h"},
	"homelab:services": map[string]any{
		"jellyseerr": map[string]any{
			"hostname": "requests", "visibility": "public", "access": map[string]any{"policy": "two-factor", "groups": []any{"users"}},
			"bypass": []any{
				map[string]any{"path": "^" + openPath + "$", "reason": "the chain test asks for it"},
				map[string]any{"path": "^" + hookPath + "$", "methods": []any{"POST"}, "reason": "the chain test writes there"},
			},
			"memoryMiB": 512,
		},
		"jellyfin": map[string]any{
			"hostname": "jellyfin", "visibility": "tailnet", "access": map[string]any{"policy": "two-factor", "groups": []any{"users"}},
			"bypass": []any{}, "memoryMiB": 4096,
		},
	},
}

// testVariant deploys the variant over the running machine, as an administrator who changes
// settings does.
func testVariant(t *testing.T, s *stage, family *person) {
	require.NoError(t, s.Deployment.Change(t.Context(), variant))
	require.NoError(t, withLocalAuthority(s.Deployment))
	s.StopContainer("authelia") // its configuration changed, so the deployment replaces its container
	require.NoError(t, s.StartContainer(t.Context(), "authelia"))
	require.NotEmpty(t, s.Deployment.Execs(), "the deployment reloads nothing")
	for _, e := range s.Deployment.Execs() {
		_, err := s.Box(e.Container).Exec(strings.NewReader(e.Stdin), e.Command...)
		require.NoError(t, err, e.Resource)
	}

	// This session rests until the end.
	resting := s.cloudflare.From("203.0.113.50").Browser("h2")
	family.login(t, resting)
	a, err := resting.Get(t.Context(), requests+"/")
	s.served(t, "jellyseerr", a, err)
	since := time.Now()

	t.Run("the open path", func(t *testing.T) { testOpenPath(t, s) })
	t.Run("methods of open paths", func(t *testing.T) { testOpenMethods(t, s) })
	t.Run("a login on the tailnet", func(t *testing.T) { testGuardedTailnet(t, s, family) })
	t.Run("a session ends that rested too long", func(t *testing.T) {
		busy := s.cloudflare.From("203.0.113.51").Browser("h2")
		family.login(t, busy)
		for time.Since(since) < rest+2*time.Second {
			a, err := busy.Get(t.Context(), requests+"/quiet")
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, a.Status, "a session ends that does not rest")
			time.Sleep(time.Second)
		}
		a, err := resting.Get(t.Context(), requests+"/")
		s.toPortal(t, a, err)
		a, err = resting.Get(t.Context(), portal+"/api/user/info")
		require.NoError(t, err)
		assert.NotContains(t, a.Body, "Family", "the portal still knows whose session it was")
	})
}

// testOpenMethods writes where only reading is open, and reads where only writing is.
func testOpenMethods(t *testing.T, s *stage) {
	for path, open := range map[string][]string{openPath: {"GET", "HEAD", "OPTIONS"}, hookPath: {"POST"}} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"} {
			t.Run(method+" "+path, func(t *testing.T) {
				for _, header := range []header{{}, {"X-Forwarded-Method", open[0]}, {"X-HTTP-Method-Override", open[0]}, {"X-Original-Method", open[0]}} {
					r := visitor.Request{Method: method, URL: requests + path, Header: map[string]string{}}
					if header.name != "" {
						r.Header[header.name] = header.value
					}
					if method == "POST" || method == "PUT" || method == "PATCH" {
						r.Body = `{"x":1}`
					}
					a, err := s.cloudflare.Browser("http/1.1").Do(t.Context(), r)
					if !slices.Contains(open, method) {
						s.refused(t, a, err)
						continue
					}
					require.NoError(t, err)
					assert.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
					assert.Equal(t, method, s.reached(t, "jellyseerr").Method)
				}
			})
		}
	}
}

// testOpenPath tries to get from the open path to the others.
func testOpenPath(t *testing.T, s *stage) {
	for _, uri := range []string{openPath, openPath + "?x=1", openPath + "?"} {
		a, err := s.cloudflare.Browser("h2").Do(t.Context(), visitor.Request{URL: requests + uri, Header: map[string]string{"Remote-User": "admin", "Remote-Groups": "admins"}})
		seen := s.served(t, "jellyseerr", a, err)
		assert.Equal(t, uri, seen.URI)
		for _, name := range identity {
			assert.Empty(t, seen.Header[name], "an attacker chose who he is on a path without login")
		}
	}
	// A request may reach the service only if it asks for exactly the open path, in the eyes of a
	// service that decodes it once.
	onlyOpen := func(t *testing.T) {
		t.Helper()
		for _, seen := range s.Service("jellyseerr").Take() {
			path, _, _ := strings.Cut(seen.URI, "?")
			decoded, err := url.PathUnescape(path)
			require.NoError(t, err)
			assert.Equal(t, openPath, decoded, "an attacker without a login got %s %s", seen.Method, seen.URI)
		}
	}
	ask := func(t *testing.T, line, lines string) {
		t.Helper()
		_, err := s.cloudflare.Raw(t.Context(), "requests.example.com", line+"\r\nHost: requests.example.com\r\n{cloudflare}"+lines+"Connection: close\r\n\r\n")
		if err != nil {
			t.Logf("the answer makes no sense: %v", err)
		}
		onlyOpen(t)
	}
	for _, trick := range tricks {
		line := strings.ReplaceAll(trick, "{path}", openPath)
		t.Run(line, func(t *testing.T) { ask(t, line, "") })
	}
	for _, suffix := range []string{
		"/../settings", "/..%2fsettings", "%2f..%2fsettings", "/%2e%2e/settings", "/..;/settings", ";/../settings", "/..\\settings", "/..%5csettings", "//../settings",
		"/.%2e/settings", "/%2e./settings", "/../../v1/settings", "%23/../settings", "%3f/../settings", "?/../settings", "#/../settings", "/x/../../settings",
		"x", "/", "/x", ".json", "%20", "%0a", "%0d%0a", "%09", "%00", "%ff", "\xff", "%E2%80%A8", "+", "~", "'", "&x=y",
	} {
		t.Run("GET "+openPath+suffix, func(t *testing.T) { ask(t, "GET "+openPath+suffix+" HTTP/1.1", "") })
	}
	for _, other := range []string{"/API/v1/status", "/api/V1/status", "/api/v1/STATUS", "/api/v1/statu%73", "/%61pi/v1/status", "/api%2fv1%2fstatus", "/x/api/v1/status", "/settings?x=" + openPath, "/settings#" + openPath} {
		t.Run("GET "+other, func(t *testing.T) { ask(t, "GET "+other+" HTTP/1.1", "") })
	}
	for _, lie := range []header{
		{"X-Forwarded-Uri", openPath}, {"X-Forwarded-Uri", openPath + "?"}, {"X-Forwarded-URL", openPath}, {"X-Original-URL", openPath}, {"X-Original-URI", openPath},
		{"X-Rewrite-URL", openPath}, {"X-Forwarded-Path", openPath}, {"X-Forwarded-Prefix", openPath}, {"X_Forwarded_Uri", openPath}, {"Referer", requests + openPath},
		{"Destination", requests + openPath}, {"Range", "bytes=0-0"}, {"Expect", "100-continue"},
	} {
		t.Run(lie.name, func(t *testing.T) { ask(t, "GET /settings HTTP/1.1", lie.name+": "+lie.value+"\r\n") })
	}
}

// testGuardedTailnet asks for a service on the tailnet that wants a login.
func testGuardedTailnet(t *testing.T, s *stage, family *person) {
	t.Run("anonymous is sent to the portal", func(t *testing.T) {
		a, err := s.tailnet.Browser("h2").Get(t.Context(), films+"/x")
		s.toPortal(t, a, err)
	})
	t.Run("no lie opens it", func(t *testing.T) {
		for _, lie := range append(lies, header{"CF-Connecting-IP", "127.0.0.1"}, header{"CF-Connecting-IP", "203.0.113.1"}) {
			a, err := s.tailnet.Browser("http/1.1").Do(t.Context(), visitor.Request{URL: films + "/lie", Header: map[string]string{lie.name: lie.value}})
			s.refused(t, a, err)
		}
	})
	b := s.cloudflare.From("203.0.113.52").Browser("h2")
	family.login(t, b)
	session := ticketOf(t, b)
	t.Run("a session opens it on the tailnet", func(t *testing.T) {
		for _, lie := range lies {
			if lie.name == "Connection" {
				continue
			}
			a, err := session.give(t, s.tailnet.Browser("http/1.1")).Do(t.Context(), visitor.Request{URL: films + "/lie", Header: map[string]string{lie.name: lie.value}})
			requireTruth(t, s.served(t, "jellyfin", a, err).Header, lie, map[string]string{
				"Remote-User": "family", "Remote-Groups": "users", "Remote-Name": "Family", "Remote-Email": "family@example.com",
				"X-Forwarded-For": "100.64.7.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "jellyfin.example.com", "X-Real-Ip": "100.64.7.7",
			})
		}
	})
	t.Run("a session does not open it from the internet", func(t *testing.T) {
		a, err := b.Get(t.Context(), films+"/x")
		s.refused(t, a, err)
		answers, err := s.cloudflare.Raw(t.Context(), "requests.example.com",
			"GET /x HTTP/1.1\r\nHost: jellyfin.example.com\r\n{cloudflare}"+session.line()+"X-Forwarded-Host: jellyfin.example.com\r\n\r\n")
		require.NoError(t, err)
		for _, a := range answers {
			s.refused(t, a, nil)
		}
		s.unreached(t, "from the internet")
	})
}
