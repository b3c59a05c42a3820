package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/authority"
	"homelab/internal/machine/internal/edge/edgetest"
	"homelab/internal/rehearsal"
)

const host = "requests.example.com"

var (
	machine = netip.MustParseAddr("198.51.100.1")
	six     = netip.MustParseAddr("2001:db8:1::1")
)

// stage is an edge with a zone, and the machine behind it.
type stage struct {
	*testing.T

	edge      *Edge
	authority *authority.Authority
	zone      rehearsal.Zone
	clock     time.Time
	dialled   []string // from and to
	broken    error    // what a dial ends with
	address   string   // where the origin really is

	mu   sync.Mutex
	seen []*http.Request // by the origin
}

// declared is the zone as the program declares it, with one hostname.
func declared(t *testing.T) (rehearsal.Zone, *x509.CertPool) {
	t.Helper()
	certificate, key, pool := edgetest.PullCertificate(t)
	rule := func(ref, action, expression string) rehearsal.ZoneRule {
		return rehearsal.ZoneRule{Ref: ref, Description: ref, Action: action, Expression: expression, Enabled: true}
	}
	limited := rule("homelab-login-rate", "block", `(starts_with(http.request.uri.path, "/api/firstfactor"))`)
	limited.RateLimit = &rehearsal.RateLimit{Characteristics: []string{"cf.colo.id", "ip.src"}, Requests: 2, PeriodSeconds: 10, BlockSeconds: 10}
	uncached := rule("homelab-no-cache", "set_cache_settings", `http.host in {"requests.example.com"}`)
	uncached.Parameters = map[string]any{"cache": false}
	return rehearsal.Zone{
		ID: "0", Name: "example.com", Plan: "free",
		Records: []rehearsal.Record{
			{Name: host, Type: "A", Content: machine.String(), Proxied: true},
			{Name: "radarr.example.com", Type: "A", Content: "100.64.0.2"},
		},
		Settings: map[string]any{
			"ssl": "strict", "always_use_https": "on", "min_tls_version": "1.2", "tls_1_3": "on", "browser_check": "on", "0rtt": "off",
			"security_header": map[string]any{"strict_transport_security": map[string]any{
				"enabled": true, "max_age": 31536000.0, "include_subdomains": true, "preload": false, "nosniff": true,
			}},
		},
		Normalization: &rehearsal.Normalization{Type: "cloudflare", Scope: "both"},
		Rulesets: []rehearsal.Ruleset{
			{Phase: phaseCustom, Rules: []rehearsal.ZoneRule{
				rule("homelab-unwanted", "block", `(http.request.method in {"TRACE"}) or (starts_with(lower(http.request.uri.path), "/.env")) or (ip.src.country in {"KP" "T1"})`),
				rule("homelab-identity-headers", "block", `any(lower(http.request.headers.names[*])[*] in {"remote-user"})`),
				rule("user-challenge", "managed_challenge", `http.request.uri.path eq "/challenged"`),
			}},
			{Phase: phaseManaged, Rules: []rehearsal.ZoneRule{rule("homelab-free-managed", "execute", "true")}},
			{Phase: phaseRateLimit, Rules: []rehearsal.ZoneRule{limited}},
			{Phase: phaseCache, Rules: []rehearsal.ZoneRule{uncached}},
		},
		OriginPulls: true, Certificates: []rehearsal.ClientCertificate{{ID: "1", Certificate: certificate, PrivateKey: key}},
	}, pool
}

// newStage starts an origin that wants the zone's client certificate, and an edge before it. names
// are those of the origin's own certificate.
func newStage(t *testing.T, answer http.HandlerFunc, names ...string) *stage {
	t.Helper()
	s := &stage{T: t, clock: time.Unix(1e9, 0)}
	var err error
	s.authority, err = authority.Open(t.TempDir())
	require.NoError(t, err)
	var clients *x509.CertPool
	s.zone, clients = declared(t)
	own, err := s.authority.Issue(append(names, host)[:max(1, len(names))]...)
	require.NoError(t, err)
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r)
		s.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	origin.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS13}
	origin.EnableHTTP2, origin.Config.ErrorLog = true, log.New(io.Discard, "", 0)
	origin.StartTLS()
	t.Cleanup(origin.Close)
	s.address = origin.Listener.Addr().String()
	s.edge, err = New(Options{Authority: s.authority, Now: func() time.Time { return s.clock }, Dial: s.dial})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.edge.Close()) })
	require.NoError(t, s.edge.SetZone(s.zone))
	return s
}

func (s *stage) dial(ctx context.Context, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	s.dialled = append(s.dialled, fmt.Sprint(from, " ", to))
	if s.broken != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: s.broken}
	}
	var d net.Dialer
	return d.DialContext(ctx, network, s.address)
}

// ask makes a request as a visitor, and returns the answer.
func (s *stage) ask(visitor netip.Addr, method, url string, change ...func(*http.Request)) *http.Response {
	s.Helper()
	r := httptest.NewRequest(method, url, nil)
	r.RemoteAddr = netip.AddrPortFrom(visitor, 4711).String()
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	s.edge.ServeHTTP(w, r)
	return w.Result()
}

// get asks for a page as the visitor whom nobody knows.
func (s *stage) get(url string, change ...func(*http.Request)) *http.Response {
	s.Helper()
	return s.ask(rehearsal.Visitor, http.MethodGet, url, change...)
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(text)
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestARequestReachesTheOriginAsCloudflareSendsIt(t *testing.T) {
	s := newStage(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "Caddy")
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		_, _ = io.WriteString(w, "a page")
	})
	answer := s.get("https://"+host+"//a%2fb/%2e%2e/c%41?q=%20;x", header("CF-Connecting-IP", "127.0.0.1"), header("X-Forwarded-For", "10.0.0.1"),
		header("Forwarded", "for=10.0.0.1"), header("Cookie", "a=b"))
	require.Equal(t, http.StatusOK, answer.StatusCode)
	assert.Equal(t, "a page", body(t, answer))
	assert.Equal(t, []string{"cloudflare"}, answer.Header["Server"])
	assert.Equal(t, []string{"max-age=31536000; includeSubDomains"}, answer.Header["Strict-Transport-Security"])
	assert.Equal(t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
	assert.Equal(t, []string{"BYPASS"}, answer.Header["Cf-Cache-Status"])
	require.Len(t, answer.Header["Cf-Ray"], 1)

	require.Len(t, s.seen, 1)
	got := s.seen[0]
	assert.Equal(t, host, got.Host)
	assert.Equal(t, host, got.TLS.ServerName)
	assert.Equal(t, "example.com origin pull", got.TLS.PeerCertificates[0].Subject.CommonName)
	assert.Equal(t, "HTTP/2.0", got.Proto)
	assert.Equal(t, "/cA?q=%20;x", got.RequestURI)
	for name, want := range map[string]string{
		"Cf-Connecting-Ip": rehearsal.Visitor.String(), "X-Forwarded-For": "10.0.0.1, " + rehearsal.Visitor.String(), "X-Forwarded-Proto": "https",
		"Cf-Visitor": `{"scheme":"https"}`, "Cdn-Loop": "cloudflare; loops=1", "Cf-Ipcountry": "XX", "Cf-Ray": answer.Header["Cf-Ray"][0],
		"Forwarded": "for=10.0.0.1", "Cookie": "a=b",
	} {
		assert.Equal(t, []string{want}, got.Header[name], name)
	}
	assert.Equal(t, []string{rehearsal.EdgeOriginIPv4.String() + " 198.51.100.1:443"}, s.dialled)

	german, _ := rehearsal.VisitorFrom("DE")
	s.ask(german, http.MethodGet, "https://"+host+"/")
	assert.Equal(t, "DE", s.seen[1].Header.Get("Cf-Ipcountry"))
	assert.Equal(t, german.String(), s.seen[1].Header.Get("Cf-Connecting-Ip"))
	s.ask(rehearsal.Visitor6, http.MethodGet, "https://"+host+"/")
	assert.Equal(t, rehearsal.Visitor6.String(), s.seen[2].Header.Get("Cf-Connecting-Ip"))
	assert.Len(t, s.dialled, 1, "the connection is kept")

	s.zone.Normalization = &rehearsal.Normalization{Type: "rfc3986", Scope: "incoming"}
	require.NoError(t, s.edge.SetZone(s.zone))
	s.get("https://" + host + "/a/%2e%2e/%41")
	assert.Equal(t, "/a/%2e%2e/%41", s.seen[3].RequestURI, "normalized for the rules alone")
}

func TestRulesKeepRequestsFromTheOrigin(t *testing.T) {
	s := newStage(t, nil)
	for url, want := range map[string]int{"/.env": 403, "//.EN%56": 403, "/a/%2e%2e/.env": 403, "/challenged": 403, "/env": 200} {
		answer := s.get("https://" + host + url)
		assert.Equal(t, want, answer.StatusCode, url)
		text := body(t, answer)
		assert.Equal(t, url == "/challenged", answer.Header.Get("Cf-Mitigated") == "challenge", url)
		assert.Equal(t, want == 403 && url != "/challenged", text == "error code: 1020\n", text)
	}
	assert.Equal(t, 403, s.get("https://"+host+"/", header("Remote-User", "admin")).StatusCode)
	assert.Equal(t, 403, s.ask(rehearsal.Visitor, http.MethodTrace, "https://"+host+"/").StatusCode)
	for code, want := range map[string]int{"KP": 403, "T1": 403, "DE": 200} {
		visitor, _ := rehearsal.VisitorFrom(code)
		assert.Equal(t, want, s.ask(visitor, http.MethodGet, "https://"+host+"/").StatusCode, code)
	}
	assert.Len(t, s.seen, 2, "nothing else reached the origin")
	s.zone.Rulesets[0].Rules[0].Enabled = false
	require.NoError(t, s.edge.SetZone(s.zone))
	assert.Equal(t, 200, s.get("https://"+host+"/.env").StatusCode)
}

func TestLoginsAreCountedForEachVisitor(t *testing.T) {
	s := newStage(t, nil)
	login := func(visitor netip.Addr) int {
		answer := s.ask(visitor, http.MethodPost, "https://"+host+"/api/firstfactor")
		if answer.StatusCode == http.StatusTooManyRequests {
			assert.Equal(t, "error code: 1015\n", body(t, answer))
			assert.Equal(t, "10", answer.Header.Get("Retry-After"))
		}
		return answer.StatusCode
	}
	mine, other := netip.MustParseAddr("203.0.113.201"), netip.MustParseAddr("203.0.113.202")
	assert.Equal(t, []int{200, 200, 429, 429}, []int{login(mine), login(mine), login(mine), login(mine)})
	assert.Equal(t, 200, login(other))
	assert.Equal(t, 200, s.ask(mine, http.MethodGet, "https://"+host+"/").StatusCode, "other paths are not limited")
	s.clock = s.clock.Add(9 * time.Second)
	s.zone.Settings["brotli"] = "on"
	require.NoError(t, s.edge.SetZone(s.zone))
	assert.Equal(t, 429, login(mine), "another change of the zone forgets nobody")
	s.clock = s.clock.Add(2 * time.Second)
	assert.Equal(t, []int{200, 200, 429}, []int{login(mine), login(mine), login(mine)})
	s.clock = s.clock.Add(21 * time.Second)
	assert.Equal(t, 200, login(mine))
}

func TestNobodyAnswersForWhatIsNoHostname(t *testing.T) {
	s := newStage(t, nil)
	for _, url := range []string{"https://radarr.example.com/", "https://nobody.example.com/", "https://example.org/", "https://198.51.100.1/"} {
		answer := s.get(url)
		assert.Equal(t, 530, answer.StatusCode, url)
		assert.Equal(t, "error code: 1016\n", body(t, answer), url)
	}
	s.zone.Records = s.zone.Records[1:]
	require.NoError(t, s.edge.SetZone(s.zone))
	assert.Equal(t, 530, s.get("https://"+host+"/").StatusCode, "a record that is gone")
	assert.Empty(t, s.dialled)
	empty, err := New(Options{Authority: s.authority, Dial: s.dial})
	require.NoError(t, err)
	s.edge = empty
	assert.Equal(t, 530, s.get("https://"+host+"/").StatusCode)
}

func TestPlainRequestsAreSentToHTTPS(t *testing.T) {
	s := newStage(t, nil)
	answer := s.get("http://" + host + "/a%2Fb?q=1")
	assert.Equal(t, http.StatusMovedPermanently, answer.StatusCode)
	assert.Equal(t, "https://"+host+"/a%2Fb?q=1", answer.Header.Get("Location"))
	assert.Empty(t, answer.Header.Get("Strict-Transport-Security"))
	assert.Empty(t, s.dialled)
}

func TestAnOriginThatIsNotTheOneMeant(t *testing.T) {
	other := newStage(t, nil, "other.example.com")
	answer := other.get("https://" + host + "/")
	assert.Equal(t, 526, answer.StatusCode, "its certificate is for another name")
	assert.Equal(t, "error code: 526\n", body(t, answer))
	assert.Empty(t, other.seen)
	other.zone.Settings["ssl"] = "full"
	require.NoError(t, other.edge.SetZone(other.zone))
	assert.Equal(t, 200, other.get("https://"+host+"/").StatusCode, "full does not verify")

	s := newStage(t, nil)
	stranger := s.zone
	certificate, key, _ := edgetest.PullCertificate(t)
	stranger.Certificates = append(stranger.Certificates, rehearsal.ClientCertificate{ID: "2", Certificate: certificate, PrivateKey: key})
	require.NoError(t, s.edge.SetZone(stranger))
	assert.Contains(t, []int{520, 525}, s.get("https://"+host+"/").StatusCode, "the newest certificate is shown, which this origin does not know")
	s.zone.OriginPulls = false
	require.NoError(t, s.edge.SetZone(s.zone))
	// With TLS 1.3 an origin refuses a client when that has begun to speak already.
	assert.Contains(t, []int{520, 525}, s.get("https://"+host+"/").StatusCode, "the origin wants the zone's certificate")
	assert.Empty(t, s.seen)
}

func TestAnOriginThatDoesNotAnswer(t *testing.T) {
	s := newStage(t, nil)
	for err, want := range map[error]int{syscall.ECONNREFUSED: 521, syscall.EHOSTUNREACH: 523, io.ErrUnexpectedEOF: 520, errNoTime: 522} {
		s.broken = err
		answer := s.get("https://" + host + "/")
		assert.Equal(t, want, answer.StatusCode, err)
		assert.Equal(t, fmt.Sprintf("error code: %d\n", want), body(t, answer))
	}
	s.dialled = nil
	s.zone.Records = []rehearsal.Record{{Name: host, Type: "AAAA", Content: six.String(), Proxied: true}, s.zone.Records[0]}
	require.NoError(t, s.edge.SetZone(s.zone))
	s.get("https://" + host + "/")
	assert.Equal(t, []string{rehearsal.EdgeOriginIPv6.String() + " [2001:db8:1::1]:443", rehearsal.EdgeOriginIPv4.String() + " 198.51.100.1:443"}, s.dialled)
}

func TestOnlyWhatIsNotForbiddenIsCached(t *testing.T) {
	cacheControl, n := "", 0
	s := newStage(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		if cacheControl != "" {
			w.Header().Set("Cache-Control", cacheControl)
		}
		_, _ = fmt.Fprint(w, n)
	})
	ask := func(path string) string {
		answer := s.get("https://" + host + path)
		return strings.Join(answer.Header["Cf-Cache-Status"], ",") + " " + body(t, answer)
	}
	assert.Equal(t, []string{"BYPASS 1", "BYPASS 2"}, []string{ask("/a.css"), ask("/a.css")}, "as the program declares it")
	s.zone.Rulesets = s.zone.Rulesets[:3]
	require.NoError(t, s.edge.SetZone(s.zone))
	assert.Equal(t, []string{"MISS 3", "HIT 3", "MISS 4", "DYNAMIC 5"}, []string{ask("/a.css"), ask("/a.css"), ask("/a.css?b"), ask("/a")},
		"without the rule a style sheet is kept for everybody")
	s.clock = s.clock.Add(cacheTime)
	cacheControl = "private"
	assert.Equal(t, []string{"MISS 6", "MISS 7"}, []string{ask("/a.css"), ask("/a.css")})
	cacheControl = "public, max-age=5"
	assert.Equal(t, []string{"MISS 8", "HIT 8"}, []string{ask("/a.css"), ask("/a.css")})
	s.clock = s.clock.Add(5 * time.Second)
	assert.Equal(t, "MISS 9", ask("/a.css"))
}

func TestUploadsHaveThePlansLimit(t *testing.T) {
	s := newStage(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	small := s.ask(rehearsal.Visitor, http.MethodPost, "https://"+host+"/", func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1
	})
	assert.Equal(t, http.StatusOK, small.StatusCode)
	big := func(length int64) *http.Response {
		return s.ask(rehearsal.Visitor, http.MethodPost, "https://"+host+"/", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 100e6+1)), length
		})
	}
	assert.Equal(t, http.StatusRequestEntityTooLarge, big(100e6+1).StatusCode)
	assert.Len(t, s.seen, 1)
	assert.Equal(t, http.StatusRequestEntityTooLarge, big(-1).StatusCode, "one that does not say how long it is")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
