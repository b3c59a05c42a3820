// Package cli is the command line of homelab-wire.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"homelab/images/wire/internal/plan"
	"homelab/images/wire/internal/serve"
	"homelab/images/wire/internal/wire"
)

// Exit codes.
const (
	ExitOK      = 0
	ExitProblem = 1
	ExitPlan    = 2
	ExitDiffers = 3
)

const (
	defaultPlan   = "/etc/wire/plan.json"
	defaultState  = "/state"
	defaultListen = ":9797"
	defaultHealth = "http://127.0.0.1:9797/healthz"
)

// errDiffers is the error by which a check says that something would be changed.
var errDiffers = errors.New("the apps are not as the plan says")

// Main runs a command line and returns its exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "homelab-wire",
		Short: "Connects the apps of the media stack with each other",
		Long: "Connects the apps of the media stack with each other, as a plan says: indexers, download client, folders, " +
			"users, libraries. It writes only what differs, and only reports what somebody changed by hand.",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(runCommand(), onceCommand(), healthyCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var problems plan.Problems
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errDiffers):
		return ExitDiffers
	}
	fmt.Fprintln(stderr, "homelab-wire:", err)
	if errors.As(err, &problems) {
		return ExitPlan
	}
	return ExitProblem
}

// common are the flags of the commands that make passes.
type common struct {
	plan, state string
	patience    time.Duration
}

func (c *common) register(command *cobra.Command) {
	command.Flags().StringVar(&c.plan, "plan", defaultPlan, "The file with the plan")
	command.Flags().StringVar(&c.state, "state", defaultState, "The folder that remembers what was written")
	command.Flags().DurationVar(&c.patience, "patience", wire.DefaultPatience,
		"How long a pass waits for apps that do not answer yet")
}

func runCommand() *cobra.Command {
	var flags common
	var every time.Duration
	var listen string
	command := &cobra.Command{
		Use:   "run",
		Short: "Connects the apps now and then again and again, and answers /healthz and /metrics",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if every <= 0 {
				return errors.New("--every must be more than 0")
			}
			p, err := plan.Read(flags.plan)
			if err != nil {
				return err
			}
			log := logger(command.OutOrStdout())
			wirer := wire.New(p, wire.Options{Patience: flags.patience, Log: log})
			return serve.New(p, wirer, flags.state, every, log).Run(command.Context(), listen)
		},
	}
	flags.register(command)
	command.Flags().DurationVar(&every, "every", serve.DefaultEvery, "The time between two passes")
	command.Flags().StringVar(&listen, "listen", defaultListen, "The address of /healthz and /metrics")
	return command
}

// logger returns a function that writes lines, also from several goroutines.
func logger(w io.Writer) func(string) {
	var mutex sync.Mutex
	return func(line string) {
		mutex.Lock()
		defer mutex.Unlock()
		fmt.Fprintln(w, line)
	}
}

func onceCommand() *cobra.Command {
	var flags common
	var check, asJSON bool
	command := &cobra.Command{
		Use:   "once",
		Short: "Connects the apps once and says what it changed",
		Long: "Connects the apps once and says what it changed, in a line per app.\n\n" +
			"Exit codes: 0 all is well, also with warnings about indexers; 1 something could not be done; " +
			"2 the plan is not valid; 3 --check found something to change or changed by hand.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			p, err := plan.Read(flags.plan)
			if err != nil {
				return err
			}
			options := wire.Options{Check: check, Patience: flags.patience, Log: logger(command.ErrOrStderr())}
			report, err := serve.Once(command.Context(), wire.New(p, options), flags.state, check)
			if err != nil {
				return err
			}
			if err := show(command.OutOrStdout(), report, asJSON); err != nil {
				return err
			}
			switch {
			case report.Failed():
				return errors.New("something could not be done")
			case check && report.Differs():
				return errDiffers
			}
			return nil
		},
	}
	flags.register(command)
	command.Flags().BoolVar(&check, "check", false, "Write nothing")
	command.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return command
}

func show(w io.Writer, report *wire.Report, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	for _, line := range report.Lines() {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func healthyCommand() *cobra.Command {
	var url string
	command := &cobra.Command{
		Use:   "healthy",
		Short: "Exits with 0 if a running homelab-wire answers its health check, and prints the answer",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return healthy(command.Context(), url, command.OutOrStdout())
		},
	}
	command.Flags().StringVar(&url, "url", defaultHealth, "The health check's URL")
	return command
}

func healthy(ctx context.Context, url string, stdout io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("checking health: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("checking health: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if _, err := io.Copy(stdout, io.LimitReader(response.Body, 4096)); err != nil {
		return fmt.Errorf("checking health: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("checking health: %s answers %d", url, response.StatusCode)
	}
	return nil
}
