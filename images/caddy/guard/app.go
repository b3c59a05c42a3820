// Package guard is the part of the proxy that decides whether a request may go on: it refuses
// banned addresses, has every request inspected by CrowdSec's AppSec, bounds what a request may
// hold in memory, and removes what a client could use to pass for somebody else.
//
// CrowdSec's own Caddy module is not used: it takes every answer of AppSec but 401, 403 and 500 for
// consent, keeps two idle connections to it, inspects less of a body than it lets through, and
// forgets every ban at a reload.
package guard

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"
)

// appID is the app's module ID, and the name of its global option.
const appID = "guard"

const (
	// DefaultInterval is how often the bouncer asks for news where no interval is set.
	DefaultInterval = 10 * time.Second
	// DefaultTimeout is how long AppSec may take for a verdict where no timeout is set.
	DefaultTimeout = 5 * time.Second
)

func init() {
	caddy.RegisterModule(App{})
	httpcaddyfile.RegisterGlobalOption(appID, parseApp)
}

// App is what the handlers of this package share. In a Caddyfile:
//
//	guard {
//		lapi     http://crowdsec:8080
//		appsec   http://crowdsec:7422
//		key_file /run/secrets/bouncer-key
//		interval 10s
//		timeout  5s
//		hold     open 20MB 10MB
//	}
type App struct {
	// LAPI is the URL of CrowdSec's local API; required.
	LAPI string `json:"lapi"`
	// AppSec is the URL of CrowdSec's AppSec; required.
	AppSec string `json:"appsec"`
	// KeyFile holds the bouncer's key for both; required.
	KeyFile string `json:"key_file"`
	// Interval is how often decisions are fetched; DefaultInterval if zero.
	Interval caddy.Duration `json:"interval,omitempty"`
	// Timeout bounds one inspection; DefaultTimeout if zero.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Hold bounds the memory that request bodies take, by the name of the pool.
	Hold map[string]Pool `json:"hold"`

	*shared
	key   string
	inUse bool
}

// Pool bounds the bodies that are held at one time.
type Pool struct {
	// Total is what all of them may take, in bytes; required.
	Total int64 `json:"total"`
	// Share is what those of one client may take, in bytes; required, at most Total.
	Share int64 `json:"share"`
}

// shared is what outlives a reload: an address that is banned stays so, a body that is held counts.
type shared struct {
	decisions *decisions
	inspector *inspector
	budgets   map[string]*budget
}

// sharing holds one shared per configuration of the app.
var sharing = caddy.NewUsagePool()

// CaddyModule returns the module's ID and constructor.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appID, New: func() caddy.Module { return new(App) }}
}

// Provision reads the key and takes up what an earlier configuration of the same content shares.
func (a *App) Provision(ctx caddy.Context) error {
	if a.Interval == 0 {
		a.Interval = caddy.Duration(DefaultInterval)
	}
	if a.Timeout == 0 {
		a.Timeout = caddy.Duration(DefaultTimeout)
	}
	if err := a.check(); err != nil {
		return err
	}
	secret, err := os.ReadFile(a.KeyFile)
	if err != nil {
		return fmt.Errorf("reading the bouncer's key: %w", err)
	}
	bouncerKey := strings.TrimSpace(string(secret))
	if bouncerKey == "" {
		return fmt.Errorf("the bouncer's key in %s is empty", a.KeyFile)
	}
	a.key = fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %d %v", a.LAPI, a.AppSec, bouncerKey, a.Interval, a.Timeout, a.Hold)))
	appSec, err := httpURL(a.AppSec)
	if err != nil {
		return err
	}
	value, _, err := sharing.LoadOrNew(a.key, func() (caddy.Destructor, error) {
		s := &shared{
			decisions: newDecisions(a.LAPI, bouncerKey, time.Duration(a.Interval), ctx.Logger()),
			inspector: newInspector(appSec, bouncerKey, time.Duration(a.Timeout), ctx.Logger()),
			budgets:   map[string]*budget{},
		}
		for name, pool := range a.Hold {
			s.budgets[name] = newBudget(pool)
		}
		return s, nil
	})
	if err != nil {
		return err
	}
	a.shared, a.inUse = value.(*shared), true
	return registerMetrics(ctx.GetMetricsRegistry(), a.shared)
}

func (a *App) check() error {
	var problems []error
	for name, address := range map[string]string{"lapi": a.LAPI, "appsec": a.AppSec} {
		if _, err := httpURL(address); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	if a.KeyFile == "" {
		problems = append(problems, errors.New("key_file is missing"))
	}
	for name, pool := range a.Hold {
		if pool.Share <= 0 || pool.Total < pool.Share {
			problems = append(problems, fmt.Errorf("hold %s: a share of %d bytes of %d", name, pool.Share, pool.Total))
		}
	}
	return errors.Join(problems...)
}

// Start begins to fetch decisions, unless an earlier configuration of the same content does: not in
// Provision, because a configuration that is only validated must not take news away from the
// running proxy.
func (a *App) Start() error {
	a.decisions.start()
	return nil
}

// Stop does nothing: Cleanup ends what no configuration uses any longer.
func (a *App) Stop() error { return nil }

// Cleanup gives up what the app shares.
func (a *App) Cleanup() error {
	if !a.inUse {
		return nil
	}
	_, err := sharing.Delete(a.key)
	return err
}

// Destruct ends the fetching of decisions and closes the connections to AppSec.
func (s *shared) Destruct() error {
	s.decisions.stop()
	s.inspector.close()
	return nil
}

// load returns the app that the configuration declares.
func load(ctx caddy.Context) (*App, error) {
	app, err := ctx.App(appID)
	if err != nil {
		return nil, fmt.Errorf("loading the app %s: %w", appID, err)
	}
	return app.(*App), nil
}

func parseApp(d *caddyfile.Dispenser, _ any) (any, error) {
	a := &App{Hold: map[string]Pool{}}
	d.Next()
	for d.NextBlock(0) {
		option := d.Val()
		arguments := d.RemainingArgs()
		want := 1
		if option == "hold" {
			want = 3
		}
		if len(arguments) != want {
			return nil, d.ArgErr()
		}
		var err error
		switch option {
		case "lapi":
			a.LAPI = arguments[0]
		case "appsec":
			a.AppSec = arguments[0]
		case "key_file":
			a.KeyFile = arguments[0]
		case "interval":
			err = duration(arguments[0], &a.Interval)
		case "timeout":
			err = duration(arguments[0], &a.Timeout)
		case "hold":
			a.Hold[arguments[0]], err = pool(arguments[1], arguments[2])
		default:
			return nil, d.Errf("unknown option %q", option)
		}
		if err != nil {
			return nil, d.WrapErr(err)
		}
	}
	return httpcaddyfile.App{Name: appID, Value: caddyconfig.JSON(a, nil)}, nil
}

func duration(text string, into *caddy.Duration) error {
	parsed, err := caddy.ParseDuration(text)
	*into = caddy.Duration(parsed)
	return err
}

func pool(total, share string) (p Pool, err error) {
	if p.Total, err = size(total); err != nil {
		return p, err
	}
	p.Share, err = size(share)
	return p, err
}

// size reads a number of bytes, such as 64KiB or 10MB.
func size(text string) (int64, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > 1<<40 {
		return 0, fmt.Errorf("%q is not a size such as 64KiB or 10MB", text)
	}
	return int64(n), nil
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
