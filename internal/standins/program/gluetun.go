package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"homelab/internal/standins/program/internal/tunnel"
)

// errOpenVPN is what the health check says of a tunnel by OpenVPN, always: nothing that is behind the
// stand-in may believe that it is behind a VPN.
var errOpenVPN = errors.New("this is a stand-in, which has no OpenVPN and is never healthy with it: declare a VPN with WireGuard in a rehearsal")

const (
	// gluetunHealth is where the health check asks the program, unless a variable says another place.
	gluetunHealth = "127.0.0.1:9999"
	// gluetunRoles is who may ask the control server what, unless a variable says another file.
	gluetunRoles = "/gluetun/auth/config.toml"
	// gluetunResolver is asked for names, through the tunnel.
	gluetunResolver = "1.1.1.1"
	// gluetunBeyond must answer beyond the tunnel.
	gluetunBeyond = gluetunResolver + ":443"
	// gluetunChecks is how often the tunnel is tried, gluetunPatience how long one try may take: both
	// together are less than the health check's interval.
	gluetunChecks   = 5 * time.Second
	gluetunPatience = 3 * time.Second
)

// gluetun is Gluetun with a tunnel to the VPN's server of a rehearsal.
func gluetun(ctx context.Context, p process) error {
	if len(p.args) == 1 && p.args[0] == "healthcheck" {
		return p.gluetunHealthcheck(ctx)
	}
	if len(p.args) > 0 {
		return fmt.Errorf("gluetun: unknown arguments %q", p.args)
	}
	settings, err := p.gluetunSettings()
	if err != nil {
		return fmt.Errorf("gluetun: %w", err)
	}
	g := &gluetunState{process: p, settings: settings, log: &lines{out: p.out}}
	g.health.Store(&health{errors.New("the tunnel is not open yet")})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := []func(context.Context) error{g.serveHealth, g.serveControl}
	if settings.openVPN {
		g.health.Store(&health{errOpenVPN})
		g.log.printf("INFO %s", errOpenVPN)
	} else {
		open, err := g.open()
		if err != nil {
			return fmt.Errorf("gluetun: %w", err)
		}
		defer open.Close()
		work = append(work, func(ctx context.Context) error { return g.watch(ctx, open) })
	}
	ended := make(chan error, len(work))
	for _, f := range work {
		go func() { ended <- f(ctx) }()
	}
	var problems []error
	for range work {
		problems = append(problems, <-ended)
		cancel() // they end together
	}
	return errors.Join(problems...)
}

// gluetunState is a Gluetun that runs.
type gluetunState struct {
	process

	settings gluetunSettings
	log      *lines
	health   atomic.Pointer[health]
	running  atomic.Bool
}

// health is why the tunnel does not work; nil: it does.
type health struct{ err error }

// open closes the network but for the tunnel, and opens that.
func (g *gluetunState) open() (*tunnel.Tunnel, error) {
	if err := tunnel.Shut(g.settings.tunnel); err != nil {
		return nil, err
	}
	g.log.printf("INFO [firewall] enabled")
	opened, err := tunnel.Open(g.settings.tunnel, func(format string, values ...any) { g.log.printf("ERROR [wireguard] "+format, values...) })
	if err != nil {
		return nil, err
	}
	// The file is one that Docker has mounted, so it stays the same one.
	if err := os.WriteFile(g.path("/etc/resolv.conf"), []byte("nameserver "+gluetunResolver+"\n"), 0o644); err != nil {
		opened.Close()
		return nil, err
	}
	g.running.Store(true)
	g.log.printf("INFO [wireguard] Connecting to %s", g.settings.tunnel.Server)
	g.log.printf("INFO this is a stand-in: the declared keys are keys of WireGuard, and the tunnel uses those of a rehearsal at both ends in their place")
	if g.env("VPN_PORT_FORWARDING") == "on" {
		g.log.printf("WARN [port forwarding] the VPN of a rehearsal forwards no port")
	}
	return opened, nil
}

// watch tries the tunnel again and again, and says when that comes to another result.
func (g *gluetunState) watch(ctx context.Context, open *tunnel.Tunnel) error {
	said := ""
	for {
		within, cancel := context.WithTimeout(ctx, gluetunPatience)
		err := open.Check(within, gluetunBeyond)
		cancel()
		now := "INFO [healthcheck] healthy!"
		if err != nil {
			now = "WARN [healthcheck] unhealthy: " + err.Error()
		}
		g.health.Store(&health{err})
		if now != said && ctx.Err() == nil {
			g.log.printf("%s", now)
			said = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-open.Ended():
			return errors.New("gluetun: the tunnel has ended")
		case <-time.After(gluetunChecks):
		}
	}
}

// healthAddress is where the program says whether the tunnel works.
func (p process) healthAddress() string {
	if address := p.env("HEALTH_SERVER_ADDRESS"); address != "" {
		return address
	}
	return gluetunHealth
}

func (g *gluetunState) serveHealth(ctx context.Context) error {
	p := g.process
	p.listen, p.ready = "", nil
	return p.serve(ctx, g.healthAddress(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if h := g.health.Load(); h.err != nil {
			http.Error(w, h.err.Error(), http.StatusInternalServerError)
		}
	}))
}

// gluetunHealthcheck is the image's health check: it asks the program that runs.
func (p process) gluetunHealthcheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, gluetunPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.healthAddress()+"/", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("gluetun: %w", err)
	}
	defer answer.Body.Close()
	why, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("gluetun: unhealthy: %s", strings.TrimSpace(string(why)))
	}
	return err
}

// serveControl is the control server. It answers what a role may ask without a password.
func (g *gluetunState) serveControl(ctx context.Context) error {
	answers := map[string]func() map[string]any{
		"GET /v1/vpn/status": func() map[string]any {
			status := "stopped"
			if g.running.Load() {
				status = "running"
			}
			return map[string]any{"status": status}
		},
		// PUBLICIP_ENABLED=off leaves nothing to say, and a rehearsal's VPN forwards nothing.
		"GET /v1/publicip/ip": func() map[string]any { return map[string]any{"public_ip": ""} },
		"GET /v1/portforward": func() map[string]any { return map[string]any{"port": 0} },
	}
	return g.serve(ctx, g.env("HTTP_CONTROL_SERVER_ADDRESS"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route := r.Method + " " + r.URL.Path
		answer, known := answers[route]
		switch {
		case !slices.Contains(g.settings.routes, route):
			w.WriteHeader(http.StatusUnauthorized)
		case !known:
			respond(w, http.StatusNotFound, "the stand-in does not know "+route)
		default:
			respond(w, http.StatusOK, answer())
		}
	}))
}
