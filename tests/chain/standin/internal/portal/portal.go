// Package portal answers the proxy's questions and is the login portal.
package portal

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/access"
	"homelab/tests/chain/standin/internal/config"
	"homelab/tests/chain/standin/internal/logs"
	"homelab/tests/chain/standin/internal/metrics"
	"homelab/tests/chain/standin/internal/session"
	"homelab/tests/chain/standin/internal/storage"
	"homelab/tests/chain/standin/internal/users"
)

// Clock is the time, which tests replace.
type Clock struct {
	Now   func() time.Time
	Sleep func(time.Duration)
}

// SystemClock is the machine's.
func SystemClock() Clock { return Clock{Now: time.Now, Sleep: time.Sleep} }

// Portal is the whole program but its listeners.
type Portal struct {
	config   *config.Configuration
	clock    Clock
	rules    access.Rules
	sessions *session.Store
	storage  *storage.Storage
	users    *users.Database
	log      *logs.Logger
	metrics  *metrics.Metrics
	openID   *openID // nil without
}

// Open opens what the configuration names: storage, session store, users' database, notification
// file. The error joins what failed.
func Open(ctx context.Context, c *config.Configuration, log *logs.Logger, clock Clock) (*Portal, error) {
	p := &Portal{config: c, clock: clock, rules: access.New(c.AccessControl), log: log, metrics: metrics.New()}
	var errs [5]error
	p.storage, errs[0] = storage.Open(c.Storage.Local.Path, c.Storage.EncryptionKey, clock.Now)
	p.sessions, errs[1] = session.Open(ctx, c.Session)
	p.users, errs[2] = users.Open(c.Backend.File.Path)
	errs[3] = clearNotifications(c.Notifier.Filesystem.Filename)
	for i, provider := range []string{"storage", "session", "user", "notification", "openid"} {
		if errs[i] != nil {
			log.Log(logs.Error, logs.Fields{"provider": provider}, errs[i], "Error occurred running a startup check")
		}
	}
	p.openID, errs[4] = newOpenID(c)
	if err := errors.Join(errs[:]...); err != nil {
		if p.sessions != nil {
			_ = p.sessions.Close()
		}
		if p.storage != nil {
			_ = p.storage.Close()
		}
		return nil, err
	}
	return p, nil
}

// Close closes the connections to the session store, and the database.
func (p *Portal) Close() error { return errors.Join(p.sessions.Close(), p.storage.Close()) }

// Watch reads the users' database again whenever it changes, until ctx ends. It looks every second,
// where the real program is told by the kernel.
func (p *Portal) Watch(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			reloaded, err := p.users.Reload()
			switch {
			case err != nil:
				p.log.Log(logs.Error, nil, err, "Error occurred during reload")
			case reloaded:
				p.log.Log(logs.Info, nil, nil, "Reload successful")
			}
		}
	}
}

// Metrics returns the counters.
func (p *Portal) Metrics() *metrics.Metrics { return p.metrics }

// Handler returns the portal's routes.
func (p *Portal) Handler() fasthttp.RequestHandler {
	r := router.New()
	r.RedirectFixedPath = false
	r.HandleMethodNotAllowed = true
	r.MethodNotAllowed = func(ctx *fasthttp.RequestCtx) { plain(ctx, fasthttp.StatusMethodNotAllowed) }
	r.NotFound = p.with(base, serveUnknown)
	for _, method := range []string{fasthttp.MethodGet, fasthttp.MethodHead} {
		r.Handle(method, "/", p.with(base, serveIndex))
		r.Handle(method, "/api/health", p.with(api, (*request).ok))
		for name := range p.config.Server.Endpoints.Authz {
			r.Handle(method, "/api/authz/"+name, p.countAuthz(p.with(base, (*request).authz)))
		}
	}
	r.GET("/api/state", p.with(api, (*request).state))
	r.GET("/api/configuration", p.with(api, oneFactor((*request).configuration)))
	r.GET("/api/configuration/password-policy", p.with(api, (*request).passwordPolicy))
	r.POST("/api/checks/safe-redirection", p.with(api, (*request).safeRedirection))
	r.POST("/api/firstfactor", p.with(api, (*request).firstFactor))
	r.POST("/api/firstfactor/reauthenticate", p.with(api, oneFactor((*request).reauthenticate)))
	r.POST("/api/logout", p.with(api, (*request).logout))
	r.GET("/api/user/info", p.with(api, oneFactor((*request).userInfo)))
	r.POST("/api/user/info", p.with(api, oneFactor((*request).userInfoPOST)))
	r.POST("/api/user/info/2fa_method", p.with(api, oneFactor((*request).setMethod)))
	p.elevationRoutes(r)
	p.factorRoutes(r)
	p.openIDRoutes(r)
	return p.recoverAndCount(r.Handler)
}

func (p *Portal) elevationRoutes(r *router.Router) {
	code, elevation := p.config.Identity.ElevatedSession.CodeLifespan.Std(), p.config.Identity.ElevatedSession.ElevationLifespan.Std()
	start := p.limit(bucket{code, 3}, bucket{2 * code, 5}, bucket{12 * code, 15})
	finish := p.limit(bucket{elevation, 3}, bucket{2 * elevation, 5}, bucket{6 * elevation, 15})
	const path = "/api/user/session/elevation"
	r.GET(path, p.with(api, oneFactor((*request).elevationState)))
	r.POST(path, p.with(api, start(oneFactor((*request).elevationStart))))
	r.PUT(path, p.atLeast(time.Second, p.with(api, finish(oneFactor((*request).elevationFinish)))))
	r.DELETE(path+"/{id}", p.with(api, (*request).elevationRevoke))
}

func (p *Portal) factorRoutes(r *router.Router) {
	if !p.config.TOTP.Disable {
		limited := p.configured(p.config.Server.Endpoints.RateLimits.SecondFactorTOTP)
		const path = "/api/secondfactor/totp"
		r.GET(path, p.with(api, oneFactor((*request).totpDevice)))
		r.POST(path, p.with(api, limited(oneFactor((*request).totpSignIn))))
		r.DELETE(path, p.with(api, oneFactor((*request).totpDelete)))
		r.GET(path+"/register", p.with(api, elevated((*request).enrolOptions)))
		r.PUT(path+"/register", p.with(api, elevated((*request).enrolStart)))
		r.POST(path+"/register", p.with(api, elevated((*request).enrolFinish)))
		r.DELETE(path+"/register", p.with(api, elevated((*request).enrolCancel)))
	}
	if !p.config.WebAuthn.Disable {
		const path = "/api/secondfactor/webauthn"
		r.GET(path, p.with(api, oneFactor((*request).notImplemented)))
		r.POST(path, p.with(api, oneFactor((*request).notImplemented)))
		r.GET(path+"/credentials", p.with(api, oneFactor((*request).notImplemented)))
		for _, method := range []string{fasthttp.MethodPut, fasthttp.MethodPost, fasthttp.MethodDelete} {
			r.Handle(method, path+"/credential/register", p.with(api, elevated((*request).notImplemented)))
		}
		for _, method := range []string{fasthttp.MethodPut, fasthttp.MethodDelete} {
			r.Handle(method, path+"/credential/{id}", p.with(api, elevated((*request).notImplemented)))
		}
	}
}

// recoverAndCount turns a panic into an error of the server, never into an answer that lets someone
// pass.
func (p *Portal) recoverAndCount(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		started, method := time.Now(), string(ctx.Method())
		defer func() {
			if cause := recover(); cause != nil {
				p.log.Log(logs.Error, nil, nil, "Panic (recovered) occurred while handling requests: %v", cause)
				plain(ctx, fasthttp.StatusInternalServerError)
			}
			p.metrics.Request(ctx.Response.StatusCode(), method, time.Since(started))
		}()
		next(ctx)
	}
}

func (p *Portal) countAuthz(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		next(ctx)
		p.metrics.Authz(ctx.Response.StatusCode())
	}
}

// atLeast makes every answer take as long as d.
func (p *Portal) atLeast(d time.Duration, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		started := time.Now()
		next(ctx)
		p.clock.Sleep(max(0, d-time.Since(started)))
	}
}

// passwordDelay makes a login take a second and a little more, however it ends.
func (p *Portal) passwordDelay(started time.Time, success bool) {
	took := time.Since(started)
	p.metrics.Authn(success, took)
	p.clock.Sleep(max(time.Millisecond, time.Second+rand.N(85*time.Millisecond)-took))
}

// handler answers one request.
type handler func(*request)

// request is one request with what answering it needs.
type request struct {
	*fasthttp.RequestCtx
	portal *Portal
	fields logs.Fields
	addr   netip.Addr
	// current is the session of the portal's own domain, once it was found.
	current *session.Session
}

// with prepares the request: headers for safety first, then the handler.
func (p *Portal) with(headers func(*fasthttp.RequestCtx), next handler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		headers(ctx)
		addr := remoteAddr(ctx)
		next(&request{RequestCtx: ctx, portal: p, addr: addr, fields: logs.Fields{
			"method": string(ctx.Method()), "path": string(ctx.Path()), "remote_ip": addr.String(),
		}})
	}
}

// remoteAddr returns the leftmost entry of X-Forwarded-For. Without one, or when it is no address,
// it is the peer's.
func remoteAddr(ctx *fasthttp.RequestCtx) netip.Addr {
	first, _, _ := strings.Cut(string(ctx.Request.Header.Peek("X-Forwarded-For")), ",")
	if addr, err := netip.ParseAddr(strings.Trim(first, " ")); err == nil && addr.Zone() == "" {
		return addr.Unmap()
	}
	addr, _ := netip.AddrFromSlice(ctx.RemoteIP())
	return addr.Unmap()
}

func (r *request) log(level logs.Level, err error, format string, args ...any) {
	r.portal.log.Log(level, r.fields, err, format, args...)
}

func (r *request) header(name string) string { return string(r.Request.Header.Peek(name)) }

func (r *request) now() time.Time { return r.portal.clock.Now() }
