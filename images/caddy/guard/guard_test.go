package guard

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// visitorAddress is who asks in these tests.
const visitorAddress = "203.0.113.7"

// caddyHandler is a handler of this package.
type caddyHandler = caddyhttp.MiddlewareHandler

// engine is CrowdSec: its local API and its AppSec, as strict as they are.
type engine struct {
	t *testing.T

	mu       sync.Mutex
	status   int
	verdict  string
	asked    []*http.Request
	bodies   []string
	pulls    []string
	news     news
	lapiDown bool
}

const engineKey = "a-bouncer-key"

func newEngine(t *testing.T) (*engine, string) {
	e := &engine{t: t, status: http.StatusOK, verdict: `{"action":"allow","http_status":200}`}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return e, server.URL
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.URL.Path == "/v1/decisions/stream" {
		e.stream(w, r)
		return
	}
	if r.Header.Get("X-Crowdsec-Appsec-Api-Key") != engineKey {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	for _, name := range []string{"Ip", "Uri", "Verb", "Host"} {
		if r.Header.Get("X-Crowdsec-Appsec-"+name) == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
	}
	body, err := io.ReadAll(r.Body)
	assert.NoError(e.t, err)
	e.asked, e.bodies = append(e.asked, r), append(e.bodies, string(body))
	w.WriteHeader(e.status)
	_, _ = w.Write([]byte(e.verdict))
}

func (e *engine) stream(w http.ResponseWriter, r *http.Request) {
	if e.lapiDown {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if r.Header.Get("X-Api-Key") != engineKey {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	e.pulls = append(e.pulls, r.URL.Query().Get("startup")+" "+r.URL.Query().Get("dedup"))
	assert.NoError(e.t, json.NewEncoder(w).Encode(e.news))
}

// set changes what the engine says.
func (e *engine) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

// took returns the requests that AppSec was asked about since the last call.
func (e *engine) took() []*http.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	asked := e.asked
	e.asked = nil
	return asked
}

// guarded returns an app that asks the engine, as a configuration would load it.
func guarded(t *testing.T, address string) *App {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte(engineKey+"\n"), 0o600))
	a := &App{
		LAPI: address, AppSec: address, KeyFile: file,
		Hold: map[string]Pool{"open": {Total: 4096, Share: 2048}, "known": {Total: 4096, Share: 4096}, "wide": {Total: 4 * uploadHead, Share: 2 * uploadHead}},
	}
	provision(t, a)
	return a
}

// provision loads the app, and gives it up at the end of the test.
func provision(t *testing.T, a *App) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	require.NoError(t, a.Provision(ctx))
	require.NoError(t, a.Start())
	t.Cleanup(func() { assert.NoError(t, a.Cleanup()) })
}

// behind serves the handlers in this order, and the last one as a service.
func behind(t *testing.T, service http.HandlerFunc, handlers ...caddyhttp.MiddlewareHandler) *httptest.Server {
	t.Helper()
	var chain caddyhttp.Handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		service(w, r)
		return nil
	})
	for i := len(handlers) - 1; i >= 0; i-- {
		handler, next := handlers[i], chain
		chain = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error { return handler.ServeHTTP(w, r, next) })
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		vars := map[string]any{caddyhttp.ClientIPVarKey: visitorAddress}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
		assert.NoError(t, chain.ServeHTTP(w, r))
	}))
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func netipAddr(text string) netip.Addr { return netip.MustParseAddr(text) }

var nowhere = zap.NewNop()
