package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xacme "golang.org/x/crypto/acme"

	"homelab/internal/machine/internal/acme"
	"homelab/internal/machine/internal/edge"
	"homelab/internal/machine/internal/edge/edgetest"
	"homelab/internal/machine/internal/link"
	"homelab/internal/rehearsal"
)

const requests = "requests.example.com"

// origin answers in the place of a machine with what it was asked, and by whom.
func origin(t *testing.T, l *Lab, at netip.Addr, clients *x509.CertPool) {
	t.Helper()
	listener, err := l.network.Listen(netip.AddrPortFrom(at, 443))
	require.NoError(t, err)
	certificate, err := l.authority.Issue(requests)
	require.NoError(t, err)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from, _, _ := net.SplitHostPort(r.RemoteAddr)
			_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName+", "+from+", "+r.Header.Get("CF-Connecting-IP"))
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS12},
		ErrorLog:  log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
}

// visit asks for the page as a visitor, through the address at which Cloudflare is.
func visit(t *testing.T, l *Lab, from, at netip.Addr) (int, string) {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.authority.Pool()}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return l.Dial(ctx, rehearsal.Target{Origin: rehearsal.FromInternet, From: from, Network: "tcp", Address: netip.AddrPortFrom(at, 443).String()})
		},
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get("https://" + requests + "/")
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(text)
}

// resolve asks the rehearsal's DNS, as a machine does.
func resolve(t *testing.T, l *Lab, name string) []string {
	t.Helper()
	conn, err := l.network.Dial(t.Context(), "udp", rehearsal.Visitor, netip.AddrPortFrom(link.NameServers[0], 53))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	answer, _, err := (&dns.Client{Timeout: 10 * time.Second}).ExchangeWithConn(new(dns.Msg).SetQuestion(name+".", dns.TypeA), &dns.Conn{Conn: conn})
	require.NoError(t, err)
	out := []string{}
	for _, rr := range answer.Answer {
		out = append(out, rr.(*dns.A).A.String())
	}
	return out
}

func TestVisitorsReachAnOriginThroughTheZone(t *testing.T) {
	state, cache := t.TempDir(), t.TempDir()
	l := open(t, state, cache)
	machine := netip.MustParseAddr("198.51.100.1")
	pull, key, clients := edgetest.PullCertificate(t)
	zone := rehearsal.Zone{
		Name: "example.com", Plan: "free", Settings: map[string]any{"ssl": "strict"}, OriginPulls: true,
		Records: []rehearsal.Record{
			{Name: requests, Type: "A", Content: machine.String(), Proxied: true}, {Name: "radarr.example.com", Type: "A", Content: "100.64.0.2"},
		},
		Certificates: []rehearsal.ClientCertificate{{ID: "1", Certificate: pull, PrivateKey: key}},
	}
	require.NoError(t, l.SetZone(t.Context(), zone))
	origin(t, l, machine, clients)
	stranger := netip.MustParseAddr("192.0.2.77")
	code, text := visit(t, l, stranger, rehearsal.EdgeIPv4)
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "example.com origin pull, "+rehearsal.EdgeOriginIPv4.String()+", "+stranger.String(), text)
	_, text = visit(t, l, rehearsal.Visitor6, rehearsal.EdgeIPv6)
	assert.Equal(t, "example.com origin pull, "+rehearsal.EdgeOriginIPv4.String()+", "+rehearsal.Visitor6.String(), text)
	assert.Equal(t, []string{rehearsal.EdgeIPv4.String()}, resolve(t, l, requests))
	assert.Equal(t, []string{"100.64.0.2"}, resolve(t, l, "radarr.example.com"))

	refused := zone
	refused.Settings = map[string]any{"ssl": "flexible"}
	require.ErrorContains(t, l.SetZone(t.Context(), refused), "ssl = flexible")
	info, err := os.Stat(filepath.Join(state, rehearsal.StateFile))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it has the zone's private key")
	require.NoError(t, l.Close(t.Context(), true))

	l = open(t, state, cache)
	origin(t, l, machine, clients)
	code, _ = visit(t, l, stranger, rehearsal.EdgeIPv4)
	assert.Equal(t, http.StatusOK, code, "the zone outlives the program, as it was before it was refused")
	got, err := l.Edge(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "example.com", got.Zone)
	assert.Equal(t, []netip.Addr{rehearsal.EdgeIPv4, rehearsal.EdgeIPv6}, got.Addresses)
	assert.Len(t, got.Hosts, 2)

	zone.Records = zone.Records[1:]
	require.NoError(t, l.SetZone(t.Context(), zone))
	code, text = visit(t, l, stranger, rehearsal.EdgeIPv4)
	assert.Equal(t, 530, code)
	assert.Equal(t, "error code: 1016\n", text)
	assert.Empty(t, resolve(t, l, requests), "a record that is gone")
	assert.Equal(t, []string{"100.64.0.2"}, resolve(t, l, "radarr.example.com"))
}

// client is one of a host on the internet that believes the rehearsal's authority, as the machine does.
func client(l *Lab, host string) *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.authority.Pool()}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			at := map[string]netip.Addr{edge.APIHost: apiAddresses[0], acme.Host: acmeAddress}[host]
			return l.Dial(ctx, rehearsal.Target{Origin: rehearsal.FromInternet, Network: "tcp", Address: netip.AddrPortFrom(at, 443).String()})
		},
	}}
}

// tell asks Cloudflare's API.
func tell(t *testing.T, l *Lab, method, path, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://"+edge.APIHost+"/client/v4/zones/0"+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer token")
	answer, err := client(l, edge.APIHost).Do(request)
	require.NoError(t, err)
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode, string(text))
}

// exchange asks the rehearsal's DNS for records of a type.
func exchange(t *testing.T, l *Lab, name string, kind uint16) []dns.RR {
	t.Helper()
	conn, err := l.network.Dial(t.Context(), "udp", rehearsal.Visitor, netip.AddrPortFrom(link.NameServers[1], 53))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	answer, _, err := (&dns.Client{Timeout: 10 * time.Second}).ExchangeWithConn(new(dns.Msg).SetQuestion(name+".", kind), &dns.Conn{Conn: conn})
	require.NoError(t, err)
	return answer.Answer
}

// As the machine's proxy does: it proves by Cloudflare's API that it has the name.
func TestACertificateIsOrderedByTheZone(t *testing.T) {
	state, cache := t.TempDir(), t.TempDir()
	l := open(t, state, cache)
	require.NoError(t, l.SetZone(t.Context(), rehearsal.Zone{ID: "0", Name: "example.com", Plan: "free"}))
	assert.Len(t, exchange(t, l, "example.com", dns.TypeSOA), 1)
	servers := exchange(t, l, "example.com", dns.TypeNS)
	require.Len(t, servers, 2)
	assert.Equal(t, []string{link.NameServers[0].String()}, resolve(t, l, strings.TrimSuffix(servers[0].(*dns.NS).Ns, ".")))

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	asking := &xacme.Client{Key: key, DirectoryURL: "https://" + acme.Host + "/directory", HTTPClient: client(l, acme.Host)}
	_, err = asking.Register(t.Context(), &xacme.Account{}, xacme.AcceptTOS)
	require.NoError(t, err)
	order, err := asking.AuthorizeOrder(t.Context(), xacme.DomainIDs(requests))
	require.NoError(t, err)
	proof, err := asking.GetAuthorization(t.Context(), order.AuthzURLs[0])
	require.NoError(t, err)
	record, err := asking.DNS01ChallengeRecord(proof.Challenges[0].Token)
	require.NoError(t, err)
	tell(t, l, http.MethodPost, "/dns_records", `{"type": "TXT", "name": "_acme-challenge.requests", "content": "\"`+record+`\"", "ttl": 60}`)
	found := exchange(t, l, "_acme-challenge.requests.example.com", dns.TypeTXT)
	require.Len(t, found, 1)
	assert.Equal(t, []string{record}, found[0].(*dns.TXT).Txt)
	_, err = asking.Accept(t.Context(), proof.Challenges[0])
	require.NoError(t, err)
	order, err = asking.WaitOrder(t.Context(), order.URI)
	require.NoError(t, err)
	certified, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{requests}}, certified)
	require.NoError(t, err)
	chain, _, err := asking.CreateOrderCert(t.Context(), order.FinalizeURL, csr, true)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(chain[0])
	require.NoError(t, err)
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: requests, Roots: l.authority.Pool()})
	require.NoError(t, err)
}

func TestBansOutliveTheProgram(t *testing.T) {
	state, cache := t.TempDir(), t.TempDir()
	l := open(t, state, cache)
	machine, banned := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.77")
	pull, key, clients := edgetest.PullCertificate(t)
	require.NoError(t, l.SetZone(t.Context(), rehearsal.Zone{
		ID: "0", Name: "example.com", Plan: "free", Settings: map[string]any{"ssl": "strict"}, OriginPulls: true,
		Records:      []rehearsal.Record{{Name: requests, Type: "A", Content: machine.String(), Proxied: true}},
		Certificates: []rehearsal.ClientCertificate{{ID: "1", Certificate: pull, PrivateKey: key}},
	}))
	tell(t, l, http.MethodPost, "/firewall/access_rules/rules", `{"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.77"}, "notes": "n"}`)
	tell(t, l, http.MethodPost, "/dns_records", `{"type": "TXT", "name": "_acme-challenge", "content": "x"}`)
	require.NoError(t, l.Close(t.Context(), true))

	l = open(t, state, cache)
	origin(t, l, machine, clients)
	code, text := visit(t, l, banned, rehearsal.EdgeIPv4)
	assert.Equal(t, http.StatusForbidden, code)
	assert.Equal(t, "error code: 1006\n", text)
	code, _ = visit(t, l, banned.Next(), rehearsal.EdgeIPv4)
	assert.Equal(t, http.StatusOK, code)
	assert.Len(t, exchange(t, l, "_acme-challenge.example.com", dns.TypeTXT), 1)
	got, err := l.Edge(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"192.0.2.77"}, got.Banned)
	tell(t, l, http.MethodDelete, "/dns_records/"+l.edge.Told().Records[0].ID, "")
	assert.Empty(t, exchange(t, l, "_acme-challenge.example.com", dns.TypeTXT))
	tell(t, l, http.MethodDelete, "/firewall/access_rules/rules/"+l.edge.Told().Access[0].ID, "")
	code, _ = visit(t, l, banned, rehearsal.EdgeIPv4)
	assert.Equal(t, http.StatusOK, code)
}
