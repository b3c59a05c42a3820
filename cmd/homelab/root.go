//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"homelab/internal/workspace"
	"homelab/internal/workspace/hints"
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
	// stack is the name of the stack that the command works on, without organization and project,
	// once it is known.
	stack string
	// reported is true when the JSON document of the command line has been printed.
	reported bool
	// program is what the engine runs on simulated clouds, and real is what it runs on real ones,
	// given the project's folder.
	program, real func(root string) pulumi.RunFunc
	// secrets are what a simulation makes up.
	secrets []workspace.Secret
	// cli finds or builds the Pulumi CLI and reports its progress.
	cli func(ctx context.Context, progress io.Writer) (string, error)
	// ssh runs a command on the server.
	ssh ssh
	// machines starts what runs the real machines of a simulation.
	machines func(ctx context.Context, o machineOptions) (machines, error)
	// images makes a folder of container images for them.
	images func(ctx context.Context, folder string, progress io.Writer) error
}

// flags are the flags all operations have. Those that pulumi has too are named and used as there.
type flags struct {
	cwd              string
	stack            string
	simulate         bool
	machine          bool
	offline          string
	state            string
	json             bool
	diff             bool
	targets          []string
	targetDependents bool
	yes              bool
	skipPreview      bool
	expectNoChanges  bool
	policy           bool
	policyGiven      func() bool
	policyPack       string
	policyConfig     string
}

// usageError is an error of the command line, or one found before anything ran.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usageErrorf(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

const longHelp = `homelab operates the stack of this project.

With --simulate the real Pulumi engine deploys to simulated clouds in memory. That needs no account and no token, and
changes nothing outside. Without it, homelab works on the same stack as pulumi does in the project's folder.

homelab takes the Pulumi CLI from PATH, or builds it once from its pinned Go module.

Exit codes:
  0  all went well
  1  the operation failed; what it did before it failed stays done
  2  the command line or the configuration cannot be used, or the question was answered with no; nothing was changed`

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
	for _, hint := range hints.For(err.Error(), a.stack) {
		fmt.Fprintf(a.stderr, "\nhint: %s\n", hint)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var usage usageError
	if errors.As(err, &usage) || errors.Is(err, workspace.ErrConfig) {
		return exitUsage
	}
	return exitFailed
}

// report prints the summary as JSON, if the flags ask for it.
func (a *app) report(f *flags, summary *workspace.Summary) error {
	if !f.json {
		return nil
	}
	a.reported = true
	encoder := json.NewEncoder(a.stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(summary); err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	return nil
}

// reportFailure prints the JSON of a command that failed before it had a summary.
func (a *app) reportFailure(command string, f *flags, failure error) error {
	if failure == nil || a.reported {
		return failure
	}
	result := workspace.Failed
	if exitCode(failure) == exitUsage {
		result = workspace.Unusable
	}
	return errors.Join(failure, a.report(f, workspace.Unstarted(command, f.stack, f.simulate, result, failure)))
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "homelab",
		Short: "Preview, deploy, refresh and destroy the homelab stack",
		Long:  longHelp,
		Example: `  # Look at the whole deployment, without an account
  homelab preview --simulate

  # Deploy for real: preview, question, deployment
  homelab up`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without this cobra answers unknown commands itself, as plain failures.
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf("unknown command %q: %s", args[0], suggestion(cmd, args[0]))
			}
			return cmd.Help()
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate(versionText() + "\n")
	root.AddCommand(a.previewCommand(), a.upCommand(), a.refreshCommand(), a.destroyCommand(), a.auditCommand(), a.graphCommand(), a.wireCommand(), a.machineCommand())
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
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.reportFailure(use, f, f.check(func() error { return run(cmd.Context(), f) }))
		},
	}
	f.add(cmd)
	return cmd, f
}

// add adds the flags that all operations have.
func (f *flags) add(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVarP(&f.cwd, "cwd", "C", "", "run as if started in this `folder`; the project is the nearest one upward")
	set.StringVarP(&f.stack, "stack", "s", "", "`name` of the stack (default: the one selected with pulumi stack select, else "+workspace.DefaultStack+")")
	set.BoolVar(&f.simulate, "simulate", false, "use simulated clouds instead of the real ones")
	set.StringVar(&f.state, "state", "", "`folder` that keeps the simulation (default: a temporary one, removed at the end)")
	set.BoolVarP(&f.json, "json", "j", false, "print a summary as JSON to standard output, and progress to standard error")
	set.BoolVar(&f.diff, "diff", false, "show what changes inside each resource, instead of the tree of resources")
	set.StringArrayVarP(&f.targets, "target", "t", nil, "limit the operation to this `URN`, in which * and ** stand for parts of it; may be repeated")
	set.BoolVar(&f.targetDependents, "target-dependents", false, "take in what depends on the targets too")
	// Neither error is possible for flags that exist.
	_ = cmd.RegisterFlagCompletionFunc("stack", f.completeStack)
	_ = cmd.RegisterFlagCompletionFunc("target", cobra.NoFileCompletions)
	_ = cmd.MarkFlagDirname("cwd")
	_ = cmd.MarkFlagDirname("state")
}

// check runs an operation when the flags fit each other.
func (f *flags) check(run func() error) error {
	switch {
	case f.state != "" && !f.simulate:
		return usageErrorf("--state is the state of a simulation: add --simulate")
	case f.machine && !f.simulate:
		return usageErrorf("--machine is the machine of a simulation: add --simulate")
	case f.offline != "" && !f.machine:
		return usageErrorf("--offline has the images of a machine: add --machine")
	case f.policy && f.skipPreview && !f.simulate:
		return usageErrorf("--policy judges what the preview plans: leave out --skip-preview")
	case f.targetDependents && len(f.targets) == 0:
		return usageErrorf("--target-dependents adds to targets: name them with --target")
	}
	return run()
}

func (f *flags) addYes(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask before changing the real clouds")
	cmd.Flags().BoolVarP(&f.skipPreview, "skip-preview", "f", false, "do not preview first on the real clouds")
}

func (f *flags) addMachine(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.machine, "machine", false, "with --simulate: a real virtual machine in place of the server; see docs/rehearsal.md")
	cmd.Flags().StringVar(&f.offline, "offline", "", "with --machine: the `folder` of container images that the machine has, as homelab machine images makes it")
	_ = cmd.MarkFlagDirname("offline") // the flag exists
}

func (f *flags) addExpectNoChanges(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.expectNoChanges, "expect-no-changes", false, "fail if anything changes or would change")
}

func (f *flags) addPolicy(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.policy, "policy", false, "stop if the stack would break a rule of docs/policy.md (default with --simulate: true)")
	cmd.Flags().StringVar(&f.policyPack, "policy-pack", "", "have the engine run the policy pack in this `folder` too, as pulumi does")
	cmd.Flags().StringVar(&f.policyConfig, "policy-pack-config", "", "`file` with Pulumi's configuration of the policies: --policy takes the exceptions of it, and the pack the levels too")
	_ = cmd.MarkFlagDirname("policy-pack")
	f.policyGiven = func() bool { return cmd.Flags().Changed("policy") }
}

// judged reports whether the rules judge the operation. They judge whole stacks: with targets only a
// part of one is there.
func (f *flags) judged() bool {
	if f.policyGiven == nil || len(f.targets) > 0 {
		return false
	}
	return f.policy || f.simulate && !f.policyGiven()
}

// projectDir returns the nearest folder with a Pulumi.yaml, upward from the one the flags name.
func (f *flags) projectDir() (string, error) {
	start, err := filepath.Abs(f.cwd)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(start); err != nil {
		return "", usageErrorf("--cwd: %w", err)
	} else if !info.IsDir() {
		return "", usageErrorf("--cwd: %s is not a folder", start)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "Pulumi.yaml")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", usageErrorf("no Pulumi.yaml in %s or above: run inside the project, or name its folder with --cwd", start)
		}
	}
}

// stackName returns the stack that the flags name, or else the selected one; "" stands for the
// default.
func (f *flags) stackName(project string) (string, error) {
	if f.stack != "" {
		return f.stack, nil
	}
	return workspace.SelectedStack(project)
}

// completeStack proposes the stacks that have a file in the project's folder.
func (f *flags) completeStack(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	project, err := f.projectDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	files, err := filepath.Glob(filepath.Join(project, "Pulumi.*.yaml"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "Pulumi."), ".yaml"))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// suggestion returns what to do about an unknown command.
func suggestion(cmd *cobra.Command, name string) string {
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return "did you mean " + strings.Join(near, " or ") + "?"
	}
	return "homelab --help lists the commands"
}

// isTerminal reports whether a stream is one a person looks at or types into.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
