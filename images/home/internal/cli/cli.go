// Package cli is the command line of homelab-home.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"homelab/images/home/internal/monitor"
	"homelab/images/home/internal/page"
	"homelab/images/home/internal/web"
)

// Exit codes.
const (
	ExitOK      = 0
	ExitProblem = 1
	ExitUsage   = 2
)

const (
	defaultPage    = "/etc/home/page.json"
	defaultListen  = ":8080"
	defaultMetrics = ":9798"
	defaultHealth  = "http://127.0.0.1:8080/healthz"
)

const usage = `homelab-home is the start page: every service with its link and its state.

Usage:
  homelab-home serve [flags]     Serve the page, and /metrics at an address of its own
  homelab-home healthy [flags]   Exit with 0 if a running homelab-home answers its health check

homelab-home COMMAND --help lists the command's flags.
Exit codes: 0 all is well; 1 something failed; 2 the command line is wrong.
`

// Main runs a command line and returns its exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command, rest := "", []string(nil)
	if len(args) > 0 {
		command, rest = args[0], args[1:]
	}
	var err error
	switch command {
	case "serve":
		err = serve(ctx, rest, stderr)
	case "healthy":
		err = healthy(ctx, rest, stdout, stderr)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
	default:
		fmt.Fprintf(stderr, "homelab-home: unknown command %q\n\n%s", command, usage)
		return ExitUsage
	}
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return ExitOK
	case errors.As(err, &wrong):
		return ExitUsage // the flag set has said what
	}
	fmt.Fprintln(stderr, "homelab-home:", err)
	return ExitProblem
}

// usageError is a command line that is wrong.
type usageError struct{ error }

// parse reads the flags of a command, which takes no other arguments.
func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unknown argument %q", flags.Arg(0))
		fmt.Fprintln(flags.Output(), "homelab-home:", err)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return usageError{err}
	}
	return err
}

func serve(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("homelab-home serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("page", defaultPage, "the `file` with the page")
	listen := flags.String("listen", defaultListen, "the `address` of the page and of /healthz")
	metricsAt := flags.String("metrics", defaultMetrics, "the `address` of /metrics, which visitors cannot reach")
	if err := parse(flags, args); err != nil {
		return err
	}
	p, err := page.Read(*file)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	m := newMetrics()
	asking := monitor.New(p, monitor.Options{Log: log, Asked: m.asked})
	site, err := web.New(p, asking.Snapshot, web.Options{Log: log, Answered: m.answered})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		asking.Run(ctx)
	}()
	err = web.Serve(ctx, map[string]http.Handler{*listen: site.Handler(), *metricsAt: m.handler()}, log)
	cancel()
	<-asked
	return err
}

func healthy(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("homelab-home healthy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	url := flags.String("url", defaultHealth, "the health check's `URL`")
	if err := parse(flags, args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, *url, nil)
	if err != nil {
		return fmt.Errorf("checking health: %w", err)
	}
	// Not the default one, which asks the environment for a proxy.
	response, err := (&http.Client{Transport: &http.Transport{}}).Do(request)
	if err != nil {
		return fmt.Errorf("checking health: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if _, err := io.Copy(stdout, io.LimitReader(response.Body, 4096)); err != nil {
		return fmt.Errorf("checking health: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("checking health: %s answers %d", *url, response.StatusCode)
	}
	return nil
}
