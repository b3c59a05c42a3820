package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/authority"
	"homelab/internal/rehearsal"
)

// proxy stands for the machine's: a listener with its names, of which each answers what it is told.
type proxy struct {
	// answers are by the name of the request; a status, and where it leads.
	answers map[string]func(path string) (int, string)
	// certificate: nobody gets past the handshake without one.
	certificate bool
	// loose: the name of the handshake does not matter.
	loose bool
}

// start serves it, and returns how to connect to it.
func (p proxy) start(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	ca, err := authority.Open(t.TempDir())
	require.NoError(t, err)
	pair, err := ca.Issue("example.com")
	require.NoError(t, err)
	settings := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}
	if p.certificate {
		settings.ClientAuth, settings.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: settings, Handler: p}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		assert.Equal(t, "tcp", network)
		assert.Contains(t, []string{"100.64.0.7:9443", "[fd7a:115c:a1e0::7]:9443", "198.51.100.1:8443"}, address)
		var d net.Dialer
		return d.DialContext(ctx, "tcp", listener.Addr().String())
	}
}

// ServeHTTP answers as Caddy does with strict_sni_host, and with abort for any other name.
func (p proxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	answer := p.answers[req.Host]
	if _, known := p.answers[req.TLS.ServerName]; !p.loose && (!known || answer == nil && req.Host == req.TLS.ServerName) {
		panic(http.ErrAbortHandler)
	}
	if !p.loose && req.Host != req.TLS.ServerName {
		w.WriteHeader(http.StatusMisdirectedRequest)
		return
	}
	if answer == nil {
		panic(http.ErrAbortHandler)
	}
	status, location := answer(req.URL.Path)
	if location != "" {
		w.Header().Set("Location", location)
	}
	w.WriteHeader(status)
}

func always(status int, location string) func(string) (int, string) {
	return func(string) (int, string) { return status, location }
}

var hostsDeclared = rehearsal.Declared{
	PublicPort: 8443, TailnetPort: 9443, Portal: "auth.example.com",
	Hostnames: []rehearsal.DeclaredHost{
		{Name: "auth.example.com", Public: true, Tailnet: true},
		{Name: "films.example.com", Public: true},
		{Name: "grafana.example.com", Tailnet: true, Guarded: true},
		{Name: "jellyfin.example.com", Tailnet: true},
		{Name: "radarr.example.com", Tailnet: true, Guarded: true, Open: []string{"^/homelab-probe$"}},
	},
}

func tailnetVisitor(dial func(context.Context, string, string) (net.Conn, error)) Visitor {
	return Visitor{Name: "hostnames, an admin", Listener: TailnetListener, Connects: true, Dial: dial, Addresses: func(context.Context) ([]netip.Addr, error) {
		return tailnetAddresses, nil
	}}
}

func publicVisitor(name string, connects bool, dial func(context.Context, string, string) (net.Conn, error)) Visitor {
	return Visitor{Name: name, Listener: PublicListener, Connects: connects, Dial: dial, Addresses: func(context.Context) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("198.51.100.1")}, nil
	}}
}

// ask makes passes enough for every path at every address.
func ask(t *testing.T, visitors ...Visitor) (Report, *Running) {
	t.Helper()
	r := &Running{options: Options{Hostnames: &Hostnames{Declared: hostsDeclared, Visitors: visitors}}, record: newRecord(func() int { return 1 })}
	names := map[string]bool{}
	require.NoError(t, r.options.Hostnames.validate(func(name string) {
		assert.False(t, names[name])
		names[name] = true
	}))
	for number := range 4 {
		r.lookAtHostnames(t.Context(), number)
	}
	return r.record.report(true), r
}

// good are the answers of a deployment that lets nobody past the portal.
func good() map[string]func(string) (int, string) {
	login := func(string) (int, string) {
		return http.StatusFound, "https://auth.example.com/?rd=https%3A%2F%2Fgrafana"
	}
	return map[string]func(string) (int, string){
		"auth.example.com": always(http.StatusOK, ""), "jellyfin.example.com": always(http.StatusFound, "/web/"), "grafana.example.com": login,
		"radarr.example.com": func(path string) (int, string) {
			if path == "/homelab-probe" {
				return http.StatusOK, ""
			}
			return http.StatusUnauthorized, ""
		},
	}
}

func TestHostnamesThatLetNobodyIn(t *testing.T) {
	t.Parallel()
	public := proxy{certificate: true, answers: map[string]func(string) (int, string){"films.example.com": always(200, "")}}
	refused := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("i/o timeout") }
	report, r := ask(t, tailnetVisitor(proxy{answers: good()}.start(t)), publicVisitor("hostnames, Cloudflare", true, public.start(t)), publicVisitor("hostnames, a stranger", false, refused))
	require.NoError(t, report.Err())
	assert.False(t, r.names.blind())
	seen := brief(report.Seen)
	for _, want := range []string{
		"hostnames, Cloudflare: https 8443 refused handshakes and requests without an answer",
		"hostnames, an admin: https 9443 open GET / of auth.example.com: 200",
		"hostnames, an admin: https 9443 open GET / of grafana.example.com: 302 to https://auth.example.com/",
		"hostnames, an admin: https 9443 open GET / of jellyfin.example.com: 302 to /web/",
		"hostnames, an admin: https 9443 open GET / of films.example.com in a handshake for auth.example.com: 421",
		"hostnames, an admin: https 9443 open GET / of homelab-probe.example.com in a handshake for auth.example.com: 421",
		"hostnames, an admin: https 9443 open GET / of radarr.example.com: 401",
		"hostnames, an admin: https 9443 open GET /homelab-probe of radarr.example.com: 200",
		"hostnames, an admin: https 9443 refused handshakes and requests without an answer",
	} {
		assert.Contains(t, seen, want)
	}
	require.Len(t, report.Looks, 3)
	for i, tries := range []int{4 * 11, 4, 4 * 9} { // five names, one that nobody knows, the address, and those of elsewhere in a handshake for another
		assert.Equal(t, tries, report.Looks[i].Tries, report.Looks[i].Where)
		assert.Positive(t, report.Looks[i].Sweeps)
	}
}

// Every way in that a proxy could leave open is found.
func TestHostnamesThatLetSomebodyIn(t *testing.T) {
	t.Parallel()
	answers := good()
	answers["grafana.example.com"] = always(http.StatusOK, "")
	answers["radarr.example.com"] = always(http.StatusFound, "https://auth.example.com.evil.example/")
	answers["films.example.com"] = always(http.StatusNotFound, "")
	answers["homelab-probe.example.com"] = always(http.StatusOK, "")
	answers["100.64.0.7"] = always(http.StatusOK, "")
	answers["[fd7a:115c:a1e0::7]"] = always(http.StatusOK, "")
	public := proxy{answers: map[string]func(string) (int, string){"films.example.com": always(http.StatusUnauthorized, "")}}
	report, _ := ask(t, tailnetVisitor(proxy{answers: answers, loose: true}.start(t)), publicVisitor("hostnames, Cloudflare", true, public.start(t)),
		publicVisitor("hostnames, a stranger", false, public.start(t)))
	assert.Empty(t, report.Problems)
	found := brief(report.Forbidden)
	for _, want := range []string{
		"hostnames, Cloudflare: https 8443 open GET / of films.example.com: 401",
		"hostnames, a stranger: tcp 8443 open a connection, and with it GET / of auth.example.com",
		"hostnames, an admin: https 9443 open GET / of 100.64.0.7 without a name in the handshake: 200",
		"hostnames, an admin: https 9443 open GET / of [fd7a:115c:a1e0::7] without a name in the handshake: 200",
		"hostnames, an admin: https 9443 open GET / of films.example.com: 404",
		"hostnames, an admin: https 9443 open GET / of films.example.com in a handshake for auth.example.com: 404",
		"hostnames, an admin: https 9443 open GET / of grafana.example.com: 200",
		"hostnames, an admin: https 9443 open GET / of homelab-probe.example.com: 200",
		"hostnames, an admin: https 9443 open GET / of radarr.example.com: 302 to https://auth.example.com.evil.example/",
		"hostnames, an admin: https 9443 open GET /homelab-probe of grafana.example.com: 200",
	} {
		assert.Contains(t, found, want)
	}
	for _, f := range found {
		assert.NotContains(t, f, "GET / of jellyfin.example.com", "it has a login of its own")
		assert.NotContains(t, f, "/homelab-probe of radarr", "the path is open")
	}
}

// Requests that nothing answers show nothing.
func TestHostnamesThatNeverAnswer(t *testing.T) {
	t.Parallel()
	report, r := ask(t, tailnetVisitor(proxy{certificate: true}.start(t)))
	assert.Empty(t, report.Forbidden)
	assert.True(t, r.names.blind())
	absent := tailnetVisitor(nil)
	absent.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody dials") }
	absent.Addresses = func(context.Context) ([]netip.Addr, error) { return nil, ErrAbsent }
	report, _ = ask(t, absent)
	assert.Equal(t, []string{"hostnames, an admin: not one pass could be made: " + ErrAbsent.Error()}, report.Problems)
}

func TestHostnamesThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	n := network(t)
	declared := rehearsal.Declared{Hostnames: []rehearsal.DeclaredHost{{Name: "a.example.com", Open: []string{"("}}}}
	_, err := Start(t.Context(), Options{Network: n, Machine: machine.ID, Hostnames: &Hostnames{Declared: declared, Visitors: []Visitor{{Name: insideName}}}})
	require.ErrorContains(t, err, `"nobody, inside" is no name of its own`)
	require.ErrorContains(t, err, "no way to dial, no addresses, or no listener")
	require.ErrorContains(t, err, "the open path of a.example.com")
	_, err = Start(t.Context(), Options{Network: n, Machine: machine.ID, Hostnames: &Hostnames{}, Containers: &Containers{}})
	require.ErrorContains(t, err, "nobody asks for the hostnames")
	require.ErrorContains(t, err, "nobody looks into the containers as root")
}
