//go:build chain

package chain

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// impostor makes a client certificate with the names of ours under another authority of the same
// name.
func impostor(t *testing.T, genuine *tls.Certificate) *tls.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(genuine.Certificate[0])
	require.NoError(t, err)
	sign := func(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		if parentKey == nil {
			parentKey = key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		require.NoError(t, err)
		return der, key
	}
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: leaf.Issuer, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: leaf.AuthorityKeyId,
	}
	_, authorityKey := sign(authority, authority, nil)
	client := &x509.Certificate{
		SerialNumber: leaf.SerialNumber, Subject: pkix.Name{CommonName: leaf.Subject.CommonName}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, key := sign(client, authority, authorityKey)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// testHandshake tries to enter a listener in ways in which nobody may. Every request carries a
// valid session: what stops it is the listener.
func testHandshake(t *testing.T, s *stage, session ticket) {
	bare, other := s.cloudflare, s.cloudflare
	bare.Certificate = nil
	other.Certificate = impostor(t, s.cloudflare.Certificate)
	// Certificates of the proxy itself are signed by its own authority, not by ours.
	page := func(host string) string {
		return "GET /handshake HTTP/1.1\r\nHost: " + host + "\r\n{cloudflare}" + session.line() + "\r\n"
	}
	const requestsHost, filmsHost, authHost = "requests.example.com", "jellyfin.example.com", "auth.example.com"

	t.Run("as it should be", func(t *testing.T) {
		for _, c := range []struct {
			place         visitor.Place
			host, service string
		}{{s.cloudflare, requestsHost, "jellyseerr"}, {s.tailnet, filmsHost, "jellyfin"}} {
			answers, err := c.place.Raw(t.Context(), c.host, page(c.host))
			require.NoError(t, err)
			require.Len(t, answers, 1)
			s.served(t, c.service, answers[0], nil)
		}
	})
	for _, c := range []struct {
		name  string
		place visitor.Place
		sni   string
		host  string
	}{
		{"no client certificate", bare, requestsHost, requestsHost},
		{"no client certificate, on the portal", bare, authHost, authHost},
		{"no client certificate, from beside Cloudflare", s.stranger, requestsHost, requestsHost},
		{"a certificate of another authority of the same name", other, requestsHost, requestsHost},
		{"a name that is not ours", s.cloudflare, "www.example.org", "www.example.org"},
		{"a name below ours", s.cloudflare, "x.requests.example.com", requestsHost},
		{"the name of the portal and the host of a service", s.cloudflare, authHost, requestsHost},
		{"the name of a service and the host of the portal", s.cloudflare, requestsHost, authHost},
		{"the name of a service and an unknown host", s.cloudflare, requestsHost, "www.example.org"},
		{"the name of a service and an address as host", s.cloudflare, requestsHost, "127.0.0.1"},
		{"the name of a service and its container as host", s.cloudflare, requestsHost, "jellyseerr:5055"},
		{"no name at all", s.cloudflare, "", requestsHost},
		{"no name and an address as host", s.cloudflare, "", s.cloudflare.Listener},
		{"a private name on the public listener", s.cloudflare, filmsHost, filmsHost},
		{"a private host behind a public name", s.cloudflare, requestsHost, filmsHost},
		{"a public name on the tailnet's listener", s.tailnet, requestsHost, requestsHost},
		{"a public host behind a private name", s.tailnet, filmsHost, requestsHost},
		{"the portal's name on the tailnet's listener", s.tailnet, authHost, authHost},
		{"no name on the tailnet's listener", s.tailnet, "", filmsHost},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := c.place.TLS(c.sni, "http/1.1")
			// Whatever the machine shows, an attacker would go on.
			config.InsecureSkipVerify = true //nolint:gosec // see above
			answers, err := c.place.RawOver(t.Context(), config, page(c.host))
			for _, a := range answers {
				s.refused(t, a, nil)
				assert.GreaterOrEqual(t, a.Status, 400, "an attacker got %d: %s", a.Status, a.Body)
			}
			s.unreached(t, c.name)
			t.Logf("%d answers, error: %v", len(answers), err)
		})
	}
	t.Run("old TLS", func(t *testing.T) {
		for listener, place := range map[string]visitor.Place{requestsHost: s.cloudflare, filmsHost: s.tailnet} {
			for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
				config := place.TLS(listener, "http/1.1")
				config.MinVersion, config.MaxVersion = version, version
				_, err := place.Connect(t.Context(), config)
				assert.Error(t, err, "%s speaks %s", listener, tls.VersionName(version))
			}
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		for host, place := range map[string]visitor.Place{requestsHost: s.cloudflare, filmsHost: s.tailnet} {
			answers, err := place.Plain(t.Context(), page(host))
			require.NoError(t, err)
			for _, a := range answers {
				assert.Equal(t, 400, a.Status, "%s", a.Body)
			}
			s.unreached(t, "without TLS")
		}
	})
	t.Run("what is not published cannot be used from a listener", func(t *testing.T) {
		for _, host := range []string{"127.0.0.1:8081", "localhost", "caddy:9180", "authelia:9091", "crowdsec:8080"} {
			answers, err := s.cloudflare.Raw(t.Context(), requestsHost, "GET /metrics HTTP/1.1\r\nHost: "+host+"\r\n{cloudflare}\r\n")
			require.NoError(t, err)
			for _, a := range answers {
				s.refused(t, a, nil)
			}
		}
	})
}
