package portal_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

const (
	issuer        = "https://auth.example.com"
	grafanaSecret = "grafana's secret"
	state         = "a state of the service"
)

// back is the way of a service to the portal: through the proxy, which says what it was asked for.
type back struct{ *world }

// RoundTrip sends the request to the portal.
func (b back) RoundTrip(request *http.Request) (*http.Response, error) {
	forwarded := request.Clone(request.Context())
	forwarded.Header.Set("X-Forwarded-Proto", request.URL.Scheme)
	forwarded.Header.Set("X-Forwarded-Host", request.URL.Host)
	forwarded.Header.Set("X-Forwarded-Uri", request.URL.RequestURI())
	forwarded.Header.Set("X-Forwarded-For", "198.51.100.7")
	forwarded.URL.Scheme, forwarded.URL.Host = "http", "portal"
	return b.client.Transport.RoundTrip(forwarded)
}

// service is a client of the portal, on libraries that know nothing of it.
type service struct {
	*world
	ctx      context.Context
	provider *oidc.Provider
	oauth    oauth2.Config
	verifier string
}

func newService(t *testing.T) *service {
	t.Helper()
	w := runWorld(t, true)
	s := &service{world: w, verifier: oauth2.GenerateVerifier()}
	s.ctx = oidc.ClientContext(t.Context(), &http.Client{Transport: back{w}})
	var err error
	s.provider, err = oidc.NewProvider(s.ctx, issuer)
	require.NoError(t, err)
	s.oauth = oauth2.Config{
		ClientID: "grafana", ClientSecret: grafanaSecret, Endpoint: s.provider.Endpoint(),
		RedirectURL: "https://grafana.example.com/login/generic_oauth", Scopes: []string{"openid", "email", "profile", "groups"},
	}
	s.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	return s
}

// start is where the service sends a browser.
func (s *service) start(more ...oauth2.AuthCodeOption) string {
	return s.oauth.AuthCodeURL(state, append([]oauth2.AuthCodeOption{oauth2.S256ChallengeOption(s.verifier), oidc.Nonce("a nonce of the service")}, more...)...)
}

// follow asks the portal for a URL of its own, and returns where it sends the browser.
func (s *service) follow(v *visitor, link string) (answer, *url.URL) {
	s.t.Helper()
	path, ok := strings.CutPrefix(link, issuer)
	require.True(s.t, ok, "%s is not the portal's", link)
	a := v.api(http.MethodGet, path, "")
	to, err := url.Parse(a.Header.Get("Location"))
	require.NoError(s.t, err)
	return a, to
}

// callback is what the service gets from a browser that is logged in.
func (s *service) callback(v *visitor, link string) url.Values {
	s.t.Helper()
	a, to := s.follow(v, link)
	require.Equal(s.t, http.StatusSeeOther, a.StatusCode, a.body)
	require.Equal(s.t, s.oauth.RedirectURL, to.Scheme+"://"+to.Host+to.Path)
	require.Equal(s.t, state, to.Query().Get("state"))
	require.Equal(s.t, issuer, to.Query().Get("iss"))
	return to.Query()
}

// exchange changes a code into tokens.
func (s *service) exchange(code string) (*oauth2.Token, error) {
	return s.oauth.Exchange(s.ctx, code, oauth2.VerifierOption(s.verifier))
}

// refusedWith requires the portal's word for why it changes nothing into tokens.
func refusedWith(t *testing.T, err error, status int, code string) {
	t.Helper()
	var refused *oauth2.RetrieveError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, status, refused.Response.StatusCode)
	assert.Equal(t, code, refused.ErrorCode)
}

func TestOpenIDLogin(t *testing.T) {
	s := newService(t)
	code := s.callback(s.ready(), s.start()).Get("code")
	token, err := s.exchange(code)
	require.NoError(t, err)
	raw, ok := token.Extra("id_token").(string)
	require.True(t, ok)
	id, err := s.provider.Verifier(&oidc.Config{ClientID: "grafana", Now: s.clock.Now}).Verify(s.ctx, raw)
	require.NoError(t, err)
	require.NoError(t, id.VerifyAccessToken(token.AccessToken))
	assert.Equal(t, "a nonce of the service", id.Nonce)
	assert.Equal(t, []string{"grafana"}, id.Audience)
	var claims map[string]any
	require.NoError(t, id.Claims(&claims))
	assert.NotContains(t, claims, "email", "only the user info endpoint says this")
	assert.NotContains(t, claims, "groups")

	info, err := s.provider.UserInfo(s.ctx, oauth2.StaticTokenSource(token))
	require.NoError(t, err)
	assert.Equal(t, id.Subject, info.Subject)
	require.NoError(t, info.Claims(&claims))
	for name, want := range map[string]any{
		"preferred_username": "admin", "name": "Admin", "email": "admin@example.com", "email_verified": true, "groups": []any{"admins", "users"},
	} {
		assert.Equal(t, want, claims[name], name)
	}

	t.Run("a code is good for once, and who tries again ends what it became", func(t *testing.T) {
		_, err := s.exchange(code)
		refusedWith(t, err, http.StatusBadRequest, "invalid_grant")
		_, err = s.provider.UserInfo(s.ctx, oauth2.StaticTokenSource(token))
		require.ErrorContains(t, err, "401")
	})
}

func TestOpenIDScopesBoundWhatTheServiceLearns(t *testing.T) {
	s := newService(t)
	s.oauth.Scopes = []string{"openid"}
	token, err := s.exchange(s.callback(s.ready(), s.start()).Get("code"))
	require.NoError(t, err)
	info, err := s.provider.UserInfo(s.ctx, oauth2.StaticTokenSource(token))
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, info.Claims(&claims))
	for _, name := range []string{"email", "groups", "name", "preferred_username"} {
		assert.NotContains(t, claims, name)
	}
	s.clock.advance(time.Hour + time.Second)
	_, err = s.provider.UserInfo(s.ctx, oauth2.StaticTokenSource(token))
	require.ErrorContains(t, err, "401", "a token that has expired")
}

// The login page is told by which request it was opened, and where to go when the factors are
// enough.
func TestOpenIDAsksForTheFactorsThatAreMissing(t *testing.T) {
	s := newService(t)
	v := s.visitor()
	flow := func() string {
		a, to := s.follow(v, s.start())
		require.Equal(t, http.StatusFound, a.StatusCode, a.body)
		require.Equal(t, issuer+"/", to.Scheme+"://"+to.Host+to.Path)
		require.Equal(t, "openid_connect", to.Query().Get("flow"))
		return to.Query().Get("flow_id")
	}
	body := func(fields map[string]any) string {
		fields["flow"] = "openid_connect"
		text, err := json.Marshal(fields)
		require.NoError(t, err)
		return string(text)
	}
	id := flow()
	a := v.api(http.MethodPost, "/api/firstfactor", body(map[string]any{"username": "admin", "password": adminPassword, "flowID": id}))
	require.Equal(t, http.StatusOK, a.StatusCode, a.body)
	require.NotContains(t, a.body, "redirect", "one factor is enough")
	v.enrol()
	id = flow() // with the first factor alone the browser comes back to the portal
	s.clock.advance(time.Minute)
	a = v.api(http.MethodPost, "/api/secondfactor/totp", body(map[string]any{"token": v.code(0), "flowID": id}))
	var next struct {
		Redirect string `json:"redirect"`
	}
	a.data(t, &next)
	_, err := s.exchange(s.callback(v, next.Redirect).Get("code"))
	require.NoError(t, err)

	s.clock.advance(time.Minute)
	a = v.api(http.MethodPost, "/api/secondfactor/totp", body(map[string]any{"token": v.code(0), "flowID": "of nobody"}))
	assert.Contains(t, a.body, `"KO"`)
}

func TestOpenIDDeniesWhoIsInNoGroupOfTheSite(t *testing.T) {
	s := newService(t)
	guest := s.visitor()
	require.Equal(t, http.StatusOK, guest.login("guest", guestPassword).StatusCode)
	assert.Equal(t, "access_denied", s.callback(guest, s.start()).Get("error"))
	guest.enrol()
	s.clock.advance(time.Minute)
	require.Equal(t, http.StatusOK, guest.second(guest.code(0)).StatusCode)
	q := s.callback(guest, s.start())
	assert.Equal(t, "access_denied", q.Get("error"))
	assert.Empty(t, q.Get("code"))

	// The other client lets the guest in.
	s.oauth.ClientID, s.oauth.RedirectURL, s.oauth.Scopes = "photos", "https://photos.example.com/auth/login", []string{"openid"}
	assert.NotEmpty(t, s.callback(guest, s.start()).Get("code"))
}

func TestOpenIDRefusesTheRequest(t *testing.T) {
	s := newService(t)
	v := s.ready()
	changed := func(change func(url.Values)) string {
		u, err := url.Parse(s.start())
		require.NoError(t, err)
		q := u.Query()
		change(q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	t.Run("without a way back", func(t *testing.T) {
		for _, to := range []string{
			"", "https://evil.example.org/", "https://grafana.example.com/login/generic_oauth/", "https://grafana.example.com/login/generic_oauth?x=1",
			"http://grafana.example.com/login/generic_oauth", "https://grafana.example.com/Login/generic_oauth", "https://photos.example.com/auth/login",
			"https://grafana.example.com@evil.example.org/login/generic_oauth", "https://grafana.example.com/login/generic_oauth/../x",
		} {
			a, location := s.follow(v, changed(func(q url.Values) { q.Set("redirect_uri", to) }))
			assert.Equal(t, http.StatusBadRequest, a.StatusCode, to)
			assert.Empty(t, location.String(), to)
		}
		a, location := s.follow(v, changed(func(q url.Values) { q.Set("client_id", "radarr") }))
		assert.Equal(t, http.StatusUnauthorized, a.StatusCode)
		assert.Empty(t, location.String())
	})
	for name, c := range map[string]struct {
		change func(url.Values)
		want   string
	}{
		"no PKCE": {func(q url.Values) { q.Del("code_challenge"); q.Del("code_challenge_method") }, "invalid_request"},
		"plain PKCE": {func(q url.Values) {
			q.Set("code_challenge", s.verifier)
			q.Set("code_challenge_method", "plain")
		}, "invalid_request"},
		"PKCE without method": {func(q url.Values) { q.Del("code_challenge_method") }, "invalid_request"},
		"implicit":            {func(q url.Values) { q.Set("response_type", "id_token") }, "unsupported_response_type"},
		"scope of nobody":     {func(q url.Values) { q.Set("scope", "openid offline_access") }, "invalid_scope"},
		"no openid":           {func(q url.Values) { q.Set("scope", "email") }, "invalid_scope"},
		"short nonce":         {func(q url.Values) { q.Set("nonce", "short") }, "insufficient_entropy"},
		"request object":      {func(q url.Values) { q.Set("request", "e30.e30.") }, "invalid_request"},
		"twice":               {func(q url.Values) { q.Add("scope", "openid") }, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			q := s.callback(v, changed(c.change))
			assert.Equal(t, c.want, q.Get("error"))
			assert.Empty(t, q.Get("code"))
		})
	}
	t.Run("short state", func(t *testing.T) {
		_, to := s.follow(v, changed(func(q url.Values) { q.Set("state", "short") }))
		assert.Equal(t, "invalid_state", to.Query().Get("error"))
	})
}

func TestOpenIDRefusesTheExchange(t *testing.T) {
	s := newService(t)
	v := s.ready()
	for name, c := range map[string]struct {
		change func(*service)
		status int
		want   string
	}{
		"wrong secret":     {func(s *service) { s.oauth.ClientSecret = "guessed" }, http.StatusUnauthorized, "invalid_client"},
		"no secret":        {func(s *service) { s.oauth.ClientSecret = "" }, http.StatusUnauthorized, "invalid_client"},
		"secret in a form": {func(s *service) { s.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInParams }, http.StatusUnauthorized, "invalid_client"},
		"unknown client":   {func(s *service) { s.oauth.ClientID = "radarr" }, http.StatusUnauthorized, "invalid_client"},
		"another client": {func(s *service) { s.oauth.ClientID, s.oauth.ClientSecret = "photos", "photos' secret" },
			http.StatusBadRequest, "invalid_grant"},
		"another verifier": {func(s *service) { s.verifier = oauth2.GenerateVerifier() }, http.StatusBadRequest, "invalid_grant"},
		"no verifier":      {func(s *service) { s.verifier = "" }, http.StatusBadRequest, "invalid_grant"},
		"another way back": {func(s *service) { s.oauth.RedirectURL += "/" }, http.StatusBadRequest, "invalid_grant"},
		"too late":         {func(s *service) { s.clock.advance(61 * time.Second) }, http.StatusBadRequest, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			code := s.callback(v, s.start()).Get("code")
			attacker := *s
			c.change(&attacker)
			_, err := attacker.exchange(code)
			refusedWith(t, err, c.status, c.want)
		})
	}
	_, err := s.exchange("guessed")
	refusedWith(t, err, http.StatusBadRequest, "invalid_grant")
	_, err = s.provider.UserInfo(s.ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "guessed"}))
	require.ErrorContains(t, err, "401")
	for _, line := range s.logged() {
		assert.NotContains(t, line, grafanaSecret)
	}
}

// Without the second configuration the portal knows nothing of it.
func TestNoOpenIDWithoutConfiguration(t *testing.T) {
	v := newWorld(t).visitor()
	for _, path := range []string{"/.well-known/openid-configuration", "/api/oidc/authorization", "/api/oidc/token", "/api/oidc/userinfo"} {
		assert.Equal(t, http.StatusNotFound, v.api(http.MethodGet, path, "").StatusCode, path)
	}
	assert.NotContains(t, v.api(http.MethodGet, "/jwks.json", "").body, "keys")
}

// The keys are the public halves only.
func TestOpenIDShowsNoPrivateKey(t *testing.T) {
	s := newService(t)
	response, err := (&http.Client{Transport: back{s.world}}).Get(issuer + "/jwks.json")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var set struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal(text, &set))
	require.Len(t, set.Keys, 1)
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		assert.NotContains(t, set.Keys[0], private)
	}
}
