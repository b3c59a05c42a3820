package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"homelab/internal/workspace"
)

// Exit codes. The long help documents them.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// app is the command with everything it takes from outside, so that tests can replace it.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// program is what the engine runs, given the project's folder.
	program func(root string) pulumi.RunFunc
	// secrets are what a simulation makes up.
	secrets []workspace.Secret
	// cli finds or builds the Pulumi CLI and reports its progress.
	cli func(ctx context.Context, progress io.Writer) (string, error)
}

// flags are the flags all operations have.
type flags struct {
	project         string
	stack           string
	simulate        bool
	state           string
	json            bool
	yes             bool
	expectNoChanges bool
}

// usageError is an error of the command line, or one found before anything ran.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usageErrorf(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

const longHelp = `homelab operates the stack of this project.

With --simulate the real Pulumi engine deploys to simulated clouds in memory: no account, no token and no network is
needed, and nothing outside is touched. Without it, homelab drives the same stack as plain pulumi in the project's folder.

The Pulumi CLI is taken from PATH, or built once from its pinned Go module.

Exit codes: 0 all went well; 1 the operation failed; 2 the command line or the configuration is unusable, and nothing ran.`

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(a.stderr, "error: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) || errors.Is(err, workspace.ErrConfig) {
		return exitUsage
	}
	return exitFailed
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "homelab",
		Short:         "Preview, deploy, refresh and destroy the homelab stack",
		Long:          longHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without this cobra answers unknown commands itself, as plain failures.
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf("unknown command %q: see homelab --help", args[0])
			}
			return cmd.Help()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(a.previewCommand(), a.upCommand(), a.refreshCommand(), a.destroyCommand())
	// Everything cobra itself refuses is an error of usage.
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return root
}

// operation makes a command of an operation, with the flags that all have.
func (a *app) operation(use, short, long, example string, run func(context.Context, *flags) error) (*cobra.Command, *flags) {
	f := &flags{}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf("%s takes no arguments, got %q", use, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.state != "" && !f.simulate {
				return usageErrorf("--state is the state of a simulation: it needs --simulate")
			}
			return run(cmd.Context(), f)
		},
	}
	set := cmd.Flags()
	set.StringVarP(&f.project, "project", "C", "", "folder with Pulumi.yaml (default: the nearest one upward)")
	set.StringVar(&f.stack, "stack", workspace.DefaultStack, "name of the stack")
	set.BoolVar(&f.simulate, "simulate", false, "use simulated clouds instead of the real ones")
	set.StringVar(&f.state, "state", "", "folder that keeps the simulation (default: a temporary one, removed at the end)")
	set.BoolVar(&f.json, "json", false, "print a summary as JSON to standard output, and progress to standard error")
	return cmd, f
}

func (f *flags) addYes(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask before changing the real clouds")
}

func (f *flags) addExpectNoChanges(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.expectNoChanges, "expect-no-changes", false, "fail if anything changes or would change")
}

// projectDir is the folder the flags name, or the nearest one upward with a Pulumi.yaml.
func (f *flags) projectDir() (string, error) {
	if f.project != "" {
		return filepath.Abs(f.project)
	}
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "Pulumi.yaml")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", usageErrorf("no Pulumi.yaml in %s or above: run inside the project or name it with -C", start)
		}
	}
}

// isTerminal says whether a stream is one a person looks at or types into.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
