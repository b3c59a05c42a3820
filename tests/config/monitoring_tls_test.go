//go:build chain

package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
)

// issuer signs certificates that the programs of this test trust.
type issuer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newIssuer makes one, which every program that the test starts from here on trusts alone.
func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour * 365),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "ca.pem")
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	t.Setenv("SSL_CERT_FILE", path)
	return issuer{certificate, key}
}

// listens starts a listener as the proxy's public one: TLS 1.3, and nobody gets past the handshake
// without a client certificate.
func (a issuer) listens(t *testing.T, until time.Time, names ...string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	require.NoError(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(),
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go refuse(conn)
		}
	}()
	return listener.Addr().String()
}

// refuse reads until the handshake has failed.
func refuse(conn net.Conn) {
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
}

// serve serves what a handler answers, and returns its address.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// A certificate is measured where no request is answered, and one that no browser would take is no
// success.
func TestBlackboxMeasures(t *testing.T) {
	ca := newIssuer(t)
	until := time.Now().Add(40 * 24 * time.Hour).Truncate(time.Second)
	valid := ca.listens(t, until, "auth.example.com")
	expired := ca.listens(t, time.Now().Add(-time.Minute), "auth.example.com")
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	path := filepath.Join(t.TempDir(), "blackbox.yml")
	write(t, path, monitoringGolden(t, "blackbox", "blackbox"))
	start(t, built(t, toolchain.BlackboxTool), "--config.file="+path, "--web.listen-address="+address)
	answers(t, address)
	for name, c := range map[string]struct {
		target, module string
		want           bool
	}{
		"a valid certificate":    {valid, "auth.example.com", true},
		"one for another name":   {valid, "grafana.example.com", false},
		"one that has expired":   {expired, "auth.example.com", false},
		"nobody who listens":     {fmt.Sprintf("127.0.0.1:%d", freePort(t)), "auth.example.com", false},
		"one of a staging place": {newIssuer(t).listens(t, until, "auth.example.com"), "auth.example.com", false},
	} {
		t.Run(name, func(t *testing.T) {
			response, err := http.Get("http://" + address + "/probe?" + url.Values{"target": {c.target}, "module": {c.module}}.Encode())
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			if !c.want {
				assert.Contains(t, string(text), "\nprobe_success 0\n")
				return
			}
			assert.Contains(t, string(text), "\nprobe_success 1\n")
			var expiry float64
			for line := range strings.SplitSeq(string(text), "\n") {
				if value, ok := strings.CutPrefix(line, "probe_ssl_earliest_cert_expiry "); ok {
					_, err := fmt.Sscan(value, &expiry)
					require.NoError(t, err)
				}
			}
			assert.InDelta(t, until.Unix(), expiry, 1)
		})
	}
}
