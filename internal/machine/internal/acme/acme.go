// Package acme is a certificate authority's ACME server (RFC 8555), as far as the proxy of the
// deployment asks it: it proves names by DNS (dns-01), and the rehearsal's authority signs.
package acme

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Host is Let's Encrypt's, at which the deployment's proxy asks.
const Host = "acme-v02.api.letsencrypt.org"

// Options are what a Server is made with. All are required.
type Options struct {
	// Sign signs a request whose names are proven; the answer is the chain, as PEM.
	Sign func(request *x509.CertificateRequest) ([]byte, error)
	// TXT returns the TXT records of a name.
	TXT func(name string) []string
	// File keeps the accounts.
	File string
}

// Server is the authority's. Make it with New.
type Server struct {
	options Options
	mux     *http.ServeMux

	mu       sync.Mutex
	nonces   map[string]bool
	accounts []*jose.JSONWebKey // an account's ID is its place
	orders   map[string]*order
	proofs   map[string]*proof
}

// order is an order of a certificate.
type order struct {
	account string
	names   []string
	proofs  []*proof
	chain   []byte // nil until it is signed
}

// proof is an authorization with its one challenge.
type proof struct {
	id, account, name string
	wildcard          bool
	token             string
	status            string // pending, valid or invalid
	problem           *problem
	until             time.Time
}

// Lifetimes of orders and proofs, and how many nonces are kept.
const (
	lifetime  = 24 * time.Hour
	maxNonces = 1000
)

// problem is an error of the protocol (RFC 8555, section 6.7).
type problem struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
	Status int    `json:"status,omitempty"`
}

func (p *problem) Error() string { return p.Detail }

func wrong(status int, kind, format string, args ...any) *problem {
	return &problem{"urn:ietf:params:acme:error:" + kind, fmt.Sprintf(format, args...), status}
}

// New makes a Server, with the accounts that its file keeps.
func New(options Options) (*Server, error) {
	s := &Server{options: options, mux: http.NewServeMux(), nonces: map[string]bool{}, orders: map[string]*order{}, proofs: map[string]*proof{}}
	text, err := os.ReadFile(options.File)
	if err == nil {
		err = json.Unmarshal(text, &s.accounts)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the accounts of the ACME server: %w", err)
	}
	s.mux.HandleFunc("GET /directory", func(w http.ResponseWriter, r *http.Request) {
		links := map[string]string{}
		for _, name := range []string{"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"} {
			links[name] = base(r) + "/" + name
		}
		write(w, http.StatusOK, links)
	})
	s.mux.HandleFunc("GET /newNonce", func(w http.ResponseWriter, _ *http.Request) { // and HEAD
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	})
	for pattern, f := range map[string]method{
		"POST /newAccount": s.newAccount, "POST /account/{id}": s.account, "POST /newOrder": s.newOrder, "POST /order/{id}": s.order,
		"POST /proof/{id}": s.proof, "POST /challenge/{id}": s.challenge, "POST /finalize/{id}": s.finalize, "POST /certificate/{id}": s.certificate,
	} {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.signed(w, r, f) })
	}
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Read first: nobody waits for whoever sends slowly.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.nonces) >= maxNonces {
		s.nonces = map[string]bool{} // who has an old one is told to take another
	}
	nonce := newID()
	s.nonces[nonce] = true
	w.Header().Set("Replay-Nonce", nonce)
	s.mux.ServeHTTP(w, r)
}

func base(r *http.Request) string { return "https://" + r.Host }

func newID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	return hex.EncodeToString(id)
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who does not read it has hung up
}

// message is a request whose signature is right.
type message struct {
	*http.Request

	key     *jose.JSONWebKey
	account string // empty for a new one
	payload []byte
}

// method answers a message; what is not a problem has been written.
type method func(w http.ResponseWriter, m *message) *problem

// signed runs a method for a request that is signed (RFC 8555, section 6.2).
func (s *Server) signed(w http.ResponseWriter, r *http.Request, f method) {
	m, p := s.verify(r)
	if p == nil {
		p = f(w, m)
	}
	if p != nil {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p) // who does not read it has hung up
	}
}

func (s *Server) verify(r *http.Request) (*message, *problem) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, wrong(http.StatusBadRequest, "malformed", "%v", err)
	}
	signed, err := jose.ParseSigned(string(body), []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.RS256, jose.EdDSA})
	if err != nil || len(signed.Signatures) != 1 {
		return nil, wrong(http.StatusBadRequest, "malformed", "the request has not one signature: %v", err)
	}
	header := signed.Signatures[0].Protected
	if url, _ := header.ExtraHeaders["url"].(string); url != base(r)+r.URL.Path {
		return nil, wrong(http.StatusUnauthorized, "unauthorized", "it is signed for %q", url)
	}
	if !s.nonces[header.Nonce] {
		return nil, wrong(http.StatusBadRequest, "badNonce", "the nonce is unknown")
	}
	delete(s.nonces, header.Nonce)
	m := &message{Request: r, key: header.JSONWebKey}
	if r.URL.Path != "/newAccount" {
		m.account, m.key = header.KeyID, nil
		for i, key := range s.accounts {
			if header.KeyID == accountURL(r, i) {
				m.key = key
			}
		}
		if m.key == nil {
			return nil, wrong(http.StatusBadRequest, "accountDoesNotExist", "there is no account %q", header.KeyID)
		}
	}
	if m.key == nil || !m.key.Valid() || !m.key.IsPublic() {
		return nil, wrong(http.StatusBadRequest, "badPublicKey", "the request has no public key")
	}
	if m.payload, err = signed.Verify(m.key); err != nil {
		return nil, wrong(http.StatusUnauthorized, "unauthorized", "%v", err)
	}
	return m, nil
}

func accountURL(r *http.Request, i int) string { return fmt.Sprintf("%s/account/%d", base(r), i+1) }

// read reads a message's payload.
func (m *message) read(into any) *problem {
	if err := json.Unmarshal(m.payload, into); err != nil {
		return wrong(http.StatusBadRequest, "malformed", "%v", err)
	}
	return nil
}

func (s *Server) newAccount(w http.ResponseWriter, m *message) *problem {
	var asked struct {
		OnlyReturnExisting bool `json:"onlyReturnExisting"`
	}
	if p := m.read(&asked); p != nil {
		return p
	}
	mine := thumbprint(m.key)
	status := http.StatusOK
	at := slices.IndexFunc(s.accounts, func(key *jose.JSONWebKey) bool { return thumbprint(key) == mine })
	if at < 0 {
		if asked.OnlyReturnExisting {
			return wrong(http.StatusBadRequest, "accountDoesNotExist", "there is no account with this key")
		}
		at, status = len(s.accounts), http.StatusCreated
		s.accounts = append(s.accounts, m.key)
		text, err := json.Marshal(s.accounts)
		if err == nil {
			err = os.WriteFile(s.options.File, text, 0o600)
		}
		if err != nil {
			s.accounts = s.accounts[:at]
			return wrong(http.StatusInternalServerError, "serverInternal", "%v", err)
		}
	}
	w.Header().Set("Location", accountURL(m.Request, at))
	write(w, status, map[string]any{"status": "valid"})
	return nil
}

// thumbprint names a key (RFC 7638).
func thumbprint(key *jose.JSONWebKey) string {
	sum, _ := key.Thumbprint(crypto.SHA256) // of a valid key it never fails
	return base64.RawURLEncoding.EncodeToString(sum)
}

func (s *Server) account(w http.ResponseWriter, m *message) *problem {
	if m.account != base(m.Request)+m.URL.Path {
		return wrong(http.StatusUnauthorized, "unauthorized", "it is somebody else's account")
	}
	write(w, http.StatusOK, map[string]any{"status": "valid"})
	return nil
}

// identifier is a name in the protocol.
type identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

func (s *Server) newOrder(w http.ResponseWriter, m *message) *problem {
	var asked struct {
		Identifiers []identifier `json:"identifiers"`
	}
	if p := m.read(&asked); p != nil {
		return p
	}
	made := &order{account: m.account}
	for _, i := range asked.Identifiers {
		if i.Type != "dns" || i.Value == "" {
			return wrong(http.StatusBadRequest, "unsupportedIdentifier", "%s %q is no name", i.Type, i.Value)
		}
		name := strings.ToLower(i.Value)
		bare, wildcard := strings.CutPrefix(name, "*.")
		p := &proof{id: newID(), account: m.account, name: bare, wildcard: wildcard, token: newID(), status: "pending", until: time.Now().Add(lifetime)}
		made.names, made.proofs = append(made.names, name), append(made.proofs, p)
		s.proofs[p.id] = p
	}
	if len(made.names) == 0 {
		return wrong(http.StatusBadRequest, "malformed", "an order of no names")
	}
	slices.Sort(made.names)
	id := newID()
	s.orders[id] = made
	w.Header().Set("Location", base(m.Request)+"/order/"+id)
	write(w, http.StatusCreated, made.document(m.Request, id))
	return nil
}

// status is the order's (RFC 8555, section 7.1.6).
func (o *order) status() string {
	out := "ready"
	for _, p := range o.proofs {
		if p.status == "invalid" {
			return "invalid"
		}
		if p.status != "valid" {
			out = "pending"
		}
	}
	if o.chain != nil {
		return "valid"
	}
	return out
}

func (o *order) document(r *http.Request, id string) map[string]any {
	proofs, names := []string{}, []identifier{}
	for _, p := range o.proofs {
		proofs = append(proofs, base(r)+"/proof/"+p.id)
	}
	for _, n := range o.names {
		names = append(names, identifier{"dns", n})
	}
	out := map[string]any{"status": o.status(), "identifiers": names, "authorizations": proofs, "finalize": base(r) + "/finalize/" + id}
	if o.chain != nil {
		out["certificate"] = base(r) + "/certificate/" + id
	}
	return out
}

// ordered finds the order that a message is about.
func (s *Server) ordered(m *message) (*order, *problem) {
	o := s.orders[m.PathValue("id")]
	if o == nil || o.account != m.account {
		return nil, wrong(http.StatusNotFound, "malformed", "there is no such order")
	}
	return o, nil
}

func (s *Server) order(w http.ResponseWriter, m *message) *problem {
	o, p := s.ordered(m)
	if p == nil {
		write(w, http.StatusOK, o.document(m.Request, m.PathValue("id")))
	}
	return p
}

// proven finds the proof that a message is about.
func (s *Server) proven(m *message) (*proof, *problem) {
	p := s.proofs[m.PathValue("id")]
	if p == nil || p.account != m.account {
		return nil, wrong(http.StatusNotFound, "malformed", "there is no such authorization")
	}
	return p, nil
}

func (s *Server) proof(w http.ResponseWriter, m *message) *problem {
	p, err := s.proven(m)
	if err != nil {
		return err
	}
	out := map[string]any{
		"status": p.status, "identifier": identifier{"dns", p.name}, "expires": p.until.UTC().Format(time.RFC3339), "challenges": []any{p.document(m.Request)},
	}
	if p.wildcard {
		out["wildcard"] = true
	}
	write(w, http.StatusOK, out)
	return nil
}

func (p *proof) document(r *http.Request) map[string]any {
	out := map[string]any{"type": "dns-01", "url": base(r) + "/challenge/" + p.id, "token": p.token, "status": p.status}
	if p.problem != nil {
		out["error"] = p.problem
	}
	return out
}

// challenge looks for the record by which the account proves the name (RFC 8555, section 8.4).
func (s *Server) challenge(w http.ResponseWriter, m *message) *problem {
	p, err := s.proven(m)
	if err != nil {
		return err
	}
	if p.status == "pending" && len(m.payload) > 0 { // an empty payload only asks
		sum := sha256.Sum256([]byte(p.token + "." + thumbprint(m.key)))
		want, at := base64.RawURLEncoding.EncodeToString(sum[:]), "_acme-challenge."+p.name
		if found := s.options.TXT(at); slices.Contains(found, want) {
			p.status = "valid"
		} else {
			p.status = "invalid"
			p.problem = wrong(http.StatusForbidden, "unauthorized", "the TXT records of %s are %q, and none is %s", at, found, want)
		}
	}
	w.Header().Set("Link", "<"+base(m.Request)+"/proof/"+p.id+`>;rel="up"`)
	write(w, http.StatusOK, p.document(m.Request))
	return nil
}

// finalize signs the request of an order whose names are proven.
func (s *Server) finalize(w http.ResponseWriter, m *message) *problem {
	o, p := s.ordered(m)
	if p != nil {
		return p
	}
	if status := o.status(); status != "ready" {
		return wrong(http.StatusForbidden, "orderNotReady", "the order is %s", status)
	}
	var asked struct {
		CSR string `json:"csr"`
	}
	if p := m.read(&asked); p != nil {
		return p
	}
	der, err := base64.RawURLEncoding.DecodeString(asked.CSR)
	if err != nil {
		return wrong(http.StatusBadRequest, "badCSR", "%v", err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return wrong(http.StatusBadRequest, "badCSR", "%v", err)
	}
	names := slices.Clone(request.DNSNames)
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	slices.Sort(names)
	if !slices.Equal(names, o.names) || len(request.IPAddresses)+len(request.EmailAddresses)+len(request.URIs) > 0 {
		return wrong(http.StatusBadRequest, "badCSR", "it is for %v, and the order for %v", names, o.names)
	}
	if o.chain, err = s.options.Sign(request); err != nil {
		return wrong(http.StatusBadRequest, "badCSR", "%v", err)
	}
	w.Header().Set("Location", base(m.Request)+"/order/"+m.PathValue("id"))
	write(w, http.StatusOK, o.document(m.Request, m.PathValue("id")))
	return nil
}

func (s *Server) certificate(w http.ResponseWriter, m *message) *problem {
	o, p := s.ordered(m)
	if p != nil {
		return p
	}
	if o.chain == nil {
		return wrong(http.StatusNotFound, "malformed", "it is not signed yet")
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = w.Write(o.chain) // who does not read it has hung up
	return nil
}
