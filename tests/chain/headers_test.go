//go:build chain

package chain

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// header is one header line that a visitor writes.
type header struct{ name, value string }

// lies are headers about who the visitor is, where the request was meant to go, and how: everything
// that a proxy, a portal or a service somewhere believes.
var lies = []header{
	{"X-Forwarded-Host", "auth.example.com"},
	{"X-Forwarded-Host", "jellyfin.example.com"},
	{"X-FORWARDED-HOST", "jellyfin.example.com"},
	{"X_Forwarded_Host", "jellyfin.example.com"},
	{"X-Forwarded-Proto", "http"},
	{"X-Forwarded-Uri", "/api/health"},
	{"X-Forwarded-Uri", "/api/v1/status"},
	{"X-Forwarded-Method", "OPTIONS"},
	{"X-Forwarded-Method", "HEAD"},
	{"X-Forwarded-For", "100.64.0.1"},
	{"X-Forwarded-For", "127.0.0.1, 172.30.1.1"},
	{"X-Forwarded-Port", "9443"},
	{"X-Forwarded-Server", "auth.example.com"},
	{"X-Forwarded-Prefix", "/api/health"},
	{"X-Forwarded-User", "admin"},
	{"X-Forwarded-Groups", "admins"},
	{"X-Forwarded-Email", "admin@example.com"},
	{"X-Forwarded-Preferred-Username", "admin"},
	{"Forwarded", "for=100.64.0.1;host=jellyfin.example.com;proto=https"},
	{"X-Original-URL", "/api/v1/status"},
	{"X-Original-URL", "https://jellyfin.example.com/"},
	{"X-Original-Method", "OPTIONS"},
	{"X-Rewrite-URL", "/api/v1/status"},
	{"X-HTTP-Method-Override", "OPTIONS"},
	{"X-HTTP-Method", "OPTIONS"},
	{"X-Method-Override", "OPTIONS"},
	{"X-Real-IP", "100.64.0.1"},
	{"True-Client-IP", "100.64.0.1"},
	{"X-Client-IP", "100.64.0.1"},
	{"Client-IP", "100.64.0.1"},
	{"X-Cluster-Client-IP", "100.64.0.1"},
	{"Fastly-Client-IP", "100.64.0.1"},
	{"CF-Connecting-IPv6", "fd7a:115c:a1e0::1"},
	{"CF-Pseudo-IPv4", "100.64.0.1"},
	{"X-Authelia-URL", "https://auth.example.org"},
	{"X-Crowdsec-Appsec-Ip", "100.64.0.1"},
	{"X-Crowdsec-Appsec-Verb", "OPTIONS"},
	{"X-Crowdsec-Appsec-Api-Key", "x"},
	{"Session-Username", "admin"},
	{"Remote-User", "admin"},
	{"remote-user", "admin"},
	{"REMOTE-USER", "admin"},
	{"rEmOtE-uSeR", "admin"},
	{"Remote_User", "admin"},
	{"REMOTE_USER", "admin"},
	{"Remote.User", "admin"},
	{"Remote-Groups", "admins"},
	{"Remote_Groups", "admins"},
	{"REMOTE.GROUPS", "admins"},
	{"Remote-Name", "Admin"},
	{"Remote_Name", "Admin"},
	{"Remote-Email", "admin@example.com"},
	{"Remote_Email", "admin@example.com"},
	{"RemoteUser", "admin"},
	{"X-Remote-User", "admin"},
	{"X_Remote_User", "admin"},
	{"X-Remote-Group", "admins"},
	{"X-WEBAUTH-USER", "admin"},
	{"X_Webauth_User", "admin"},
	{"X-Authentik-Username", "admin"},
	{"Connection", "close, Remote-User, X-Forwarded-For, X-Forwarded-Host, Cookie"},
	{"Proxy-Authorization", "Basic YWRtaW46YWRtaW4="},
}

// spelling is how the laxest service reads a header's name: CGI and its heirs take every separator
// for the same.
func spelling(name string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(name))
}

// testHeaders lies in headers: to get in without a login, and to be somebody else after one.
func testHeaders(t *testing.T, s *stage, family *person, session ticket) {
	t.Run("no lie opens a service", func(t *testing.T) {
		for _, lie := range lies {
			for _, protocol := range []string{"h2", "http/1.1"} {
				if protocol == "h2" && lie.name == "Connection" {
					continue // not a header of HTTP/2
				}
				t.Run(protocol+" "+lie.name+" "+lie.value, func(t *testing.T) {
					a, err := s.cloudflare.Browser(protocol).Do(t.Context(), visitor.Request{URL: requests + "/lie", Header: map[string]string{lie.name: lie.value}})
					s.refused(t, a, err)
					if err == nil && a.Status == http.StatusFound {
						const want = portal + "/?rd=https%3A%2F%2Frequests.example.com%2Flie"
						assert.True(t, strings.HasPrefix(a.Header.Get("Location"), want), "an attacker sends a visitor to %s", a.Header.Get("Location"))
					}
				})
			}
		}
	})
	t.Run("no lie makes somebody else of a visitor", func(t *testing.T) {
		for _, lie := range lies {
			t.Run(lie.name+" "+lie.value, func(t *testing.T) {
				b := session.give(t, s.cloudflare.Browser("http/1.1"))
				a, err := b.Do(t.Context(), visitor.Request{URL: requests + "/lie", Header: map[string]string{lie.name: lie.value}})
				if err == nil && a.Status != http.StatusOK {
					s.refused(t, a, err)
					return
				}
				requireTruth(t, s.served(t, "jellyseerr", a, err).Header, lie, map[string]string{
					"Remote-User": "family", "Remote-Groups": "users", "Remote-Name": "Family", "Remote-Email": "family@example.com",
					"X-Forwarded-For": goodVisitor, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "requests.example.com", "X-Real-Ip": goodVisitor,
				})
			})
		}
	})
	t.Run("no lie reaches a service with its own login", func(t *testing.T) {
		for _, lie := range append(lies, header{"CF-Connecting-IP", "203.0.113.1"}, header{"cf-connecting-ip", "100.64.0.1"}) {
			t.Run(lie.name+" "+lie.value, func(t *testing.T) {
				a, err := s.tailnet.Browser("http/1.1").Do(t.Context(), visitor.Request{URL: films + "/lie", Header: map[string]string{lie.name: lie.value}})
				requireTruth(t, s.served(t, "jellyfin", a, err).Header, lie, map[string]string{
					"X-Forwarded-For": "100.64.7.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "jellyfin.example.com", "X-Real-Ip": "100.64.7.7",
				})
			})
		}
	})
	t.Run("the tailnet's listener logs who really came", func(t *testing.T) {
		lie := map[string]string{"CF-Connecting-IP": "203.0.113.222", "X-Forwarded-For": "203.0.113.222"}
		a, err := s.tailnet.Browser("h2").Do(t.Context(), visitor.Request{URL: films + "/who-came", Header: lie})
		s.served(t, "jellyfin", a, err)
		assert.Equal(t, "100.64.7.7", s.logged(t, "/who-came"), "an attacker could have another banned, or hide")
	})
	t.Run("the public listener logs whom Cloudflare names", func(t *testing.T) {
		lie := map[string]string{"CF-Connecting-IP": "198.51.100.1", "X-Forwarded-For": "198.51.100.1", "True-Client-IP": "198.51.100.1"}
		a, err := s.cloudflare.From("203.0.113.14").Browser("h2").Do(t.Context(), visitor.Request{URL: requests + "/who-came-publicly", Header: lie})
		s.refused(t, a, err)
		assert.Equal(t, "203.0.113.14", s.logged(t, "/who-came-publicly"))
	})
	t.Run("credentials do not replace a session", func(t *testing.T) {
		request, err := http.NewRequest(http.MethodGet, requests, nil)
		require.NoError(t, err)
		request.SetBasicAuth(family.name, family.password)
		for _, name := range []string{"Authorization", "Proxy-Authorization", "authorization"} {
			for _, value := range []string{request.Header.Get("Authorization"), "Bearer authelia_at_x", "Basic Og=="} {
				a, err := s.cloudflare.Browser("http/1.1").Do(t.Context(), visitor.Request{URL: requests + "/credentials", Header: map[string]string{name: value}})
				s.refused(t, a, err)
			}
		}
	})
}

// requireTruth checks what a service sees of a visitor who lied: the truth, once, and nothing of
// the lie under any spelling of a name that means identity or origin.
func requireTruth(t *testing.T, seen http.Header, lie header, truth map[string]string) {
	t.Helper()
	meaning := map[string]string{}
	for name := range truth {
		meaning[spelling(name)] = name
	}
	for _, name := range identity {
		if _, known := truth[name]; !known {
			meaning[spelling(name)] = ""
		}
	}
	for name, values := range seen {
		if canonical, speaks := meaning[spelling(name)]; speaks {
			assert.Equal(t, canonical, name, "a header that some services take for identity or origin came through: %q", values)
			assert.Equal(t, []string{truth[canonical]}, values, "an attacker chose %s", name)
		}
	}
	for name, value := range truth {
		assert.Equal(t, []string{value}, seen[name], name)
	}
	if strings.HasPrefix(lie.name, "Proxy-") || lie.name == "Connection" || strings.EqualFold(lie.name, "X-Authelia-URL") {
		return // no service reads them
	}
	for name, values := range seen {
		if spelling(name) == spelling(lie.name) && truth[name] == "" {
			assert.Fail(t, "a lie came through", "%s: %q", name, values)
		}
	}
}

// logged is the address that the access log names for a path. It waits for the line.
func (s *stage) logged(t testing.TB, path string) string {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(s.Deployment.Path("/opt/homelab/caddy/logs/access.log"))
		require.NoError(t, err)
		for line := range bytes.Lines(text) {
			var entry struct {
				Request struct {
					ClientIP string `json:"client_ip"`
					URI      string `json:"uri"`
				} `json:"request"`
			}
			require.NoError(t, json.Unmarshal(line, &entry))
			if entry.Request.URI == path {
				return entry.Request.ClientIP
			}
		}
	}
	require.Fail(t, "no line in the access log", path)
	return ""
}
