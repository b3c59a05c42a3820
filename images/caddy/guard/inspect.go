package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// bodyGrace is how long a body may take however short it is.
	bodyGrace = 10 * time.Second
	// bodyRate is how fast a body must come, in bytes per second: half a megabit, the uplink of a
	// poor mobile connection.
	bodyRate = 64 << 10
)

// UserHeader names the user whom the portal has let in. The proxy removes it from what clients
// send.
const UserHeader = "Remote-User"

// inspectedVar is the request's variable that says that its line and headers were inspected.
const inspectedVar = "guard.inspected"

func init() {
	caddy.RegisterModule(Inspect{})
	httpcaddyfile.RegisterHandlerDirective("inspect", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		i := new(Inspect)
		return i, i.UnmarshalCaddyfile(h.Dispenser)
	})
}

// Inspect has AppSec inspect a request, and refuses what AppSec blocks, what it gives no verdict on
// (503), and what cannot be inspected: a body without a declared length (411), longer than the
// limit (413), slower than it may be (408), encoded or in another charset than UTF-8 (415), or for
// which there is no room (429). In a Caddyfile:
//
//	inspect headers 10MB            # the request line and the headers; the body is not read
//	inspect body    10MB open       # the body too, if there is one, held in the pool "open"
//	inspect body    10MB open known # in the pool "known" for users whom the portal has let in
//	inspect body    10MB open {
//		upload /files 2GB PUT POST # larger files come in here; see Upload
//	}
//
// One limit counts for what may pass and what is inspected. A site behind the portal names both:
// what an anonymous client sends is inspected before the portal is asked, without holding its body.
type Inspect struct {
	// Limit is the largest body, in bytes; required.
	Limit int64 `json:"limit"`
	// Body is whether the body is read and inspected.
	Body bool `json:"body,omitempty"`
	// Pool holds the bodies of clients whom nobody knows.
	Pool string `json:"pool,omitempty"`
	// UserPool holds those of users whom the portal has let in; Pool if empty.
	UserPool string `json:"user_pool,omitempty"`
	// Uploads are where larger files come in.
	Uploads []Upload `json:"uploads,omitempty"`

	app *App
}

// CaddyModule returns the module's ID and constructor.
func (Inspect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.inspect", New: func() caddy.Module { return new(Inspect) }}
}

// UnmarshalCaddyfile reads the directive.
func (i *Inspect) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	arguments := d.RemainingArgs()
	if len(arguments) < 2 {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if d.Val() != "upload" {
			return d.Errf("unknown option %q", d.Val())
		}
		var u Upload
		if err := u.unmarshal(d); err != nil {
			return err
		}
		i.Uploads = append(i.Uploads, u)
	}
	if i.Limit, err = size(arguments[1]); err != nil {
		return d.WrapErr(err)
	}
	pools := arguments[2:]
	switch {
	case arguments[0] == "headers" && len(pools) == 0:
		return nil
	case arguments[0] == "body" && len(pools) == 1:
		i.Body, i.Pool = true, pools[0]
	case arguments[0] == "body" && len(pools) == 2:
		i.Body, i.Pool, i.UserPool = true, pools[0], pools[1]
	default:
		return d.ArgErr()
	}
	return nil
}

// Provision loads the app, and refuses a limit that its pool could never hold.
func (i *Inspect) Provision(ctx caddy.Context) error {
	app, err := load(ctx)
	if err != nil {
		return err
	}
	return i.bind(app)
}

// bind checks the handler against the app that it belongs to.
func (i *Inspect) bind(app *App) error {
	i.app = app
	for _, u := range i.Uploads {
		if err := u.check(i.Limit); err != nil {
			return err
		}
	}
	for _, name := range []string{i.Pool, i.UserPool} {
		if name == "" {
			continue
		}
		pool, ok := i.app.Hold[name]
		if !ok {
			return fmt.Errorf("no pool %q", name)
		}
		needed := i.Limit
		if len(i.Uploads) > 0 {
			needed = max(needed, uploadHead)
		}
		if needed > pool.Share {
			return fmt.Errorf("the limit of %d bytes is more than one client's share of the pool %q, %d", needed, name, pool.Share)
		}
	}
	return nil
}

// ServeHTTP refuses the request or passes it on.
func (i *Inspect) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	client, err := clientAddress(r)
	if err != nil {
		return i.refuse(w, r, http.StatusBadRequest, verdictNotInspectable)
	}
	// Of several, AppSec would see one, and the service perhaps another.
	if len(r.Header.Values("User-Agent")) > 1 {
		return i.refuse(w, r, http.StatusBadRequest, verdictNotInspectable)
	}
	if r.ContentLength == 0 || !i.Body {
		return i.withoutBody(w, r, client, next)
	}
	kind, status, verdict := i.declared(r)
	if status != 0 {
		return i.refuse(w, r, status, verdict)
	}
	if r.ContentLength > min(i.Limit, uploadHead) && i.upload(r, kind) != nil {
		return i.stream(w, r, client, next)
	}
	budget, owner := i.pool(r, client)
	release, ok := budget.take(r.Context(), owner, r.ContentLength)
	if !ok {
		w.Header().Set("Retry-After", "5")
		return i.refuse(w, r, http.StatusTooManyRequests, verdictTooMuchHeld)
	}
	defer release()
	body, err := read(w, r)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return i.refuse(w, r, http.StatusRequestTimeout, verdictTooSlow)
		}
		return i.refuse(w, r, http.StatusBadRequest, verdictNotInspectable)
	}
	if kind.check(body) != nil {
		return i.refuse(w, r, http.StatusUnsupportedMediaType, verdictNotInspectable)
	}
	if status, verdict := outcome(r.Context(), i.app.inspector.inspect(r.Context(), r, client, body)); status != 0 {
		return i.refuse(w, r, status, verdict)
	}
	i.count(r, verdictPass)
	r.Body = &held{rest: body, release: release}
	return next.ServeHTTP(w, r)
}

// withoutBody inspects the line and the headers, once. What they say about a body is checked here
// too, so that nobody is asked to log in for what would be refused afterwards.
func (i *Inspect) withoutBody(w http.ResponseWriter, r *http.Request, client netip.Addr, next caddyhttp.Handler) error {
	if r.ContentLength != 0 {
		if _, status, verdict := i.declared(r); status != 0 {
			return i.refuse(w, r, status, verdict)
		}
		if err := bound(w, min(r.ContentLength, i.Limit)); err != nil {
			return err
		}
	}
	if r.ContentLength == 0 && len(r.Header.Values("Content-Type")) > 0 {
		// AppSec does not see it, and there is no body that its parameters could describe.
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || len(r.Header.Values("Content-Type")) > 1 {
			return i.refuse(w, r, http.StatusUnsupportedMediaType, verdictNotInspectable)
		}
		r.Header.Set("Content-Type", kind)
	}
	if caddyhttp.GetVar(r.Context(), inspectedVar) == nil {
		if status, verdict := outcome(r.Context(), i.app.inspector.inspect(r.Context(), r, client, nil)); status != 0 {
			return i.refuse(w, r, status, verdict)
		}
		caddyhttp.SetVar(r.Context(), inspectedVar, true)
		verdict := verdictPass
		if isWebSocket(r) {
			verdict = verdictPartial
		}
		i.count(r, verdict)
	}
	return next.ServeHTTP(w, r)
}

// declared checks what the headers say about the body.
func (i *Inspect) declared(r *http.Request) (kind content, status int, verdict string) {
	if r.ContentLength < 0 {
		return kind, http.StatusLengthRequired, verdictNotInspectable
	}
	kind, err := readContentType(r.Header)
	switch {
	case r.ContentLength > i.Limit && (err != nil || i.upload(r, kind) == nil):
		return kind, http.StatusRequestEntityTooLarge, verdictTooLarge
	case err != nil:
		return kind, http.StatusUnsupportedMediaType, verdictNotInspectable
	}
	return kind, 0, ""
}

// pool returns where the body is held, and in whose name.
func (i *Inspect) pool(r *http.Request, client netip.Addr) (*budget, string) {
	if user := r.Header.Get(UserHeader); user != "" && i.UserPool != "" {
		return i.app.budgets[i.UserPool], user
	}
	return i.app.budgets[i.Pool], networkAddress(client).String()
}

// outcome is the status and the verdict with which a request is refused; 0 lets it pass.
func outcome(ctx context.Context, err error) (status int, verdict string) {
	var blocked errBlocked
	switch {
	case err == nil:
		return 0, verdictPass
	case errors.As(err, &blocked):
		return blocked.status, verdictBlock
	case ctx.Err() != nil:
		return http.StatusServiceUnavailable, verdictGone
	}
	return http.StatusServiceUnavailable, verdictNone
}

// count counts an inspection.
func (i *Inspect) count(r *http.Request, verdict string) {
	stage := stageHeaders
	if i.Body && r.ContentLength != 0 {
		stage = stageBody
	}
	counted.inspections.WithLabelValues(stage, verdict).Inc()
}

// refuse answers, and ends the connection of HTTP/1.1: nobody reads the rest of the body.
func (i *Inspect) refuse(w http.ResponseWriter, r *http.Request, status int, verdict string) error {
	i.count(r, verdict)
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	return refuse(w, status)
}

// read returns the whole body, of the declared length.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := bound(w, r.ContentLength); err != nil {
		return nil, err
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, err
	}
	// The end, which the length has announced: with it, the connection waits for the client to go
	// away.
	if n, err := r.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return nil, errors.Join(errors.New("the body goes on after its end"), err)
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("ending the bound: %w", err)
	}
	return body, r.Body.Close()
}

// bound bounds the time of a body of n bytes, also of one that nobody reads: the server reads what
// is left of it before the next request of the connection.
func bound(w http.ResponseWriter, n int64) error {
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(allowance(n))); err != nil {
		return fmt.Errorf("bounding the time of the body: %w", err)
	}
	return nil
}

// allowance is how long a body of n bytes may take.
func allowance(n int64) time.Duration {
	return bodyGrace + time.Duration(max(n, 0))*time.Second/bodyRate
}

var (
	_ caddy.Provisioner           = (*Inspect)(nil)
	_ caddyfile.Unmarshaler       = (*Inspect)(nil)
	_ caddyhttp.MiddlewareHandler = (*Inspect)(nil)
)
