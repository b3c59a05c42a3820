package rehearsal

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// world has two hostnames, and one server for everybody.
type world struct {
	dialled []Target
	server  string
	err     error
}

func (w *world) Edge(context.Context) (Edge, error) {
	return Edge{Zone: "example.com", Hosts: []EdgeHost{
		{Name: "radarr.example.com", Addresses: []netip.Addr{netip.MustParseAddr("100.64.0.2")}},
		{Name: "requests.example.com", Addresses: []netip.Addr{EdgeIPv4, EdgeIPv6}, Proxied: true},
	}}, w.err
}

func (w *world) Dial(ctx context.Context, target Target) (net.Conn, error) {
	w.dialled = append(w.dialled, target)
	var d net.Dialer
	return d.DialContext(ctx, "tcp", w.server)
}

func TestVisitsGoTheWayOfTheRecord(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	w := &world{server: listener.Addr().String()}
	for _, each := range []struct {
		from    netip.Addr
		address string
		want    Target
	}{
		{netip.Addr{}, "requests.example.com:443", Target{FromInternet, Visitor, "tcp", "104.16.0.1:443"}},
		{Visitor6, "Requests.example.com:8443", Target{FromInternet, Visitor6, "tcp", "[2606:4700::6810:1]:8443"}},
		{Visitor6, "radarr.example.com:443", Target{FromTailnet, netip.Addr{}, "tcp", "100.64.0.2:443"}},
	} {
		w.dialled = nil
		conn, err := Visits(w, each.from)(t.Context(), "tcp", each.address)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		assert.Equal(t, []Target{each.want}, w.dialled)
	}
	w.dialled = nil
	_, err = Visits(w, Visitor)(t.Context(), "tcp", "example.org:443")
	require.ErrorContains(t, err, "the zone has no host example.org")
	_, err = Visits(w, Visitor)(t.Context(), "tcp", "example.org")
	require.Error(t, err)
	w.err = errors.New("homelab-machine does not answer")
	_, err = Visits(w, Visitor)(t.Context(), "tcp", "requests.example.com:443")
	require.ErrorIs(t, err, w.err)
	assert.Empty(t, w.dialled)
}

func TestABrowsersProxy(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Host, " ", r.URL, " ", r.TLS != nil)
	})
	secure, plain := httptest.NewTLSServer(answer), httptest.NewServer(answer)
	t.Cleanup(secure.Close)
	t.Cleanup(plain.Close)
	w := &world{server: secure.Listener.Addr().String()}
	proxy := httptest.NewServer(Proxy(Visits(w, Visitor)))
	t.Cleanup(proxy.Close)
	address, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	browser := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyURL(address), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // the server is httptest's
	}}
	get := func(url string) (int, string) {
		answer, err := browser.Get(url)
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer.StatusCode, string(text)
	}
	code, text := get("https://requests.example.com/a?b=c")
	assert.Equal(t, 200, code)
	assert.Equal(t, "requests.example.com /a?b=c true", text)
	w.server = plain.Listener.Addr().String()
	_, text = get("http://requests.example.com/a")
	assert.Equal(t, "requests.example.com /a false", text)
	assert.Equal(t, []string{"104.16.0.1:443", "104.16.0.1:80"}, []string{w.dialled[0].Address, w.dialled[1].Address})

	code, text = get("http://example.org/")
	assert.Equal(t, http.StatusBadGateway, code)
	assert.Contains(t, text, "the zone has no host example.org")
	_, err = browser.Get("https://example.org/")
	require.ErrorContains(t, err, "Bad Gateway", "nothing leaves the rehearsal")
	direct, err := http.Get(proxy.URL)
	require.NoError(t, err)
	require.NoError(t, direct.Body.Close())
	assert.Equal(t, http.StatusBadRequest, direct.StatusCode)
}
