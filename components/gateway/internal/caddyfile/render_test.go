package caddyfile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/gateway/internal/caddyfile"
	"homelab/components/gateway/internal/example"
	"homelab/components/internal/access"
	"homelab/components/internal/golden"
)

func production() caddyfile.Model {
	return caddyfile.Model{
		Sites:          example.Sites(),
		Portal:         caddyfile.Portal{Hostname: example.Portal, Upstream: "authelia:9091", Visibilities: []access.Visibility{access.Public}},
		TrustedProxies: example.CloudflareRanges(),
		ACME:           caddyfile.ACME{Email: "admin@example.com"},
		CrowdSec:       caddyfile.CrowdSec{LAPI: "http://crowdsec:8080", AppSec: "http://crowdsec:7422"},
		SessionCookie:  "homelab_session",
		Listen:         caddyfile.DefaultListen(),
		Paths:          caddyfile.DefaultPaths(),
	}
}

func TestCaddyfile(t *testing.T) {
	for name, change := range map[string]func(*caddyfile.Model){
		"production": func(*caddyfile.Model) {},
		"tailnet only": func(m *caddyfile.Model) {
			m.Sites = m.Sites[3:]
			m.Portal.Visibilities = []access.Visibility{access.Tailnet}
		},
		"on loopback": func(m *caddyfile.Model) {
			m.ACME.LocalAuthority = true
			m.CrowdSec.Interval = time.Second
			m.Listen.Address = "127.0.0.1"
			m.Portal.Visibilities = []access.Visibility{access.Public, access.Tailnet}
		},
		"without OpenID": func(m *caddyfile.Model) {
			for i := range m.Sites {
				m.Sites[i].OpenID = nil
			}
		},
		"another authority": func(m *caddyfile.Model) { m.ACME.Directory = "https://acme.example.org/directory" },
	} {
		t.Run(name, func(t *testing.T) {
			m := production()
			change(&m)
			got, err := caddyfile.Caddyfile(m)
			require.NoError(t, err)
			golden.Equal(t, strings.ReplaceAll(name, " ", "-"), got)
		})
	}
}

func TestCaddyfileDoesNotDependOnOrder(t *testing.T) {
	want, err := caddyfile.Caddyfile(production())
	require.NoError(t, err)
	m := production()
	m.Sites[0], m.Sites[4] = m.Sites[4], m.Sites[0]
	m.TrustedProxies[0], m.TrustedProxies[2] = m.TrustedProxies[2], m.TrustedProxies[0]
	got, err := caddyfile.Caddyfile(m)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

func TestCaddyfileRefuses(t *testing.T) {
	for name, change := range map[string]func(*caddyfile.Model){
		"nothing": func(m *caddyfile.Model) { *m = caddyfile.Model{} },
		"everything wrong": func(m *caddyfile.Model) {
			m.Sites[0].Hostname = m.Portal.Hostname
			m.Portal.Upstream = "authelia"
			m.Portal.Visibilities = []access.Visibility{"lan", access.Public, access.Public}
			m.TrustedProxies = []string{"0.0.0.0/0", "cloudflare"}
			m.ACME = caddyfile.ACME{Email: "Admin <admin@example.com>", Directory: "http://acme.example.org", LocalAuthority: true}
			m.CrowdSec = caddyfile.CrowdSec{LAPI: "crowdsec:8080", AppSec: "http://crowdsec:7422/path", Interval: time.Millisecond}
			m.SessionCookie = "a.b"
			m.Listen = caddyfile.Listen{Address: "localhost", Public: 443, Tailnet: 9443, Health: 9443, Metrics: 70000, Inner: 70000}
			m.Paths.AdminSocket = "run/caddy.sock"
			m.Paths.ACMEToken = "/run/secrets/{env.TOKEN}"
			m.Paths.AccessLog = "/var/log/../log/access.log"
		},
		"words of the Caddyfile in a value": func(m *caddyfile.Model) {
			m.ACME.Email = "admin@example.com\n\tadmin off"
			m.Sites[0].Hostname = "a.example.com {"
			m.Sites[1].Upstream = "app:80\n}"
			m.SessionCookie = "x\" y"
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := production()
			change(&m)
			got, err := caddyfile.Caddyfile(m)
			assert.Empty(t, got)
			golden.Error(t, "refused-"+strings.ReplaceAll(name, " ", "-"), err)
		})
	}
}

func TestHostnames(t *testing.T) {
	m := production()
	assert.Equal(t, []string{"auth.example.com", "movies.example.com", "photos.example.com", "requests.example.com"}, m.Hostnames(access.Public))
	assert.Equal(t, []string{"grafana.example.com", "jellyfin.example.com"}, m.Hostnames(access.Tailnet))
}

// Each of these orders, or the absence of a layer, is how a chain of this kind lets a visitor past
// it.
func TestEverySiteHasEveryLayerInOrder(t *testing.T) {
	got, err := caddyfile.Caddyfile(production())
	require.NoError(t, err)
	text := string(got)

	inOrder(t, snippet(t, text, "(admit)"), "\n\tbouncer", "\n\tnormalize", "@other_method not method", "request_header -X-Crowdsec-*")
	inOrder(t, snippet(t, text, "(strip)"), "strip_headers {", "Remote*", "*Forwarded*")
	inOrder(t, snippet(t, text, "(authenticate)"), "authenticate http://authelia:9091/api/authz/forward-auth")
	inOrder(t, snippet(t, text, "(service)"), "hide_cookie homelab_session", "reverse_proxy", "header_up X-Forwarded-For {client_ip}")
	for _, s := range example.Sites() {
		block := snippet(t, text, "https://"+s.Hostname+":")
		layers := []string{"import " + string(s.Visibility), "route {", "measure " + s.Hostname + "\n"}
		if s.Visibility == access.Public {
			layers = append(layers, "require_client CF-Connecting-IP")
		} else {
			assert.NotContains(t, block, "require_client", "nobody on the tailnet says who the visitor is")
		}
		layers = append(layers, "import admit")
		if s.Guarded() {
			layers = append(layers, "inspect headers", "import strip", "import unambiguous_path", "import authenticate", "import known", "inspect body", "open known")
		} else {
			layers = append(layers, "inspect body", "open", "import strip")
		}
		inOrder(t, block, append(layers, "import service "+s.Upstream)...)
	}
	assert.NotContains(t, text, "trusted_proxies_strict", "it falls back to the edge's address")
	assert.NotContains(t, snippet(t, text, "\tservers :9443"), "trusted_proxies", "the tailnet listener trusts no forwarded header")
	assert.NotContains(t, snippet(t, text, "\tservers :9443"), "client_ip_headers", "the tailnet listener trusts no forwarded header")
}

// The listener for containers is there if a service needs it, has every layer of the others, and
// serves what such a service asks for.
func TestTheListenerForContainers(t *testing.T) {
	m := production()
	assert.True(t, m.Inner())
	got, err := caddyfile.Caddyfile(m)
	require.NoError(t, err)
	text := string(got)
	block := snippet(t, text, "https://auth.example.com:443 {")
	inOrder(t, block, "import inner", "import security_headers", "route {", "measure auth.example.com", "import admit", "inspect body 64KiB portal", "import strip",
		"@not_asked {", "respond @not_asked 404", "import portal")
	assert.NotContains(t, block, "require_client", "no container says who the visitor is")
	server := snippet(t, text, "\tservers :443")
	inOrder(t, server, "name inner", "strict_sni_host on")
	assert.NotContains(t, server, "trusted_proxies")
	assert.NotContains(t, server, "client_ip_headers")
	inOrder(t, snippet(t, text, "(inner)"), "protocols tls1.3", "log")
	inOrder(t, snippet(t, text, "https://:443 {"), "import inner", "abort")
	assert.Equal(t, 3, strings.Count(text, "https://auth.example.com")+strings.Count(text, "https://:443"))

	for i := range m.Sites {
		m.Sites[i].OpenID = nil
	}
	assert.False(t, m.Inner())
	got, err = caddyfile.Caddyfile(m)
	require.NoError(t, err)
	assert.NotContains(t, string(got), ":443 {")
	assert.NotContains(t, string(got), "inner")
}

// Caddy's own option takes the label from the request.
func TestNoLabelOfTheMetricsIsAVisitors(t *testing.T) {
	got, err := caddyfile.Caddyfile(production())
	require.NoError(t, err)
	assert.NotContains(t, strings.ReplaceAll(string(got), "# Not per_host", ""), "per_host")
}

// snippet returns the block that begins with start, up to the closing brace of the same depth.
func snippet(t *testing.T, text, start string) string {
	t.Helper()
	i := strings.Index(text, "\n"+start)
	require.GreaterOrEqual(t, i, 0, start)
	rest := text[i+1:]
	indent := rest[:len(rest)-len(strings.TrimLeft(rest, "\t"))]
	end := strings.Index(rest, "\n"+indent+"}\n")
	require.Greater(t, end, 0, start)
	return rest[:end]
}

func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	at := 0
	for _, part := range parts {
		i := strings.Index(text[at:], part)
		require.GreaterOrEqual(t, i, 0, "%q is missing, or too early, in:\n%s", part, text)
		at += i + len(part)
	}
}
