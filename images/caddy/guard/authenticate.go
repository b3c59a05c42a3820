package guard

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

const (
	// portalTimeout bounds one question to the portal.
	portalTimeout = 10 * time.Second
	// recheckInterval is how often the portal is asked whether the session behind a WebSocket still
	// holds: a connection that lives for hours would outlive a logout otherwise.
	recheckInterval = 20 * time.Second
	// recheckFailures is how many questions in a row the portal may leave without an answer.
	recheckFailures = 3
)

// asked are the client's headers that the portal needs for its decision. It gets no other.
var asked = []string{"Accept", "Accept-Language", "Cookie", "User-Agent", "X-Requested-With"}

// identity are the headers by which the portal says who the client is. Inspect's UserHeader is one.
var identity = []string{UserHeader, "Remote-Groups", "Remote-Name", "Remote-Email"}

func init() {
	caddy.RegisterModule(Authenticate{})
	httpcaddyfile.RegisterHandlerDirective("authenticate", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		portal, err := oneArgument(h.Dispenser)
		return &Authenticate{Portal: portal}, err
	})
}

// Authenticate asks the portal whether a request may go on, and passes on who the client is. The
// portal's answer to a client who may not is that client's answer. In a Caddyfile:
//
//	authenticate http://authelia:9091/api/authz/forward-auth
//
// Unlike Caddy's forward_auth, it asks again for as long as a WebSocket is open, and closes it when
// the answer is no longer yes, or yes to somebody else.
type Authenticate struct {
	// Portal is the URL that is asked; required.
	Portal string `json:"portal"`

	url *url.URL
	hop *hop
	log *zap.Logger
}

// CaddyModule returns the module's ID and constructor.
func (Authenticate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.authenticate", New: func() caddy.Module { return new(Authenticate) }}
}

// Provision makes the client.
func (a *Authenticate) Provision(ctx caddy.Context) (err error) {
	if a.url, err = httpURL(a.Portal); err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	a.log = ctx.Logger()
	a.hop = newHop(portalTimeout)
	return nil
}

// Cleanup closes the connections to the portal.
func (a *Authenticate) Cleanup() error {
	if a.hop != nil {
		a.hop.close()
	}
	return nil
}

// ServeHTTP asks the portal, and answers or passes the request on.
func (a *Authenticate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	answer, err := a.ask(r.Context(), r)
	if err != nil {
		if r.Context().Err() == nil {
			a.log.Error("the portal does not answer: the request is refused", zap.Error(err))
		}
		return refuse(w, http.StatusBadGateway)
	}
	if !consents(answer) {
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		// They are the body's, which did not come, and the connection's.
		for _, name := range []string{"Connection", "Content-Length", "Keep-Alive", "Transfer-Encoding"} {
			w.Header().Del(name)
		}
		return refuse(w, answer.StatusCode)
	}
	for _, name := range identity {
		r.Header.Del(name)
		if value := answer.Header.Get(name); value != "" {
			r.Header.Set(name, value)
		}
	}
	if r.Header.Get("Upgrade") != "" {
		return a.watched(w, r, next)
	}
	return next.ServeHTTP(w, r)
}

// ask returns the portal's answer. HEAD, because nobody needs its body.
func (a *Authenticate) ask(ctx context.Context, r *http.Request) (*http.Response, error) {
	client, err := clientAddress(r)
	if err != nil {
		return nil, err
	}
	q := &question{method: http.MethodHead, url: a.url, header: make([]byte, 0, 1024)}
	for _, name := range asked {
		for _, value := range r.Header.Values(name) {
			if err := q.add(name, value); err != nil {
				return nil, err
			}
		}
	}
	for _, h := range [][2]string{
		{"X-Forwarded-Method", r.Method},
		{"X-Forwarded-Proto", "https"},
		{"X-Forwarded-Host", r.Host},
		{"X-Forwarded-Uri", r.URL.RequestURI()},
		{"X-Forwarded-For", networkAddress(client).String()},
	} {
		if err := q.add(h[0], h[1]); err != nil {
			return nil, err
		}
	}
	answer, _, err := a.hop.do(ctx, q)
	return answer, err
}

func consents(answer *http.Response) bool {
	return answer.StatusCode >= 200 && answer.StatusCode < 300
}

// watched serves a request that may become a WebSocket, and ends it when the session behind it
// does: the proxy closes the connection of a request whose context is done.
func (a *Authenticate) watched(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	// What the portal is asked later must not depend on what the handlers behind make of the
	// request.
	go a.watch(ctx, cancel, r.Clone(ctx))
	return next.ServeHTTP(w, r.WithContext(ctx))
}

// watch cancels as soon as the portal no longer consents, or not to the same user, or does not
// answer for a while.
func (a *Authenticate) watch(ctx context.Context, cancel context.CancelFunc, r *http.Request) {
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(recheckInterval):
		}
		answer, err := a.ask(ctx, r)
		switch {
		case err != nil:
			if failures++; failures < recheckFailures {
				continue
			}
		case consents(answer) && answer.Header.Get(UserHeader) == r.Header.Get(UserHeader):
			failures = 0
			continue
		}
		cancel()
		return
	}
}

var (
	_ caddy.Provisioner           = (*Authenticate)(nil)
	_ caddy.CleanerUpper          = (*Authenticate)(nil)
	_ caddyhttp.MiddlewareHandler = (*Authenticate)(nil)
)
