package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// engineSocket is where Docker's socket is in the container.
	engineSocket = "/var/run/docker.sock"
	// apiHealth is where the proxy is asked for its health, from inside of the container alone.
	apiHealth = "127.0.0.1:55555"
)

// dockerAPI is the proxy before Docker's socket: what it lets through is really asked.
type dockerAPI struct {
	socket string
	// from are who may ask: host names, which are looked up at each request.
	from    []string
	allowed map[string]*regexp.Regexp // paths by method
	proxy   http.Handler
	log     *slog.Logger
}

// socketProxy is wollomatic/socket-proxy.
func socketProxy(ctx context.Context, p process) error {
	const own = "socket-proxy"
	set, err := parse(own, p.args, "listenip", "proxyport", "loglevel", "allowhealthcheck", "watchdoginterval", "stoponwatchdog", "allowfrom",
		"allowGET", "allowHEAD")
	if err != nil {
		return err
	}
	api := &dockerAPI{socket: p.path(engineSocket), from: strings.Split(set["allowfrom"], ","), allowed: map[string]*regexp.Regexp{}}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		if paths, given := set["allow"+method]; given {
			if api.allowed[method], err = regexp.Compile("^" + paths + "$"); err != nil {
				return fmt.Errorf("%s: allow%s: %w", own, method, err)
			}
		}
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(set["loglevel"])); err != nil {
		return fmt.Errorf("%s: loglevel: %w", own, err)
	}
	api.log = slog.New(slog.NewTextHandler(p.out, &slog.HandlerOptions{Level: level}))
	if _, err := strconv.ParseUint(set["proxyport"], 10, 16); err != nil || net.ParseIP(set["listenip"]) == nil {
		return fmt.Errorf("%s: %q and %q are no address", own, set["listenip"], set["proxyport"])
	}
	if err := api.reach(); err != nil {
		return fmt.Errorf("asking Docker: %w", err)
	}
	api.log.Info("the stand-in for socket-proxy starts")
	return api.run(ctx, p, set)
}

// run answers, and ends when the socket is gone.
func (a *dockerAPI) run(ctx context.Context, p process, set flags) error {
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "localhost"})
	to.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", a.socket)
	}}
	to.FlushInterval = -1
	a.proxy = to
	told := ctx
	ctx, cancel := context.WithCancelCause(told)
	defer cancel(nil)
	if set["allowhealthcheck"] == "true" {
		inside := p
		inside.ready = nil
		go func() { cancel(inside.serve(ctx, apiHealth, http.HandlerFunc(a.health))) }()
	}
	if text := set["watchdoginterval"]; text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 1 || set["stoponwatchdog"] != "true" {
			return fmt.Errorf("socket-proxy: the watchdog of the stand-in stops it, every some seconds, not %q", text)
		}
		go a.watch(ctx, time.Duration(seconds)*time.Second, cancel)
	}
	err := p.serve(ctx, net.JoinHostPort(set["listenip"], set["proxyport"]), a)
	if err == nil && told.Err() == nil {
		return context.Cause(ctx)
	}
	return err
}

func (a *dockerAPI) watch(ctx context.Context, every time.Duration, stop context.CancelCauseFunc) {
	for ticker := time.NewTicker(every); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := a.reach(); err != nil {
				stop(fmt.Errorf("the socket is gone: %w", err))
				return
			}
		}
	}
}

func (a *dockerAPI) reach() error {
	connection, err := net.DialTimeout("unix", a.socket, 5*time.Second)
	if err != nil {
		return err
	}
	return connection.Close()
}

// health answers the program of the health check.
func (a *dockerAPI) health(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/health":
		http.NotFound(w, r)
	case r.Method != http.MethodHead:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case a.reach() != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// ServeHTTP asks Docker what may be asked by who may.
func (a *dockerAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	paths, method := a.allowed[r.Method]
	switch {
	case !a.admits(r.RemoteAddr):
		a.refuse(w, r, "who asks is not named", http.StatusForbidden)
	case !method:
		a.refuse(w, r, "no path of this method is named", http.StatusMethodNotAllowed)
	case !paths.MatchString(r.URL.Path):
		a.refuse(w, r, "this path is not named", http.StatusForbidden)
	default:
		a.proxy.ServeHTTP(w, r)
	}
}

func (a *dockerAPI) refuse(w http.ResponseWriter, r *http.Request, reason string, status int) {
	a.log.Warn("refused", "why", reason, "method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr)
	http.Error(w, http.StatusText(status), status)
}

func (a *dockerAPI) admits(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	client := net.ParseIP(host)
	for _, name := range a.from {
		addresses, err := net.LookupIP(name)
		if err != nil {
			a.log.Warn("looking up who may ask", "name", name, "error", err)
		}
		for _, address := range addresses {
			if address.Equal(client) {
				return true
			}
		}
	}
	return false
}

// socketHealth is the program of the health check.
func socketHealth(ctx context.Context, p process) error {
	address := apiHealth
	if p.listen != "" {
		address = p.listen
	}
	if len(p.args) > 0 {
		return fmt.Errorf("healthcheck: unknown arguments %q", p.args)
	}
	return succeeds(ctx, http.MethodHead, "http://"+address+"/health")
}

// succeeds asks for a URL, and fails if the answer is no success.
func succeeds(ctx context.Context, method, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	return nil
}
