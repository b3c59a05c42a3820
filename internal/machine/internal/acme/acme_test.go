package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	client "golang.org/x/crypto/acme"

	"homelab/internal/machine/internal/authority"
)

// world is a server, and the DNS that it asks.
type world struct {
	*testing.T

	authority *authority.Authority
	file      string
	txt       map[string][]string
	http      *httptest.Server
	now       switched
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, file: filepath.Join(t.TempDir(), "accounts.json"), txt: map[string][]string{}}
	var err error
	w.authority, err = authority.Open(t.TempDir())
	require.NoError(t, err)
	w.http = httptest.NewUnstartedServer(&w.now)
	w.restart()
	w.http.StartTLS()
	t.Cleanup(w.http.Close)
	return w
}

// switched lets a server start anew at its address.
type switched struct{ now http.Handler }

func (s *switched) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.now.ServeHTTP(w, r) }

func (w *world) restart() {
	w.Helper()
	s, err := New(Options{Sign: w.authority.Sign, TXT: func(name string) []string { return w.txt[name] }, File: w.file})
	require.NoError(w, err)
	w.now.now = s
}

func key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

// client is one with an account.
func (w *world) client() *client.Client {
	w.Helper()
	c := &client.Client{Key: key(w.T), DirectoryURL: w.http.URL + "/directory", HTTPClient: w.http.Client()}
	_, err := c.Register(w.Context(), &client.Account{Contact: []string{"mailto:admin@example.com"}}, client.AcceptTOS)
	require.NoError(w, err)
	return c
}

// prove answers the challenges of an order, with what the change makes of the records.
func (w *world) prove(c *client.Client, order *client.Order, change func(string) string) error {
	w.Helper()
	for _, url := range order.AuthzURLs {
		proof, err := c.GetAuthorization(w.Context(), url)
		require.NoError(w, err)
		require.Len(w, proof.Challenges, 1)
		challenge := proof.Challenges[0]
		require.Equal(w, "dns-01", challenge.Type)
		record, err := c.DNS01ChallengeRecord(challenge.Token)
		require.NoError(w, err)
		at := "_acme-challenge." + proof.Identifier.Value
		w.txt[at] = append(w.txt[at], change(record))
		_, err = c.Accept(w.Context(), challenge)
		require.NoError(w, err)
		if _, err := c.WaitAuthorization(w.Context(), url); err != nil {
			return err
		}
	}
	return nil
}

func csr(t *testing.T, names ...string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key(t))
	require.NoError(t, err)
	return der
}

func asIs(record string) string { return record }

func TestACertificateForWhoHasTheNames(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	order, err := c.AuthorizeOrder(t.Context(), client.DomainIDs("Requests.example.com", "*.requests.example.com"))
	require.NoError(t, err)
	assert.Equal(t, client.StatusPending, order.Status)
	_, _, err = c.CreateOrderCert(t.Context(), order.FinalizeURL, csr(t, "requests.example.com", "*.requests.example.com"), true)
	require.ErrorContains(t, err, "the order is pending")
	require.NoError(t, w.prove(c, order, asIs))
	order, err = c.WaitOrder(t.Context(), order.URI)
	require.NoError(t, err)
	_, _, err = c.CreateOrderCert(t.Context(), order.FinalizeURL, csr(t, "requests.example.com", "other.example.com"), true)
	require.ErrorContains(t, err, "and the order for")
	chain, _, err := c.CreateOrderCert(t.Context(), order.FinalizeURL, csr(t, "requests.example.com", "*.requests.example.com"), true)
	require.NoError(t, err)
	require.Len(t, chain, 2)
	leaf, err := x509.ParseCertificate(chain[0])
	require.NoError(t, err)
	for _, name := range []string{"requests.example.com", "a.requests.example.com"} {
		_, err = leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: w.authority.Pool()})
		require.NoError(t, err, name)
	}
	own, _ := pem.Decode(w.authority.PEM())
	assert.Equal(t, own.Bytes, chain[1])
}

func TestNoCertificateForOthers(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	order, err := c.AuthorizeOrder(t.Context(), client.DomainIDs("requests.example.com"))
	require.NoError(t, err)
	err = w.prove(c, order, strings.ToUpper)
	require.ErrorContains(t, err, "the TXT records of _acme-challenge.requests.example.com are")
	_, err = c.WaitOrder(t.Context(), order.URI)
	require.Error(t, err, "the order is invalid")
	second := w.client()
	_, err = second.GetOrder(t.Context(), order.URI)
	require.ErrorContains(t, err, "there is no such order", "it is the first client's")
	_, err = second.GetAuthorization(t.Context(), order.AuthzURLs[0])
	require.ErrorContains(t, err, "there is no such authorization")
	_, err = c.AuthorizeOrder(t.Context(), client.IPIDs("192.0.2.1"))
	require.ErrorContains(t, err, "is no name")
}

func TestAccountsOutliveTheServer(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	w.restart()
	order, err := c.AuthorizeOrder(t.Context(), client.DomainIDs("requests.example.com"))
	require.NoError(t, err)
	require.NoError(t, w.prove(c, order, asIs))
	unknown := &client.Client{Key: key(t), DirectoryURL: c.DirectoryURL, HTTPClient: c.HTTPClient}
	_, err = unknown.GetReg(t.Context(), "")
	require.ErrorIs(t, err, client.ErrNoAccount)
	again := &client.Client{Key: c.Key, DirectoryURL: c.DirectoryURL, HTTPClient: c.HTTPClient}
	account, err := again.GetReg(t.Context(), "")
	require.NoError(t, err)
	assert.Equal(t, client.StatusValid, account.Status)
}

func TestRequestsThatNobodySigned(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{"", "{}", `{"protected": "", "payload": "", "signature": ""}`} {
		answer, err := w.http.Client().Post(w.http.URL+"/newOrder", "application/jose+json", strings.NewReader(body))
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, http.StatusBadRequest, answer.StatusCode)
		assert.NotEmpty(t, answer.Header.Get("Replay-Nonce"))
	}
}

// Whoever sends slowly keeps nobody waiting.
func TestASlowClientIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	body, send := io.Pipe()
	t.Cleanup(func() { _ = send.Close() })
	begun := make(chan struct{})
	go func() {
		_, _ = send.Write([]byte("{")) // returns when it was read
		close(begun)
	}()
	slow, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.http.URL+"/newAccount", body)
	require.NoError(t, err)
	go func() {
		if answer, err := w.http.Client().Do(slow); err == nil {
			_ = answer.Body.Close()
		}
	}()
	<-begun
	time.Sleep(100 * time.Millisecond) // until it is there
	within, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	quick, err := http.NewRequestWithContext(within, http.MethodGet, w.http.URL+"/directory", nil)
	require.NoError(t, err)
	answer, err := w.http.Client().Do(quick)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, http.StatusOK, answer.StatusCode)
}
