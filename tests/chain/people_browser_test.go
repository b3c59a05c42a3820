//go:build chain && browser

package chain

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/chromium"
	"homelab/tests/chain/internal/echo"
	"homelab/tests/internal/netns"
)

// administration is a service of administrators: tailnet, two factors, group admins.
const administration = "https://radarr.example.com"

// TestTwoPeopleInABrowser opens the same two addresses as nobody, as one of the family and as the
// administrator, in a real browser on a laptop that is on the tailnet: a public service, through
// Cloudflare, and one of administrators. The browser keeps the portal's cookie and follows its
// redirects by its own rules.
func TestTwoPeopleInABrowser(t *testing.T) {
	s := set(t)
	laptop, err := s.Outside("laptop", netip.MustParsePrefix("100.64.8.8/24"))
	require.NoError(t, err)
	s.edge(t, laptop)
	open := func(t *testing.T) *chromium.Browser {
		t.Helper()
		b, err := chromium.Start(laptop.Start, t.TempDir(),
			fmt.Sprintf("MAP %s %s, MAP * 127.0.0.1:443", strings.TrimPrefix(administration, "https://"), s.Address("caddy", tailnetPort)))
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, b.Close()) })
		return b
	}

	t.Run("nobody", func(t *testing.T) {
		b := open(t)
		for _, address := range []string{requests, administration} {
			s.isAtPortal(t, b, address)
		}
	})
	t.Run("family", func(t *testing.T) {
		b := open(t)
		s.isAtPortal(t, b, requests)
		assert.Equal(t, requests+"/", s.logIn(t, b, "family"), "where the portal leads after the login")
		s.isServed(t, b, requests, "jellyseerr", "family")
		page, err := b.Open(administration)
		require.NoError(t, err)
		assert.Equal(t, http.StatusForbidden, page.Status, "%+v", page)
		assert.Empty(t, s.asked("radarr"), "the service was asked")
		assert.NotContains(t, page.Text, `"Service"`)
		s.isServed(t, b, requests, "jellyseerr", "family")

		var left bool
		_, err = b.Open(portal)
		require.NoError(t, err)
		require.NoError(t, b.Run(`fetch("/api/logout", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}).then(r => r.ok)`, &left))
		require.True(t, left)
		s.isAtPortal(t, b, requests)
	})
	t.Run("administrator", func(t *testing.T) {
		b := open(t)
		s.isAtPortal(t, b, administration)
		assert.Equal(t, administration+"/", s.logIn(t, b, "admin"))
		s.isServed(t, b, administration, "radarr", "admin")
		s.isServed(t, b, requests, "jellyseerr", "admin")
	})
}

// edge is Cloudflare for who is on the laptop: it answers there for all public hosts.
func (s *stage) edge(t *testing.T, laptop *netns.Namespace) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"*.example.com"}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	var listener net.Listener
	require.NoError(t, laptop.Do(func() error {
		listener, err = tls.Listen("tcp", "127.0.0.1:443", &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}, MinVersion: tls.VersionTLS12,
		})
		return err
	}))
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "https", r.In.Host },
		Transport: s.cloudflare.From("203.0.113.77").Transport(),
	}}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
}

// isAtPortal opens an address and requires that the portal asks for a login that leads back there.
func (s *stage) isAtPortal(t *testing.T, b *chromium.Browser, address string) {
	t.Helper()
	page, err := b.Open(address)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status)
	assert.True(t, strings.HasPrefix(page.URL, portal+"/?rd="), "%+v", page)
	for _, name := range []string{"jellyseerr", "radarr"} {
		assert.Empty(t, s.asked(name), "%s was asked", name)
	}
}

// asked are the requests that a service has seen, without those for a page's icon: a browser sends
// them whenever it likes.
func (s *stage) asked(service string) []echo.Seen {
	return slices.DeleteFunc(s.Service(service).Take(), func(seen echo.Seen) bool { return seen.URI == "/favicon.ico" })
}

// isServed opens an address and requires the page of a service, which was told who asks.
func (s *stage) isServed(t *testing.T, b *chromium.Browser, address, service, user string) {
	t.Helper()
	page, err := b.Open(address)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status, "%+v", page)
	assert.Contains(t, page.Text, `"Service":"`+service+`"`)
	seen := s.asked(service)
	require.NotEmpty(t, seen)
	assert.Equal(t, []string{user}, seen[0].Header["Remote-User"])
}

// logIn sends from the portal's page what its forms send, with an authenticator app that the person
// has registered before, and returns where the portal leads.
func (s *stage) logIn(t *testing.T, b *chromium.Browser, name string) (to string) {
	t.Helper()
	p := s.person(t, name)
	if p.secret == "" {
		elsewhere := s.cloudflare.From("203.0.113.78").Browser("h2")
		p.firstFactor(t, elsewhere)
		p.enrol(t, elsewhere)
	}
	send := func(path string, body map[string]any) (redirect string) {
		t.Helper()
		text, err := json.Marshal(body)
		require.NoError(t, err)
		var answer struct {
			Status string
			Data   struct{ Redirect string }
		}
		require.NoError(t, b.Run(fmt.Sprintf(`fetch(%s, {
			method: "POST", headers: {"Content-Type": "application/json", "Accept": "application/json"},
			body: JSON.stringify({...%s, targetURL: new URLSearchParams(location.search).get("rd")}),
		}).then(r => r.json())`, quoted(path), text), &answer))
		require.Equal(t, "OK", answer.Status, "%s of %s", path, name)
		return answer.Data.Redirect
	}
	send("/api/firstfactor", map[string]any{"username": p.name, "password": p.password, "keepMeLoggedIn": false, "requestMethod": http.MethodGet})
	return send("/api/secondfactor/totp", map[string]any{"token": p.code(t)})
}

// quoted is a text in a script.
func quoted(text string) string {
	quoted, _ := json.Marshal(text) // a text has no error
	return string(quoted)
}
