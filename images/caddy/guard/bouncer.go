package guard

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Bouncer{})
	httpcaddyfile.RegisterHandlerDirective("bouncer", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(Bouncer), noArguments(h)
	})
}

// NetworkVar is the request's variable that says from which network the client asks: its address,
// or the first address of its IPv6 network of 64 bits. The portal counts failed logins by it. A
// Caddyfile has it as {vars.client_network}.
const NetworkVar = "client_network"

// Bouncer refuses clients that CrowdSec has decided against, with 403. Until decisions could be
// fetched for the first time it refuses everybody, with 503; afterwards it goes on with those it
// has.
type Bouncer struct{ app *App }

// CaddyModule returns the module's ID and constructor.
func (Bouncer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bouncer", New: func() caddy.Module { return new(Bouncer) }}
}

// Provision loads the app.
func (b *Bouncer) Provision(ctx caddy.Context) (err error) {
	b.app, err = load(ctx)
	return err
}

// ServeHTTP refuses the request or passes it on.
func (b *Bouncer) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	address, err := clientAddress(r)
	switch {
	case err != nil:
		return refuse(w, http.StatusBadRequest)
	case !b.app.decisions.loaded.Load():
		counted.undecided.Inc()
		return refuse(w, http.StatusServiceUnavailable)
	case b.app.decisions.banned(address, time.Now()):
		counted.bans.Inc()
		return refuse(w, http.StatusForbidden)
	}
	caddyhttp.SetVar(r.Context(), NetworkVar, networkAddress(address).String())
	return next.ServeHTTP(w, r)
}

// clientAddress returns what Caddy takes for the client's address.
func clientAddress(r *http.Request) (netip.Addr, error) {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	address, err := netip.ParseAddr(text)
	return address.WithZone("").Unmap(), err
}

// refuse answers without a body.
func refuse(w http.ResponseWriter, status int) error {
	w.WriteHeader(status)
	return nil
}

// oneArgument returns the directive's only argument.
func oneArgument(d *caddyfile.Dispenser) (argument string, err error) {
	d.Next()
	if !d.Args(&argument) || d.NextArg() || d.NextBlock(0) {
		return "", d.ArgErr()
	}
	return argument, nil
}

// noArguments returns an error if the directive has arguments or a block.
func noArguments(h httpcaddyfile.Helper) error {
	h.Next()
	if h.NextArg() || h.NextBlock(0) {
		return h.ArgErr()
	}
	return nil
}

var (
	_ caddy.Provisioner           = (*Bouncer)(nil)
	_ caddyhttp.MiddlewareHandler = (*Bouncer)(nil)
)
