// Command standin plays Authelia 4.39 in the chain test, where the real program cannot be had. It
// is not Authelia and shares no code with it: it does, as observed and documented, what homelab's
// gateway uses, and nothing else.
//
// What it is for: the files that homelab renders (configuration, users' database, secrets named by
// the environment) are read strictly, and the proxy, CrowdSec and Fail2ban work with real answers,
// sessions and log lines. What it shows about the gateway holds for the real program only as far as
// it plays it well, so the same cases are to be run on the real one wherever there is one.
//
// Where it differs: it knows only the settings homelab renders, and refuses even the real program's
// others, and any environment variable beginning with AUTHELIA_ that it does not know (the real one
// warns). Of OpenID Connect it has the authorization code flow with PKCE for clients that prove
// themselves by HTTP Basic, and keeps codes and tokens in memory only, so a restart ends them. It
// has no security keys (501), no password change or reset, no Duo, LDAP or mail, no page but a
// sentence, one session encoding of its own, and in the SQLite database one encrypted document in
// the place of its tables. It compares the password of an unknown user with a digest that fits nobody,
// and waits as the real one does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/config"
	"homelab/tests/chain/standin/internal/logs"
	"homelab/tests/chain/standin/internal/portal"
)

// version is what --version says, so that nobody takes the stand-in for the real program.
const version = "authelia stand-in for v4.39.20"

func main() {
	if err := run(context.Background(), os.Args[1:], os.Environ(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "authelia stand-in:", err)
		os.Exit(1)
	}
}

// command is what the arguments ask for.
type command struct {
	path     string
	validate bool
	version  bool
}

// parse reads the arguments: flags, and the commands "config validate" and "validate-config", in
// any order.
func parse(args []string, out io.Writer) (command, error) {
	var c command
	flags := flag.NewFlagSet("authelia", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&c.path, "config", "", "the configuration files")
	flags.StringVar(&c.path, "c", "", "the configuration files")
	flags.BoolVar(&c.version, "version", false, "print the version")
	flags.BoolVar(&c.version, "v", false, "print the version")
	var words []string
	for {
		if err := flags.Parse(args); err != nil {
			return command{}, err
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	switch fmt.Sprint(words) {
	case "[]":
	case "[config]", "[config validate]", "[validate-config]":
		c.validate = true
	default:
		return command{}, fmt.Errorf("unknown command %v", words)
	}
	return c, nil
}

func run(ctx context.Context, args, environ []string, out io.Writer) error {
	cmd, err := parse(args, out)
	if err != nil {
		return err
	}
	if cmd.version {
		_, err := fmt.Fprintln(out, version)
		return err
	}
	if cmd.path == "" {
		cmd.path = pathsIn(environ)
	}
	c, err := config.Load(cmd.path, environ)
	if cmd.validate {
		if err != nil {
			return fmt.Errorf("configuration parsed and loaded with errors: %w", err)
		}
		_, err := fmt.Fprint(out, "Configuration parsed and loaded successfully without errors.\n\n")
		return err
	}
	if err != nil {
		return fmt.Errorf("can't continue due to the errors loading the configuration: %w", err)
	}
	return serve(ctx, c, out, portal.SystemClock())
}

// pathsIn are the paths of the configuration where the arguments name none.
func pathsIn(environ []string) string {
	for _, pair := range environ {
		if paths, ok := strings.CutPrefix(pair, "X_AUTHELIA_CONFIG="); ok && paths != "" {
			return paths
		}
	}
	return "configuration.yml"
}

// serve runs the portal until ctx ends or the program is told to stop.
func serve(ctx context.Context, c *config.Configuration, out io.Writer, clock portal.Clock) (err error) {
	var console io.Writer
	if c.Log.KeepStdout || c.Log.FilePath == "" {
		console = out
	}
	log, err := logs.Open(c.Log.FilePath, console, logs.ParseLevel(c.Log.Level), clock.Now)
	if err != nil {
		return fmt.Errorf("cannot configure logger: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	log.Log(logs.Info, nil, nil, "%s is starting", version)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	p, err := portal.Open(ctx, c, log, clock)
	if err != nil {
		log.Log(logs.Fatal, nil, nil, "One or more providers had fatal failures performing startup checks, for more details check the error level logs")
		return fmt.Errorf("performing startup checks: %w", err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if c.Backend.File.Watch {
		go p.Watch(ctx)
	}
	go reopenOnHangup(ctx, log)
	return listen(ctx, c, p, log)
}

// listen serves the portal and the metrics until ctx ends, then lets running requests finish.
func listen(ctx context.Context, c *config.Configuration, p *portal.Portal, log *logs.Logger) error {
	listener, err := net.Listen("tcp", c.Server.Address.Bind())
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &fasthttp.Server{
		Name: "", NoDefaultServerHeader: true, Handler: p.Handler(),
		ReadBufferSize: c.Server.Buffers.Read, WriteBufferSize: c.Server.Buffers.Write,
		ReadTimeout: 6 * time.Second, WriteTimeout: 6 * time.Second, IdleTimeout: 30 * time.Second,
		CloseOnShutdown: true,
	}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	log.Log(logs.Info, logs.Fields{"server": "main"}, nil, "Listening for non-TLS connections on '%s' path '/'", listener.Addr())
	metrics := &http.Server{ReadHeaderTimeout: 6 * time.Second}
	if c.Telemetry.Metrics.Enabled {
		mux := http.NewServeMux()
		mux.Handle("GET "+c.Telemetry.Metrics.Address.Path, promhttp.HandlerFor(p.Metrics().Registry, promhttp.HandlerOpts{}))
		metrics.Handler = mux
		telemetry, err := net.Listen("tcp", c.Telemetry.Metrics.Address.Bind())
		if err != nil {
			return errors.Join(fmt.Errorf("listening for metrics: %w", err), server.Shutdown())
		}
		go func() { failed <- metrics.Serve(telemetry) }()
		log.Log(logs.Info, logs.Fields{"server": "metrics"}, nil, "Listening for non-TLS connections on '%s' path '%s'",
			telemetry.Addr(), c.Telemetry.Metrics.Address.Path)
	}
	log.Log(logs.Info, nil, nil, "Startup complete")
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Log(logs.Info, nil, nil, "Shutdown initiated due to process signal")
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(err, server.ShutdownWithContext(grace), metrics.Shutdown(grace))
	log.Log(logs.Info, nil, nil, "Shutdown complete")
	return err
}

// reopenOnHangup opens the log file anew on SIGHUP, for log rotation.
func reopenOnHangup(ctx context.Context, log *logs.Logger) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if err := log.Reopen(); err != nil {
				log.Log(logs.Error, nil, err, "Error occurred reopening the log")
			}
		}
	}
}
