package portal

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/config"
	"homelab/tests/chain/standin/internal/users"
)

const sha256crypto = crypto.SHA256

var verifierPattern = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// authenticated returns the client that proves itself by HTTP Basic, and in no other way.
func (r *request) authenticated(form url.Values) (config.Client, error) {
	kind, text, _ := strings.Cut(r.header("Authorization"), " ")
	plain, err := base64.StdEncoding.DecodeString(text)
	id, secret, found := strings.Cut(string(plain), ":")
	if kind != "Basic" || err != nil || !found || form.Has("client_secret") {
		return config.Client{}, errors.New("the client must prove itself by client_secret_basic")
	}
	id, idErr := url.QueryUnescape(id)
	secret, secretErr := url.QueryUnescape(secret)
	client, known := r.portal.openID.client(id)
	if idErr != nil || secretErr != nil || !known || !client.Proves(secret) || form.Has("client_id") && form.Get("client_id") != id {
		return config.Client{}, errors.New("the client is unknown, or its secret is wrong")
	}
	return client, nil
}

// token changes a code into tokens.
func (r *request) token() {
	mediaType, _, _ := strings.Cut(string(r.Request.Header.ContentType()), ";")
	form, err := url.ParseQuery(string(r.PostBody()))
	if mediaType != "application/x-www-form-urlencoded" || err != nil {
		r.oauthError(fasthttp.StatusBadRequest, "invalid_request", "the body is not a form")
		return
	}
	client, err := r.authenticated(form)
	if err != nil {
		r.Response.Header.Set("WWW-Authenticate", "Basic")
		r.oauthError(fasthttp.StatusUnauthorized, "invalid_client", "Client authentication failed: "+err.Error())
		return
	}
	for _, values := range form {
		if len(values) != 1 {
			r.oauthError(fasthttp.StatusBadRequest, "invalid_request", "a parameter is given twice")
			return
		}
	}
	if form.Get("grant_type") != "authorization_code" {
		r.oauthError(fasthttp.StatusBadRequest, "unsupported_grant_type", "the stand-in knows only authorization codes")
		return
	}
	token := random()
	g, problem := r.portal.openID.redeem(client, form, token, r.now())
	if problem != "" {
		r.oauthError(fasthttp.StatusBadRequest, "invalid_grant", problem)
		return
	}
	user, err := r.portal.users.Get(g.user)
	if err != nil {
		r.oauthError(fasthttp.StatusBadRequest, "invalid_grant", "the user is gone")
		return
	}
	id, err := r.idToken(g, user, token)
	if err != nil {
		r.oauthError(fasthttp.StatusInternalServerError, "server_error", "the ID token cannot be signed")
		return
	}
	r.document(fasthttp.StatusOK, map[string]any{
		"access_token": token, "token_type": "bearer", "expires_in": int(tokenLifespan.Seconds()), "scope": strings.Join(g.scopes, " "), "id_token": id,
	})
}

// redeem takes a code, once. A code that comes a second time was stolen, so what it became ends
// too.
func (o *openID) redeem(client config.Client, form url.Values, token string, now time.Time) (*grant, string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g, ok := o.codes[o.keyed(form.Get("code"))]
	switch {
	case !ok || g.client != client.ID:
		return nil, "the code is unknown, or another client's"
	case g.used:
		delete(o.tokens, g.token)
		return nil, "the code was used before"
	case g.expires.Before(now):
		return nil, "the code has expired"
	case form.Get("redirect_uri") != g.redirect:
		return nil, "the 'redirect_uri' from this request does not match the one from the authorize request"
	case !verifierPattern.MatchString(form.Get("code_verifier")) || !g.answersTo(form.Get("code_verifier")):
		return nil, "the PKCE code challenge did not match the code verifier"
	}
	granted := *g
	granted.expires = now.Add(tokenLifespan)
	g.used, g.token = true, o.keyed(token)
	o.tokens[g.token] = &granted
	return &granted, ""
}

// idToken says to the client who the user is, and nothing more: the claims of the other scopes are
// at the user info endpoint.
func (r *request) idToken(g *grant, user users.User, token string) (string, error) {
	o, sum := r.portal.openID, sha256.Sum256([]byte(token))
	claims := map[string]any{
		"iss": strings.TrimSuffix(o.issuer.String(), "/"), "sub": o.subject(user.Name), "aud": []string{g.client}, "azp": g.client,
		"iat": r.now().Unix(), "exp": r.now().Add(tokenLifespan).Unix(), "auth_time": g.loggedIn.Unix(), "jti": random(),
		"at_hash": base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]),
	}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := o.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// openIDUser says who the user is to whom an access token belongs, as far as the client asked.
func (r *request) openIDUser() {
	o := r.portal.openID
	kind, token, _ := strings.Cut(r.header("Authorization"), " ")
	o.mu.Lock()
	g, ok := o.tokens[o.keyed(token)]
	o.mu.Unlock()
	var user users.User
	err := users.ErrNotFound
	if ok {
		user, err = r.portal.users.Get(g.user)
	}
	if kind != "Bearer" || err != nil || g.expires.Before(r.now()) {
		r.Response.Header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		r.oauthError(fasthttp.StatusUnauthorized, "invalid_token", "the access token is unknown or has expired")
		return
	}
	claims := map[string]any{"sub": o.subject(user.Name), "updated_at": r.now().Unix()}
	for scope, values := range map[string]map[string]any{
		"profile": {"name": user.DisplayName, "preferred_username": user.Name},
		"email":   {"email": user.Email, "email_verified": true},
		"groups":  {"groups": user.Groups},
	} {
		if !slices.Contains(g.scopes, scope) {
			continue
		}
		for name, value := range values {
			claims[name] = value
		}
	}
	r.document(fasthttp.StatusOK, claims)
}
