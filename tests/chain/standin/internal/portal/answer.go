package portal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/access"
	"homelab/tests/chain/standin/internal/config"
	"homelab/tests/chain/standin/internal/logs"
	"homelab/tests/chain/standin/internal/session"
)

// The portal's words to a visitor say nothing of what went wrong.
const (
	messageFailed       = "Operation failed."
	messageCredentials  = "Authentication failed. Check your credentials."
	messageSecondFactor = "Authentication failed, please retry later."
	messageEnrol        = "Unable to set up one-time password."
)

// base sets the headers of every answer.
func base(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.Response.Header.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	ctx.Response.Header.Set("X-Frame-Options", "DENY")
	ctx.Response.Header.Set("X-DNS-Prefetch-Control", "off")
}

// api sets the headers of the portal's API.
func api(ctx *fasthttp.RequestCtx) {
	base(ctx)
	ctx.Response.Header.Set("Pragma", "no-cache")
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.Response.Header.Set("Content-Security-Policy", "default-src 'none'")
}

// plain answers with the status alone. It drops headers set before, cookies too.
func plain(ctx *fasthttp.RequestCtx, status int) {
	ctx.Response.Reset()
	ctx.SetStatusCode(status)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBodyString(strconv.Itoa(status) + " " + fasthttp.StatusMessage(status))
}

type envelope struct {
	Status  string `json:"status"`
	Message string `json:"message,omitempty"`
	Data    any    `json:"data,omitempty"`
}

func (r *request) json(status int, body envelope) { r.document(status, body) }

func (r *request) ok() { r.json(fasthttp.StatusOK, envelope{Status: "OK"}) }

func (r *request) data(data any) { r.json(fasthttp.StatusOK, envelope{Status: "OK", Data: data}) }

// refuse answers with an error. Some of the portal's errors have, oddly, the status 200.
func (r *request) refuse(status int, message string) {
	r.json(status, envelope{Status: "KO", Message: message})
}

// body reads the request's JSON; every text in required must be there.
func (r *request) body(into any, required ...*string) error {
	if err := json.Unmarshal(r.PostBody(), into); err != nil {
		return fmt.Errorf("unable to parse body: %w", err)
	}
	for _, text := range required {
		if *text == "" {
			return errors.New("unable to validate body: non zero value required")
		}
	}
	return nil
}

func (r *request) notImplemented() {
	r.log(logs.Error, nil, "The stand-in knows no security keys")
	r.refuse(fasthttp.StatusNotImplemented, "The stand-in knows no security keys.")
}

// serveIndex is the portal's page. The real one is a program for the browser, which talks to the
// API.
func serveIndex(r *request) {
	r.Response.Header.Set("Content-Security-Policy", "default-src 'self'; frame-src 'none'; object-src 'none'; frame-ancestors 'none'; base-uri 'self'")
	r.SetContentType("text/html; charset=utf-8")
	r.SetBodyString("<!doctype html>\n<html lang=\"en\">\n<head><title>Login - Authelia (stand-in)</title></head>\n" +
		"<body><div id=\"root\">This is a stand-in for Authelia. It has an API, but no form.</div></body>\n</html>\n")
}

// serveUnknown is for paths without a route: the page, except under the folders of the API and of
// files.
func serveUnknown(r *request) {
	path := strings.ToLower(string(r.Path()))
	for _, folder := range []string{"/api", "/.well-known", "/static", "/locales"} {
		if path == folder || strings.HasPrefix(path, folder+"/") {
			plain(r.RequestCtx, fasthttp.StatusNotFound)
			return
		}
	}
	serveIndex(r)
}

// redirect answers with a place to go to, which a 401 may have too.
func (r *request) redirect(to string, status int) {
	r.SetStatusCode(status)
	r.Response.Header.Set("Location", to)
	if r.IsHead() {
		return
	}
	escaped := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(to)
	r.SetContentType("text/html; charset=utf-8")
	r.SetBodyString(fmt.Sprintf(`<a href="%s">%d %s</a>`, escaped, status, fasthttp.StatusMessage(status)))
}

// cookieOf returns the cookie domain a URL belongs to.
func (r *request) cookieOf(u *url.URL) (config.Cookie, bool) {
	for _, c := range r.portal.config.Session.Cookies {
		if config.HasDomainSuffix(u.Hostname(), c.Domain) {
			return c, true
		}
	}
	return config.Cookie{}, false
}

func secure(u *url.URL) bool { return u.Scheme == "https" || u.Scheme == "wss" }

// safe reports whether the portal may send a visitor to a URL.
func (r *request) safe(u *url.URL) bool {
	_, ok := r.cookieOf(u)
	return secure(u) && ok
}

// ownURL is the URL the visitor used to reach the portal, as the proxy tells.
func (r *request) ownURL() (*url.URL, error) {
	if original := r.Request.Header.Peek("X-Original-URL"); original != nil {
		return url.ParseRequestURI(string(original))
	}
	host, uri := r.header("X-Forwarded-Host"), r.header("X-Forwarded-Uri")
	if host == "" {
		host = string(r.Host())
	}
	if host == "" {
		return nil, errors.New("missing required X-Forwarded-Host header")
	}
	if uri == "" {
		uri = string(r.Request.RequestURI())
	}
	return url.ParseRequestURI(r.proto() + "://" + host + uri)
}

// proto is the scheme the visitor used; the portal itself speaks no TLS.
func (r *request) proto() string {
	if proto := r.header("X-Forwarded-Proto"); proto != "" {
		return proto
	}
	return "http"
}

// session returns the session of the portal's own cookie domain.
func (r *request) session() (*session.Session, error) {
	if r.current != nil {
		return r.current, nil
	}
	own, err := r.ownURL()
	if err != nil {
		return nil, fmt.Errorf("unable to retrieve session cookie domain: %w", err)
	}
	cookie, ok := r.cookieOf(own)
	if !ok {
		return nil, fmt.Errorf("unable to retrieve session cookie domain provider: no configured session cookie domain matches the url '%s'", own)
	}
	r.current = r.portal.sessions.Of(r.RequestCtx, cookie.Domain)
	return r.current, nil
}

// visitor returns who is logged in. Without the session store it is nobody.
func (r *request) visitor() (session.User, error) {
	s, err := r.session()
	if err != nil {
		return session.User{}, err
	}
	user, err := s.Get()
	if err != nil {
		r.log(logs.Error, err, "Unable to retrieve user session")
		return s.Default(), nil
	}
	if user.CookieDomain != s.Default().CookieDomain {
		r.log(logs.Warn, nil, "Destroying session cookie as the cookie domain '%s' does not match the requests detected cookie domain '%s'",
			user.CookieDomain, s.Default().CookieDomain)
		if err := s.Destroy(); err != nil {
			r.log(logs.Error, err, "Error occurred trying to destroy the session cookie")
		}
		return s.Default(), nil
	}
	return user, nil
}

// save keeps the visitor.
func (r *request) save(u session.User) error {
	s, err := r.session()
	if err != nil {
		return err
	}
	return s.Save(u)
}

// oneFactor lets nobody pass who has not shown a factor.
func oneFactor(next handler) handler {
	return func(r *request) {
		user, err := r.visitor()
		if err != nil || user.Level() < access.OneFactor {
			plain(r.RequestCtx, fasthttp.StatusForbidden)
			return
		}
		next(r)
	}
}
