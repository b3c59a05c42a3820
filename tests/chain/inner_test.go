//go:build chain

package chain

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

const (
	// innerPort is where containers ask the portal who a user is.
	innerPort = 443
	// metricsPort is where the proxy is scraped.
	metricsPort = 9180
)

const (
	// measuring is the network of the monitoring, and of what is measured.
	measuring = "grafana-monitoring"
	// grafanaSecret is what Grafana proves itself with at the portal.
	grafanaSecret = "/opt/homelab/grafana/files-run-secrets/grafana-login-secret"
)

// asker is Grafana, which logs its users in at the portal and has no way out of the machine: it asks
// the portal through the proxy's listener for containers.
type asker struct {
	*stage
	place   visitor.Place
	address netip.Addr
}

// TestTheListenerForContainers is a login at Grafana, and what the listener refuses.
func TestTheListenerForContainers(t *testing.T) {
	s := set(t)
	require.NoError(t, s.Join("grafana"))
	listener := netip.AddrPortFrom(s.AddressIn(measuring, "caddy"), innerPort)
	grafana := &asker{
		s, visitor.Place{Dial: s.Inside("grafana").DialContext, Listener: listener.String(), Roots: s.authority}, s.AddressIn(measuring, "grafana"),
	}
	t.Run("a login", grafana.testLogin)
	t.Run("the handshake", grafana.testHandshake)
	t.Run("nothing else of the portal", grafana.testOtherPaths)
	t.Run("no other host", grafana.testOtherHosts)
	t.Run("nobody says who the asker is", grafana.testLies)
	t.Run("an attack", grafana.testAttacks)
	t.Run("a name makes no series", grafana.testSeries)
	t.Run("who has no edge", func(t *testing.T) {
		for _, other := range []string{"jellyseerr", "jellyfin"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := s.Inside(other).DialContext(ctx, "tcp", s.Address("caddy", innerPort))
			require.Error(t, err, "%s reaches the listener", other)
		}
	})
	t.Run("a ban", grafana.testBan)
}

// ask asks the portal, as the service itself does.
func (g *asker) ask(t *testing.T, method, path, authorization, body string, into any) int {
	t.Helper()
	header := map[string]string{"Accept": "application/json"}
	if authorization != "" {
		header["Authorization"] = authorization
	}
	if body != "" {
		header["Content-Type"] = "application/x-www-form-urlencoded"
	}
	a, err := g.place.Browser("h2").Do(t.Context(), visitor.Request{Method: method, URL: portal + path, Header: header, Body: body})
	require.NoError(t, err)
	if a.Status == http.StatusOK && into != nil {
		require.NoError(t, json.Unmarshal([]byte(a.Body), into), "%s", a.Body)
	}
	return a.Status
}

// testLogin is the whole of it: the browser's part at the portal's public side, the service's part
// inside.
func (g *asker) testLogin(t *testing.T) {
	var known map[string]any
	require.Equal(t, http.StatusOK, g.ask(t, http.MethodGet, "/.well-known/openid-configuration", "", "", &known))
	assert.Equal(t, portal, known["issuer"], "the portal has another name inside")
	assert.Equal(t, portal+"/api/oidc/token", known["token_endpoint"])
	assert.Equal(t, portal+"/api/oidc/userinfo", known["userinfo_endpoint"])
	assert.Equal(t, portal+"/jwks.json", known["jwks_uri"])
	var keys struct{ Keys []any }
	require.Equal(t, http.StatusOK, g.ask(t, http.MethodGet, "/jwks.json", "", "", &keys))
	assert.Len(t, keys.Keys, 1)

	b := g.cloudflare.From("203.0.113.70").Browser("h2")
	g.person(t, "admin").login(t, b)
	a, err := b.Get(t.Context(), strings.Replace(authorization("grafana", grafanaBack), "openid+email+profile", "openid+email+groups+profile", 1))
	require.NoError(t, err)
	back, err := url.Parse(a.Header.Get("Location"))
	require.NoError(t, err)
	require.Equal(t, grafanaBack, back.Scheme+"://"+back.Host+back.Path, "%d %s", a.Status, a.Body)
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {grafanaBack}, "code_verifier": {verifier},
	}.Encode()
	basic := func(secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("grafana:"+url.QueryEscape(secret)))
	}
	require.Equal(t, http.StatusUnauthorized, g.ask(t, http.MethodPost, "/api/oidc/token", basic("guessed"), form, nil))
	var token struct {
		Access string `json:"access_token"`
	}
	require.Equal(t, http.StatusOK, g.ask(t, http.MethodPost, "/api/oidc/token", basic(g.file(t, grafanaSecret)), form, &token))
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		var user struct {
			Name   string   `json:"preferred_username"`
			Groups []string `json:"groups"`
		}
		require.Equal(t, http.StatusOK, g.ask(t, method, "/api/oidc/userinfo", "Bearer "+token.Access, "", &user))
		assert.Equal(t, "admin", user.Name)
		assert.Contains(t, user.Groups, "admins")
	}
	require.Equal(t, http.StatusUnauthorized, g.ask(t, http.MethodGet, "/api/oidc/userinfo", "Bearer guessed", "", nil))
}

// testHandshake requires TLS 1.3 without a client certificate.
func (g *asker) testHandshake(t *testing.T) {
	config := g.place.TLS("auth.example.com", "h2")
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		assert.Fail(t, "the listener asks for a client certificate")
		return new(tls.Certificate), nil
	}
	conn, err := g.place.Connect(t.Context(), config)
	require.NoError(t, err)
	assert.Equal(t, uint16(tls.VersionTLS13), conn.ConnectionState().Version)
	require.NoError(t, conn.Close())
	config = g.place.TLS("auth.example.com", "h2")
	config.MaxVersion = tls.VersionTLS12
	_, err = g.place.Connect(t.Context(), config)
	require.Error(t, err, "TLS 1.2")
	_, err = g.place.Plain(t.Context(), "GET /jwks.json HTTP/1.1\r\nHost: auth.example.com\r\n\r\n")
	require.NoError(t, err)
	for _, name := range []string{"", "absent.example.com"} {
		config = g.place.TLS(name)
		config.InsecureSkipVerify = true
		_, err = g.place.Connect(t.Context(), config)
		require.Error(t, err, "a handshake for %q", name)
	}
}

// testOtherPaths asks for everything that is not the service's, in every spelling.
func (g *asker) testOtherPaths(t *testing.T) {
	for _, line := range []string{
		"GET /", "GET /api/health", "GET /api/state", "GET /api/configuration", "POST /api/firstfactor", "POST /api/secondfactor/totp", "GET /api/verify",
		"GET /api/authz/forward-auth", "PUT /api/user/session/elevation", "GET /static/js/index.js", "GET /metrics",
		"GET /api/oidc/authorization", "POST /api/oidc/introspection", "POST /api/oidc/revocation", "POST /api/oidc/pushed-authorization-request",
		"GET /.well-known/oauth-authorization-server", "GET /.well-known/openid-configuration/", "GET /jwks.json/", "GET /jwks.json/../api/state",
		"GET /api/oidc/token", "PUT /api/oidc/token", "DELETE /api/oidc/userinfo", "HEAD /jwks.json", "POST /jwks.json", "POST /.well-known/openid-configuration",
		"GET /jwks.json?x=1", "GET /jwks.json?", "GET /JWKS.json", "GET //jwks.json", "GET /./jwks.json", "GET /x/../jwks.json", "GET /jwks%2ejson", "GET /%6awks.json",
		"GET /jwks.json;x", "GET /api/oidc%2fuserinfo", "GET /api/oidc/userinfo%00", "GET /api//oidc/userinfo",
	} {
		t.Run(line, func(t *testing.T) {
			body := "Content-Length: 0\r\n"
			answers, err := g.place.Raw(t.Context(), "auth.example.com", line+" HTTP/1.1\r\nHost: auth.example.com\r\n"+body+"Connection: close\r\n\r\n")
			require.NoError(t, err)
			require.Len(t, answers, 1)
			assert.Contains(t, []int{http.StatusNotFound, http.StatusBadRequest}, answers[0].Status, "%s", answers[0].Body)
			assert.Empty(t, answers[0].Body, "the portal answered")
		})
	}
	for _, method := range []string{"TRACE", "CONNECT", "PROPFIND"} {
		answers, err := g.place.Raw(t.Context(), "auth.example.com", method+" /jwks.json HTTP/1.1\r\nHost: auth.example.com\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		for _, a := range answers {
			assert.GreaterOrEqual(t, a.Status, 400, method)
		}
	}
}

// testOtherHosts asks for what the proxy serves elsewhere.
func (g *asker) testOtherHosts(t *testing.T) {
	for _, host := range []string{requests, films} {
		for _, protocol := range []string{"h2", "http/1.1"} {
			a, err := g.place.Browser(protocol).Get(t.Context(), host+"/x")
			g.refused(t, a, err)
			assert.Error(t, err, "somebody answers for %s", host)
			a, err = g.place.Browser(protocol).Do(t.Context(), visitor.Request{URL: portal + "/jwks.json", Host: strings.TrimPrefix(host, "https://")})
			g.refused(t, a, err)
			require.NoError(t, err)
			assert.Equal(t, http.StatusMisdirectedRequest, a.Status)
		}
	}
}

// testLies requires that the portal, the engine and the logs know the asker by his own address.
func (g *asker) testLies(t *testing.T) {
	const lied = "203.0.113.201"
	for _, name := range []string{"X-Forwarded-For", "CF-Connecting-IP", "X-Real-IP", "Forwarded", "Probe-Client", "True-Client-IP"} {
		value := lied
		if name == "Forwarded" {
			value = "for=" + lied
		}
		a, err := g.place.Browser("h2").Do(t.Context(), visitor.Request{
			Method: http.MethodPost, URL: portal + "/api/oidc/token", Body: "grant_type=authorization_code",
			Header: map[string]string{name: value, "Content-Type": "application/x-www-form-urlencoded"},
		})
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, a.Status)
	}
	var known map[string]any
	a, err := g.place.Browser("h2").Do(t.Context(), visitor.Request{
		URL:    portal + "/.well-known/openid-configuration",
		Header: map[string]string{"X-Forwarded-Host": "evil.example.org", "X-Forwarded-Proto": "http", "X-Original-URL": "https://evil.example.org/", "Remote-User": "admin"},
	})
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(a.Body), &known))
	assert.Equal(t, portal, known["issuer"])
	for log, field := range map[string]string{"caddy/logs/access.log": "client_ip", "authelia/logs/authelia.log": "remote_ip"} {
		text := g.file(t, "/opt/homelab/"+log)
		assert.NotContains(t, text, lied, "%s believes the asker", log)
		assert.Contains(t, text, fmt.Sprintf(`%q:%q`, field, g.address), "%s does not know the asker", log)
	}
}

// testAttacks requires that what is asked is inspected, whatever the path.
func (g *asker) testAttacks(t *testing.T) {
	for _, r := range []visitor.Request{
		{Method: http.MethodPost, URL: portal + "/api/oidc/token", Body: attack},
		{Method: http.MethodPost, URL: portal + "/api/oidc/userinfo", Body: attack},
		{Method: http.MethodGet, URL: portal + "/jwks.json?q=1+UNION%20SELECT+2"},
		{Method: http.MethodGet, URL: portal + "/.env"},
	} {
		a, err := g.place.Browser("h2").Do(t.Context(), r)
		require.NoError(t, err)
		assert.Equal(t, http.StatusForbidden, a.Status, "%s %s", r.Method, r.URL)
	}
	a, err := g.place.Browser("h2").Do(t.Context(), visitor.Request{Method: http.MethodPost, URL: portal + "/api/oidc/token", Body: strings.Repeat("x", 65<<10)})
	require.NoError(t, err)
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status)
}

// scrape returns the proxy's series, as Prometheus gets them.
func (g *asker) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return g.Inside("caddy").DialContext(ctx, "tcp", g.Address("caddy", metricsPort))
	}}}
	answer, err := client.Get("http://caddy/metrics")
	require.NoError(t, err)
	defer func() { require.NoError(t, answer.Body.Close()) }()
	require.Equal(t, http.StatusOK, answer.StatusCode)
	out := map[string]float64{}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		end := strings.LastIndexByte(lines.Text(), ' ')
		if strings.HasPrefix(lines.Text(), "#") || end < 0 {
			continue
		}
		out[lines.Text()[:end]], err = strconv.ParseFloat(lines.Text()[end+1:], 64)
		require.NoError(t, err)
	}
	require.NoError(t, lines.Err())
	return out
}

// testSeries looks at what was counted so far, and tries to make series.
func (g *asker) testSeries(t *testing.T) {
	now := g.scrape(t)
	for _, name := range []string{
		`homelab_guard_inspections_total{stage="headers",verdict="pass"}`, `homelab_guard_inspections_total{stage="body",verdict="pass"}`,
		`homelab_guard_inspections_total{stage="headers",verdict="block"}`, `homelab_guard_inspections_total{stage="body",verdict="block"}`,
		`homelab_guard_inspections_total{stage="body",verdict="too_large"}`, `homelab_guard_lapi_pulls_total{result="ok"}`, "homelab_guard_last_pull_timestamp_seconds",
		`homelab_guard_response_duration_seconds_count{code="2xx",host="auth.example.com",server="inner"}`,
		`homelab_guard_response_duration_seconds_count{code="4xx",host="auth.example.com",server="inner"}`,
		`homelab_guard_response_duration_seconds_count{code="2xx",host="auth.example.com",server="public"}`,
	} {
		assert.Positive(t, now[name], name)
	}
	assert.Zero(t, now[`homelab_guard_inspections_total{stage="headers",verdict="none"}`])
	// Caddy has series of what it was asked, too: of this kind of request, and of a scrape.
	junk := func(n int) {
		answers, err := g.place.Raw(t.Context(), "auth.example.com", fmt.Sprintf("GET /jwks.json HTTP/1.1\r\nHost: auth.example.com:junk%d\r\nConnection: close\r\n\r\n", n))
		require.NoError(t, err)
		require.Len(t, answers, 1)
		require.NotEqual(t, http.StatusMisdirectedRequest, answers[0].Status, "a port after the host is compared: the test shows nothing any longer")
	}
	junk(0)
	g.scrape(t)
	now = g.scrape(t)
	for n := range 10 {
		junk(n + 1)
	}
	for name := range g.scrape(t) {
		_, known := now[name]
		assert.True(t, known, "a request made the series %s", name)
		assert.NotContains(t, name, "junk")
	}
}

// testBan requires that a decision counts for a container too, and ends.
func (g *asker) testBan(t *testing.T) {
	before := g.scrape(t)["homelab_guard_bans_total"]
	jwks := func() int { return g.ask(t, http.MethodGet, "/jwks.json", "", "", nil) }
	_, err := g.Box("crowdsec").Exec(nil, "cscli", "decisions", "add", "--ip", g.address.String(), "--duration", "1h", "--reason", "chain test")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return jwks() == http.StatusForbidden }, enforced, 250*time.Millisecond)
	assert.Positive(t, g.scrape(t)["homelab_guard_decisions"])
	assert.Greater(t, g.scrape(t)["homelab_guard_bans_total"], before)
	_, err = g.Box("crowdsec").Exec(nil, "cscli", "decisions", "delete", "--ip", g.address.String())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return jwks() == http.StatusOK }, enforced, 250*time.Millisecond)
}
