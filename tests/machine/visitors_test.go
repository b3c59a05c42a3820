//go:build machine

package machine

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
	"homelab/tests/internal/totp"
)

// Hostnames of the production example.
const (
	portal   = "https://auth.example.com"
	requests = "https://requests.example.com" // public, two factors, group users
	films    = "https://jellyfin.example.com" // tailnet, its own login
)

// visitor is a person's browser, which keeps cookies and follows no redirect. Public hostnames it
// reaches through Cloudflare, the others over the tailnet as this computer.
type visitor struct {
	lab    *lab
	client *http.Client
}

// visitor opens a browser at an address of the internet.
func (l *lab) visitor(from string) *visitor {
	l.t.Helper()
	edge, err := l.client.Edge(l.t.Context())
	require.NoError(l.t, err)
	roots := x509.NewCertPool()
	require.True(l.t, roots.AppendCertsFromPEM([]byte(edge.Authority)))
	jar, err := cookiejar.New(nil)
	require.NoError(l.t, err)
	transport := &http.Transport{
		DialContext: rehearsal.Visits(l.client, netip.MustParseAddr(from)), TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true,
	}
	l.t.Cleanup(transport.CloseIdleConnections)
	return &visitor{l, &http.Client{
		Transport: transport, Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response with its whole body.
type answer struct {
	status   int
	location string
	body     string
}

// ask makes a request; a body is JSON.
func (v *visitor) ask(method, address string, body any) (answer, error) {
	v.lab.t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		require.NoError(v.lab.t, err)
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(v.lab.t.Context(), method, address, content)
	require.NoError(v.lab.t, err)
	request.Header.Set("Accept", "text/html,*/*;q=0.8")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", "application/json")
	}
	response, err := v.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return answer{response.StatusCode, response.Header.Get("Location"), string(text)}, err
}

// get asks for a page, which must be answered.
func (v *visitor) get(address string) answer {
	v.lab.t.Helper()
	a, err := v.ask(http.MethodGet, address, nil)
	require.NoError(v.lab.t, err)
	return a
}

// portal makes a call of the portal's API that must succeed, and returns its data.
func (v *visitor) portal(method, path string, body map[string]any) map[string]any {
	v.lab.t.Helper()
	a, err := v.ask(method, portal+path, body)
	require.NoError(v.lab.t, err)
	var said struct {
		Status string `json:"status"`
		Data   any    `json:"data"`
	}
	require.NoError(v.lab.t, json.Unmarshal([]byte(a.body), &said), "%s %s: %d %s", method, path, a.status, a.body)
	require.Equal(v.lab.t, "OK", said.Status, "%s %s: %d %s", method, path, a.status, a.body)
	data, _ := said.Data.(map[string]any) // some calls have none
	return data
}

// first logs in with a password.
func (v *visitor) first(name string) {
	v.lab.t.Helper()
	var passwords map[string]string
	require.NoError(v.lab.t, json.Unmarshal([]byte(v.lab.output("initialPasswords")), &passwords))
	v.portal(http.MethodPost, "/api/firstfactor", map[string]any{
		"username": name, "password": passwords[name], "keepMeLoggedIn": false, "targetURL": requests + "/", "requestMethod": "GET",
	})
}

// second shows a code of the person's authenticator app. No code is taken twice, so it waits for the
// next one where that was used.
func (v *visitor) second(secret string) {
	v.lab.t.Helper()
	v.portal(http.MethodPost, "/api/secondfactor/totp", map[string]any{"token": v.lab.code(secret), "targetURL": requests + "/"})
}

// used are the steps of 30 seconds whose codes were shown, by secret.
var used = map[string]int64{}

func (l *lab) code(secret string) string {
	l.t.Helper()
	for time.Now().Unix()/30 <= used[secret] {
		time.Sleep(time.Second)
	}
	now := time.Now()
	used[secret] = now.Unix() / 30
	code, err := totp.Code(secret, now)
	require.NoError(l.t, err)
	return code
}

var mailedCode = regexp.MustCompile(`(?m)^-+\s+([A-Z0-9]{8})\s+-+$`)

// enrol registers an authenticator app, as a person does at the first login: with a code from the
// portal's mail, which is a file on the server that only root can read.
func (v *visitor) enrol() (secret string) {
	v.lab.t.Helper()
	v.portal(http.MethodPost, "/api/user/info", map[string]any{})
	v.portal(http.MethodPost, "/api/user/session/elevation", map[string]any{})
	mail := v.lab.root("cat /opt/homelab/authelia/data/notifications.txt")
	found := mailedCode.FindStringSubmatch(mail)
	require.NotNil(v.lab.t, found, "no code in the portal's mail: %s", mail)
	v.portal(http.MethodPut, "/api/user/session/elevation", map[string]any{"otc": found[1]})
	device := v.portal(http.MethodPut, "/api/secondfactor/totp/register", map[string]any{"algorithm": "SHA1", "length": 6, "period": 30})
	secret, _ = device["base32_secret"].(string)
	require.NotEmpty(v.lab.t, secret)
	v.portal(http.MethodPost, "/api/secondfactor/totp/register", map[string]any{"token": v.lab.code(secret)})
	return secret
}

// toPortal requires that the visitor is sent to the portal.
func (v *visitor) toPortal(a answer) {
	v.lab.t.Helper()
	assert.Equal(v.lab.t, http.StatusFound, a.status, "%s", a.body)
	assert.True(v.lab.t, strings.HasPrefix(a.location, portal+"/?rd="), "sent to %q", a.location)
}

// person is somebody with an authenticator app.
type person struct{ name, secret string }

// admits logs the person in from an address, to the service.
func (l *lab) admits(p person, from string) {
	l.t.Helper()
	v := l.visitor(from)
	v.toPortal(v.get(requests + "/"))
	v.first(p.name)
	v.toPortal(v.get(requests + "/"))
	v.second(p.secret)
	a := v.get(requests + "/api/v1/status")
	assert.Equal(l.t, http.StatusOK, a.status, "%s", a.body)
}

// visitors come through Cloudflare: they log in, are refused an attack, and are banned.
func (l *lab) visitors() {
	v := l.visitor("198.51.100.61")
	v.toPortal(v.get(requests + "/"))
	v.first("family")
	secret := v.enrol()
	l.admits(person{"family", secret}, "198.51.100.62")

	films := l.visitor("198.51.100.61").get(films + "/System/Info/Public")
	assert.Equal(l.t, http.StatusOK, films.status, "over the tailnet: %s", films.body)

	for _, attack := range []string{"/?q=<script>alert(1)</script>", "/.env", "/?file=../../../../etc/passwd"} {
		a := l.visitor("198.51.100.63").get(requests + strings.NewReplacer("<", "%3C", ">", "%3E").Replace(attack))
		assert.Equal(l.t, http.StatusForbidden, a.status, "%s: %s", attack, a.body)
	}
	l.bans()
}

// bans lets somebody guess passwords until nobody talks to him any more; his neighbour goes on, and
// nobody at Cloudflare is banned for it.
func (l *lab) bans() {
	guesser, neighbour := l.visitor("198.51.100.64"), l.visitor("198.51.100.65")
	l.eventually(5*time.Minute, func() []string {
		_, _ = guesser.ask(http.MethodPost, portal+"/api/firstfactor", map[string]any{"username": "family", "password": "guess"}) // whatever it answers
		if a, err := guesser.ask(http.MethodGet, requests+"/", nil); err != nil || a.status != http.StatusForbidden {
			return []string{fmt.Sprintf("the guesser gets %d (%v)", a.status, err)}
		}
		return nil
	})
	neighbour.toPortal(neighbour.get(requests + "/"))
	var edge rehearsal.Edge
	l.eventually(5*time.Minute, func() []string { // Fail2ban reads the log after CrowdSec
		var err error
		if edge, err = l.client.Edge(l.t.Context()); err != nil || !slices.Contains(edge.Banned, "198.51.100.64") {
			return []string{fmt.Sprintf("Cloudflare keeps out %v (%v)", edge.Banned, err)}
		}
		return nil
	})
	assert.Subset(l.t, []string{"198.51.100.63", "198.51.100.64"}, edge.Banned, "nobody else is banned at Cloudflare")
	out, err := l.shell("docker exec crowdsec cscli decisions list --output json")
	require.NoError(l.t, err)
	assert.Contains(l.t, out, "198.51.100.64")
	for _, asks := range []netip.Addr{rehearsal.EdgeOriginIPv4, rehearsal.EdgeOriginIPv6} {
		assert.NotContains(l.t, out, asks.String(), "the machine sees it as who connects")
	}
}
