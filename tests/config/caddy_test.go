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
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var caddyfiles = []string{"production", "tailnet-only", "on-loopback", "another-authority"}

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

// Without its secrets Caddy must not come up open. (An authority's file without a certificate is accepted, and lets
// nobody in.)
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

// A global option whose address matches no site is ignored in silence, and so is a policy that no handshake reaches:
// what counts is the adapted configuration.
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
			require.Len(t, servers, 4, "public, tailnet, health and metrics")
			for listener, port := range map[string]string{"public": ":8443", "tailnet": ":9443"} {
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
					if listener == "tailnet" {
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
			assert.Nil(t, servers["tailnet"].TrustedProxies)
			assert.Empty(t, servers["tailnet"].ClientIPHeaders)
		})
	}
}
