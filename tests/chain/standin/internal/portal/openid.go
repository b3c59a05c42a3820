package portal

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fasthttp/router"
	"github.com/go-jose/go-jose/v4"
	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/access"
	"homelab/tests/chain/standin/internal/config"
	"homelab/tests/chain/standin/internal/logs"
)

// For how long what the portal gives to a client is good, by default; and a login that was begun.
const (
	codeLifespan  = time.Minute
	tokenLifespan = time.Hour
	flowLifespan  = 10 * time.Minute
)

// flowName is what the login page calls a login that a client asked for.
const flowName = "openid_connect"

// grant is what a user let a client have.
type grant struct {
	client   string
	redirect string
	// challenge is what the code's verifier must hash to.
	challenge string
	nonce     string
	scopes    []string
	user      string
	loggedIn  time.Time
	expires   time.Time
	// used says that the code was changed into tokens; token is the key of what it became.
	used  bool
	token string
}

// begun is a request that waits for a login.
type begun struct {
	client  config.Client
	query   string
	expires time.Time
}

// openID is the part of the portal that other services ask who a user is.
type openID struct {
	config config.OIDC
	issuer *url.URL
	signer jose.Signer
	keys   []byte

	mu     sync.Mutex
	codes  map[string]*grant
	tokens map[string]*grant
	flows  map[string]begun
}

// newOpenID prepares the keys. Without a configuration there is none.
func newOpenID(c *config.Configuration) (*openID, error) {
	if c.Providers.OIDC == nil {
		return nil, nil
	}
	o := &openID{config: *c.Providers.OIDC, issuer: c.Session.Cookies[0].Portal, codes: map[string]*grant{}, tokens: map[string]*grant{}, flows: map[string]begun{}}
	key := jose.JSONWebKey{Key: o.config.JWKS[0].Private, Algorithm: string(jose.RS256), Use: "sig"}
	public := key.Public()
	thumbprint, err := public.Thumbprint(sha256crypto)
	if err != nil {
		return nil, fmt.Errorf("preparing the issuer's key: %w", err)
	}
	key.KeyID = hex.EncodeToString(thumbprint)[:7] + "-rs256"
	public.KeyID = key.KeyID
	if o.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithType("JWT")); err != nil {
		return nil, fmt.Errorf("preparing the issuer's key: %w", err)
	}
	o.keys, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}})
	return o, err
}

func (p *Portal) openIDRoutes(r *router.Router) {
	if p.openID == nil {
		return
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		r.GET(path, p.with(api, (*request).discovery))
	}
	r.GET("/jwks.json", p.with(api, func(r *request) { r.document(fasthttp.StatusOK, json.RawMessage(r.portal.openID.keys)) }))
	r.GET("/api/oidc/authorization", p.with(api, (*request).authorization))
	r.POST("/api/oidc/token", p.with(api, (*request).token))
	for _, method := range []string{fasthttp.MethodGet, fasthttp.MethodPost} {
		r.Handle(method, "/api/oidc/userinfo", p.with(api, (*request).openIDUser))
	}
}

// document answers with JSON that is no envelope of the portal's own.
func (r *request) document(status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		plain(r.RequestCtx, fasthttp.StatusInternalServerError)
		return
	}
	r.SetStatusCode(status)
	r.SetContentType("application/json; charset=utf-8")
	r.SetBody(data)
}

// oauthError answers with an error where there is no browser to send back, or no address that is
// known to be the client's.
func (r *request) oauthError(status int, code, description string) {
	r.log(logs.Error, nil, "Request failed with error: %s: %s", code, description)
	r.document(status, map[string]string{"error": code, "error_description": description})
}

func (r *request) discovery() {
	issuer := strings.TrimSuffix(r.portal.openID.issuer.String(), "/")
	r.document(fasthttp.StatusOK, map[string]any{
		"issuer": issuer, "jwks_uri": issuer + "/jwks.json", "authorization_endpoint": issuer + "/api/oidc/authorization",
		"token_endpoint": issuer + "/api/oidc/token", "userinfo_endpoint": issuer + "/api/oidc/userinfo",
		"subject_types_supported": []string{"public"}, "response_types_supported": []string{"code"}, "response_modes_supported": []string{"query"},
		"grant_types_supported": []string{"authorization_code"}, "scopes_supported": []string{"openid", "email", "groups", "profile"},
		"claims_supported":                      []string{"iss", "sub", "aud", "exp", "iat", "email", "email_verified", "groups", "name", "preferred_username"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"}, "code_challenge_methods_supported": []string{"S256"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "authorization_response_iss_parameter_supported": true,
	})
}

// parameters are those of an authorization request that the stand-in plays.
var parameters = []string{"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method"}

// challengePattern is the base64 of a SHA-256.
var challengePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// leastEntropy is how long state and nonce must be.
const leastEntropy = 8

// refusedBy says what is wrong with an authorization request of a known client that is to end at
// one of its addresses, or nothing.
func refusedBy(c config.Client, q url.Values) (code, description string) {
	for name, values := range q {
		switch {
		case !slices.Contains(parameters, name):
			return "invalid_request", "the stand-in does not know the parameter " + name
		case len(values) != 1:
			return "invalid_request", "a parameter is given twice"
		}
	}
	scopes := strings.Fields(q.Get("scope"))
	switch {
	case !slices.Contains(c.ResponseTypes, q.Get("response_type")):
		return "unsupported_response_type", "the client is not allowed to request this response type"
	case !slices.Contains(scopes, "openid") || slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(c.Scopes, s) }):
		return "invalid_scope", "the client is not allowed to request these scopes"
	case len(q.Get("state")) < leastEntropy:
		return "invalid_state", "the state is missing or does not have enough characters"
	case q.Has("nonce") && len(q.Get("nonce")) < leastEntropy:
		return "insufficient_entropy", "the nonce does not have enough characters"
	case q.Get("code_challenge") == "":
		return "invalid_request", "clients must include a code_challenge when performing the authorize code flow, but it is missing"
	case q.Get("code_challenge_method") != "S256" || !challengePattern.MatchString(q.Get("code_challenge")):
		return "invalid_request", "clients must use code_challenge_method=S256"
	default:
		return "", ""
	}
}

// authorization is where a client sends the browser.
func (r *request) authorization() {
	o := r.portal.openID
	query := string(r.QueryArgs().QueryString())
	q, err := url.ParseQuery(query)
	if err != nil {
		r.oauthError(fasthttp.StatusBadRequest, "invalid_request", "the query cannot be read")
		return
	}
	client, known := o.client(q.Get("client_id"))
	switch {
	case !known:
		r.oauthError(fasthttp.StatusUnauthorized, "invalid_client", "the requested OAuth 2.0 Client does not exist")
		return
	case !slices.Contains(client.RedirectURIs, q.Get("redirect_uri")):
		// Sent back to an address that is not the client's, the browser would carry the answer to a
		// stranger.
		r.oauthError(fasthttp.StatusBadRequest, "invalid_request", "the 'redirect_uri' parameter does not match any of the OAuth 2.0 Client's pre-registered redirect urls")
		return
	}
	if code, description := refusedBy(client, q); code != "" {
		r.sendBack(q, url.Values{"error": {code}, "error_description": {description}})
		return
	}
	user, err := r.visitor()
	if err != nil {
		r.sendBack(q, url.Values{"error": {"server_error"}})
		return
	}
	required := o.required(client, access.Subject{User: user.Username, Groups: user.Groups, Addr: r.addr})
	switch {
	case user.Anonymous():
		r.beginLogin(client, query)
	case required == access.Denied:
		r.log(logs.Error, nil, "the user '%s' is not authorized to use the client '%s'", user.Username, client.ID)
		r.sendBack(q, url.Values{"error": {"access_denied"}, "error_description": {"The requested access was denied."}})
	case user.Level() < required:
		r.beginLogin(client, query)
	default:
		code := o.give(&grant{
			client: client.ID, redirect: q.Get("redirect_uri"), challenge: q.Get("code_challenge"), nonce: q.Get("nonce"), scopes: strings.Fields(q.Get("scope")),
			user: user.Username, loggedIn: time.Unix(user.LastActivity, 0), expires: r.now().Add(codeLifespan),
		})
		r.sendBack(q, url.Values{"code": {code}, "scope": {q.Get("scope")}})
	}
}

// sendBack sends the browser to the client, whose address was compared before.
func (r *request) sendBack(q, answer url.Values) {
	answer.Set("iss", strings.TrimSuffix(r.portal.openID.issuer.String(), "/"))
	if state := q.Get("state"); state != "" {
		answer.Set("state", state)
	}
	r.redirect(q.Get("redirect_uri")+"?"+answer.Encode(), fasthttp.StatusSeeOther)
}

// beginLogin sends the browser to the login page, which comes back by the flow's number.
func (r *request) beginLogin(client config.Client, query string) {
	o, id := r.portal.openID, random()
	o.mu.Lock()
	o.flows[id] = begun{client, query, r.now().Add(flowLifespan)}
	o.mu.Unlock()
	to := *o.issuer
	to.Path, to.RawQuery = "/", url.Values{"flow": {flowName}, "flow_id": {id}}.Encode()
	r.redirect(to.String(), fasthttp.StatusFound)
}

// afterFlow tells the login page where to go after a factor, if that was enough for the client.
func (r *request) afterFlow(flow, id string, subject access.Subject, level access.Level) {
	o := r.portal.openID
	if o == nil || flow != flowName {
		r.log(logs.Error, nil, "Failed to find flow handler for the given flow parameters")
		r.refuse(fasthttp.StatusOK, messageCredentials)
		return
	}
	o.mu.Lock()
	waiting, ok := o.flows[id]
	o.mu.Unlock()
	if !ok || waiting.expires.Before(r.now()) {
		r.log(logs.Error, nil, "Failed to load consent session by challenge id")
		r.refuse(fasthttp.StatusOK, messageCredentials)
		return
	}
	// Who is denied goes back too: the client is told.
	if required := o.required(waiting.client, subject); required != access.Denied && level < required {
		r.ok()
		return
	}
	to := *o.issuer
	to.Path, to.RawQuery = "/api/oidc/authorization", waiting.query
	r.data(redirection{to.String()})
}

func (o *openID) client(id string) (config.Client, bool) {
	i := slices.IndexFunc(o.config.Clients, func(c config.Client) bool { return c.ID == id })
	if i < 0 {
		return config.Client{}, false
	}
	return o.config.Clients[i], true
}

// required is what the client's policy asks of a user. Unlike an access rule's, a subject here
// never fits somebody unknown.
func (o *openID) required(c config.Client, s access.Subject) access.Level {
	policy, ok := o.config.Policies[c.Policy]
	if !ok {
		return access.LevelOf(c.Policy)
	}
	for _, rule := range policy.Rules {
		if s.User != "" && s.IsAny(rule.Subject) {
			return access.LevelOf(rule.Policy)
		}
	}
	return access.LevelOf(policy.DefaultPolicy)
}

// SecondFactor reports whether any client could ask for a second factor.
func (o *openID) secondFactor() bool {
	if o == nil {
		return false
	}
	for _, c := range o.config.Clients {
		policy := o.config.Policies[c.Policy]
		if cmp.Or(policy.DefaultPolicy, c.Policy) == "two_factor" || slices.ContainsFunc(policy.Rules, func(r config.OIDCRule) bool { return r.Policy == "two_factor" }) {
			return true
		}
	}
	return false
}

// give keeps a grant under a fresh code.
func (o *openID) give(g *grant) string {
	code := random()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.codes[o.keyed(code)] = g
	return code
}

// keyed is what is kept of a code or a token.
func (o *openID) keyed(text string) string {
	mac := hmac.New(sha256.New, []byte(o.config.HMACSecret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// subject is the number of a user, the same for every client.
func (o *openID) subject(user string) string {
	sum := o.keyed("subject " + user)
	return strings.Join([]string{sum[:8], sum[8:12], "4" + sum[13:16], "8" + sum[17:20], sum[20:32]}, "-")
}

// random is 43 letters that nobody can guess.
func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // the standard library's reader never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// answersTo reports whether a verifier is the one whose hash the challenge is.
func (g *grant) answersTo(verifier string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(g.challenge)) == 1
}
