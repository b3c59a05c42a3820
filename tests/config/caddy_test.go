//go:build chain

package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var caddyfiles = []string{"production", "tailnet-only", "on-loopback", "another-authority", "without-OpenID"}

// caddyfile writes a golden Caddyfile with the files that it names, and returns its path.
func caddyfile(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	text := replaced(t, rendered(t, "caddyfile", name),
		"/run/caddy/", dir+"/", "/etc/caddy/", dir+"/", "/run/secrets/", dir+"/", "/data/caddy", dir+"/data", "/var/log/caddy/", dir+"/")
	write(t, filepath.Join(dir, "origin-pull-ca.pem"), authority(t))
	write(t, filepath.Join(dir, "cloudflare-acme-token"), "abcdefghijklmnopqrstuvwxyz0123456789ABCD\n")
	write(t, filepath.Join(dir, "crowdsec-bouncer-key"), "a-bouncer-key\n")
	path := filepath.Join(dir, "Caddyfile")
	write(t, path, text)
	return path
}

// authority returns the certificate of a fresh authority, as PEM.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "origin pull"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCaddyAccepts(t *testing.T) {
	caddy := built(t, caddyTool)
	for _, name := range caddyfiles {
		t.Run(name, func(t *testing.T) {
			path := caddyfile(t, name)
			assert.Contains(t, accepted(t, caddy, "validate", "--adapter", "caddyfile", "--config", path), "Valid configuration")
			// It ends with 1 where it would have formatted the file differently.
			accepted(t, caddy, "fmt", path)
		})
	}
}

// Without its secrets Caddy must not come up open. (An authority's file without a certificate is
// accepted, and lets nobody in.)
func TestCaddyRefusesMissingSecrets(t *testing.T) {
	caddy := built(t, caddyTool)
	for _, secret := range []string{"origin-pull-ca.pem", "cloudflare-acme-token", "crowdsec-bouncer-key"} {
		t.Run(secret, func(t *testing.T) {
			path := caddyfile(t, "production")
			require.NoError(t, os.Remove(filepath.Join(filepath.Dir(path), secret)))
			out, err := run(t, caddy, "validate", "--adapter", "caddyfile", "--config", path)
			require.Error(t, err, out)
		})
	}
}

// server is the part of an adapted configuration that says how a listener behaves.
type server struct {
	Listen          []string `json:"listen"`
	Protocols       []string `json:"protocols"`
	StrictSNIHost   bool     `json:"strict_sni_host"`
	ClientIPHeaders []string `json:"client_ip_headers"`
	TrustedProxies  *struct {
		Source string   `json:"source"`
		Ranges []string `json:"ranges"`
	} `json:"trusted_proxies"`
	TLSConnectionPolicies []struct {
		Match                map[string]any `json:"match"`
		ProtocolMin          string         `json:"protocol_min"`
		ClientAuthentication *struct {
			Mode string `json:"mode"`
		} `json:"client_authentication"`
	} `json:"tls_connection_policies"`
}

// A global option whose address matches no site is ignored in silence, and so is a policy that no
// handshake reaches: what counts is the adapted configuration.
func TestListenersOfTheAdaptedConfiguration(t *testing.T) {
	caddy := built(t, caddyTool)
	for _, name := range caddyfiles {
		t.Run(name, func(t *testing.T) {
			var adapted struct {
				Apps struct {
					HTTP struct {
						Servers map[string]server `json:"servers"`
					} `json:"http"`
				} `json:"apps"`
			}
			out := accepted(t, caddy, "adapt", "--adapter", "caddyfile", "--config", caddyfile(t, name))
			require.NoError(t, json.Unmarshal([]byte(out), &adapted), out)
			servers := adapted.Apps.HTTP.Servers
			listeners := map[string]string{"public": ":8443", "tailnet": ":9443", "inner": ":443"}
			if name == "without-OpenID" {
				delete(listeners, "inner")
			}
			require.Len(t, servers, len(listeners)+3, "health, metrics and the probe beside them")
			for listener, port := range listeners {
				s, ok := servers[listener]
				require.True(t, ok, listener)
				require.Len(t, s.Listen, 1)
				assert.Contains(t, s.Listen[0], port)
				assert.Equal(t, []string{"h1", "h2"}, s.Protocols)
				assert.True(t, s.StrictSNIHost)
				require.NotEmpty(t, s.TLSConnectionPolicies)
				last := s.TLSConnectionPolicies[len(s.TLSConnectionPolicies)-1]
				assert.Empty(t, last.Match, "the last policy must hold for every other name")
				for _, p := range s.TLSConnectionPolicies {
					assert.Equal(t, "tls1.3", p.ProtocolMin)
					if listener != "public" {
						assert.Nil(t, p.ClientAuthentication)
						continue
					}
					require.NotNil(t, p.ClientAuthentication)
					assert.Equal(t, "require_and_verify", p.ClientAuthentication.Mode)
				}
			}
			require.NotNil(t, servers["public"].TrustedProxies)
			assert.Equal(t, "static", servers["public"].TrustedProxies.Source)
			assert.Len(t, servers["public"].TrustedProxies.Ranges, 3)
			assert.Equal(t, []string{"CF-Connecting-IP"}, servers["public"].ClientIPHeaders)
			for _, listener := range []string{"tailnet", "inner"} {
				assert.Nil(t, servers[listener].TrustedProxies)
				assert.Empty(t, servers[listener].ClientIPHeaders)
			}
		})
	}
}

// Caddy runs from our file, and our commands see it.
func TestCaddyRuns(t *testing.T) {
	caddy := built(t, caddyTool)
	path := caddyfile(t, "on-loopback")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	health, metrics := freePort(t), freePort(t)
	write(t, path, replaced(t, string(text), ":443", fmt.Sprintf(":%d", freePort(t)), ":8443", fmt.Sprintf(":%d", freePort(t)), ":9443", fmt.Sprintf(":%d", freePort(t)),
		":8081", fmt.Sprintf(":%d", health), ":8082", fmt.Sprintf(":%d", freePort(t)), "http://:9180", fmt.Sprintf("http://127.0.0.1:%d", metrics), "https_port 8443", fmt.Sprintf("https_port %d", freePort(t))))
	start(t, caddy, "run", "--adapter", "caddyfile", "--config", path)
	answers(t, fmt.Sprintf("127.0.0.1:%d", health))

	accepted(t, caddy, "healthy", "--url", fmt.Sprintf("http://127.0.0.1:%d/healthz", health))
	out, err := run(t, caddy, "healthy", "--url", fmt.Sprintf("http://127.0.0.1:%d/elsewhere", health))
	require.Error(t, err)
	assert.Contains(t, out, "404")

	socket := filepath.Join(filepath.Dir(path), "admin.sock")
	accepted(t, caddy, "loaded-hosts", "--socket", socket, "requests.example.com", "grafana.example.com", "auth.example.com")
	accepted(t, caddy, "loaded-hosts", "--socket", socket, "--server", "public", "requests.example.com")
	out, err = run(t, caddy, "loaded-hosts", "--socket", socket, "--server", "public", "grafana.example.com", "requests.example.com")
	require.Error(t, err)
	assert.Contains(t, out, "no route is loaded for: grafana.example.com\"")
	accepted(t, caddy, "reload", "--force", "--adapter", "caddyfile", "--config", path, "--address", "unix/"+socket)
	accepted(t, caddy, "loaded-hosts", "--socket", socket, "requests.example.com")

	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", metrics))
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	for _, metric := range []string{
		"caddy_config_last_reload_successful 1", "caddy_admin_http_requests_total", "homelab_guard_decisions 0", "homelab_guard_last_pull_timestamp_seconds 0",
		`homelab_guard_inspections_total{stage="body",verdict="none"} 0`, `homelab_guard_lapi_pulls_total{result="error"}`, `homelab_guard_held_body_bytes{pool="portal"} 0`,
	} {
		assert.Contains(t, string(body), metric)
	}
}
