package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optdestroy"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optpreview"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optrefresh"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"

	"homelab/internal/unusable"
)

// Preview works out what Up would do, and does nothing. The Summary is never nil when the engine
// ran, also with an error.
func (w *Workspace) Preview(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "preview", opts, func(o runOptions, stream chan<- events.EngineEvent) error {
		packs, configs := o.policyPacks()
		list := []optpreview.Option{
			optpreview.ProgressStreams(w.stdout), optpreview.ErrorProgressStreams(w.stderr),
			optpreview.EventStreams(stream), optpreview.Color(o.color), optpreview.Parallel(o.parallel),
			optpreview.Target(o.targets), optpreview.PolicyPacks(packs...), optpreview.PolicyPackConfigs(configs...),
		}
		list = appendIf(list, o.plan != "", func() optpreview.Option { return optpreview.Plan(o.plan) })
		list = appendIf(list, o.expectNoChanges, optpreview.ExpectNoChanges)
		list = appendIf(list, o.diff, optpreview.Diff)
		list = appendIf(list, o.targetDependents, optpreview.TargetDependents)
		_, err := w.stack.Preview(ctx, list...)
		return err
	})
}

// Up makes the clouds match the program. The Summary is never nil when the engine ran, also with an
// error.
func (w *Workspace) Up(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "up", opts, func(o runOptions, stream chan<- events.EngineEvent) error {
		packs, configs := o.policyPacks()
		list := []optup.Option{
			optup.ProgressStreams(w.stdout), optup.ErrorProgressStreams(w.stderr),
			optup.EventStreams(stream), optup.Color(o.color), optup.Parallel(o.parallel),
			optup.Target(o.targets), optup.PolicyPacks(packs...), optup.PolicyPackConfigs(configs...),
		}
		list = appendIf(list, o.expectNoChanges, optup.ExpectNoChanges)
		list = appendIf(list, o.diff, optup.Diff)
		list = appendIf(list, o.targetDependents, optup.TargetDependents)
		_, err := w.stack.Up(ctx, list...)
		return err
	})
}

// Refresh reads every resource from its cloud and takes differences into the state. The Summary is
// never nil when the engine ran, also with an error.
func (w *Workspace) Refresh(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "refresh", opts, func(o runOptions, stream chan<- events.EngineEvent) error {
		_, err := w.stack.Refresh(ctx, w.refreshOptions(o, stream)...)
		return err
	})
}

// PreviewRefresh works out what Refresh would take into the state, and leaves the state as it is.
func (w *Workspace) PreviewRefresh(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "refresh", opts, func(o runOptions, stream chan<- events.EngineEvent) error {
		_, err := w.stack.PreviewRefresh(ctx, w.refreshOptions(o, stream)...)
		return err
	})
}

func (w *Workspace) refreshOptions(o runOptions, stream chan<- events.EngineEvent) []optrefresh.Option {
	list := []optrefresh.Option{
		optrefresh.ProgressStreams(w.stdout), optrefresh.ErrorProgressStreams(w.stderr),
		optrefresh.EventStreams(stream), optrefresh.Color(o.color), optrefresh.Parallel(o.parallel),
		optrefresh.Target(o.targets),
	}
	list = appendIf(list, o.expectNoChanges, optrefresh.ExpectNoChanges)
	list = appendIf(list, o.diff, optrefresh.Diff)
	return appendIf(list, o.targetDependents, optrefresh.TargetDependents)
}

// Destroy deletes every resource of the stack. Protected ones make it fail: see Protected and, for
// simulations, LiftProtection. The Summary is never nil when the engine ran, also with an error.
func (w *Workspace) Destroy(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "destroy", opts, func(o runOptions, stream chan<- events.EngineEvent) error {
		_, err := w.stack.Destroy(ctx, w.destroyOptions(o, stream)...)
		return err
	})
}

// PreviewDestroy works out what Destroy would delete, and deletes nothing.
func (w *Workspace) PreviewDestroy(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "destroy", opts, func(o runOptions, stream chan<- events.EngineEvent) error {
		_, err := w.stack.PreviewDestroy(ctx, w.destroyOptions(o, stream)...)
		return err
	})
}

func (w *Workspace) destroyOptions(o runOptions, stream chan<- events.EngineEvent) []optdestroy.Option {
	list := []optdestroy.Option{
		optdestroy.ProgressStreams(w.stdout), optdestroy.ErrorProgressStreams(w.stderr),
		optdestroy.EventStreams(stream), optdestroy.Color(o.color), optdestroy.Parallel(o.parallel),
		optdestroy.Target(o.targets),
	}
	list = appendIf(list, o.diff, optdestroy.Diff)
	return appendIf(list, o.targetDependents, optdestroy.TargetDependents)
}

// appendIf appends what option makes, if wanted.
func appendIf[T any](list []T, wanted bool, option func() T) []T {
	if wanted {
		return append(list, option())
	}
	return list
}

// run does what all operations share: it collects the events, times the operation and sums it up.
func (w *Workspace) run(ctx context.Context, name string, opts []Option,
	operate func(runOptions, chan<- events.EngineEvent) error,
) (*Summary, error) {
	options := runOptions{color: "never"}
	for _, option := range opts {
		option(&options)
	}
	collected := collect()
	log := &sharedLog{}
	out, errOut := w.stdout, w.stderr
	w.stdout, w.stderr = io.MultiWriter(out, log), io.MultiWriter(errOut, log)
	defer func() { w.stdout, w.stderr = out, errOut }()
	w.refused.Store(nil)

	began := time.Now()
	kept := w.keep()
	err := operate(options, collected.stream)
	summary := &Summary{
		SchemaVersion: SchemaVersion, Command: name, Stack: w.stackName, Simulated: w.simulated, Result: Succeeded,
		DurationSeconds: time.Since(began).Seconds(), Log: log.String(),
	}
	summary.summarize(collected.finish())
	if err != nil && name == "up" && summary.touched {
		err = w.forgetDeleted(ctx, err)
	}
	if err != nil {
		err = w.failure(ctx, summary, err)
	}
	return summary, errors.Join(err, kept())
}

// failure completes the summary of a failed operation and returns the error for its caller.
func (w *Workspace) failure(ctx context.Context, summary *Summary, err error) error {
	summary.Result = Failed
	cause := context.Cause(ctx)
	if cause != nil {
		summary.Problems = append(summary.Problems, "interrupted: "+cause.Error())
	}
	if len(summary.Problems) == 0 {
		summary.Problems = []string{withRemedy(w.stackName, w.cli.code, cliProblem(err, summary.Log))}
	}
	if cause != nil || summary.touched || !w.unusable(summary) {
		return fmt.Errorf("%s of stack %s failed: %s", summary.Command, w.stackName, strings.Join(summary.Problems, "; "))
	}
	summary.Result = Unusable
	// The engine repeats what the program said, in one piece and with its own words around it.
	if refused := w.refused.Load(); refused != nil {
		summary.Problems = nil
		for _, each := range refused.List {
			summary.Problems = append(summary.Problems, each.String())
		}
		return configError{refused}
	}
	return configErrorf("%s of stack %s failed: %s", summary.Command, w.stackName, strings.Join(summary.Problems, "; "))
}

// unusable reports whether the operation failed because of the configuration or of the command
// line.
func (w *Workspace) unusable(summary *Summary) bool {
	if w.refused.Load() != nil || slices.ContainsFunc(summary.Problems, unusable.In) {
		return true
	}
	switch w.cli.code {
	case cmdutil.ExitConfigurationError, cmdutil.ExitAuthenticationError, cmdutil.ExitStackNotFound:
		return true
	}
	return len(summary.Resources) == 0 && slices.ContainsFunc(summary.Problems, func(problem string) bool {
		return slices.ContainsFunc(unusableTexts, func(text string) bool { return strings.Contains(problem, text) })
	})
}

// unusableTexts are in errors of the CLI about the configuration that its exit code, 1, does not
// tell from others.
var unusableTexts = []string{
	"validating stack config",
	"getting stack configuration",
	"does not satisfy the version range",
	"incorrect passphrase",
	wrongOrganization,
	passphraseVariable,
}

// wrongOrganization is what a backend without organizations says of a stack's name.
const wrongOrganization = "organization name must be"

// withRemedy adds to an error of the CLI what to do about it, where the CLI does not say.
func withRemedy(stack string, code int, problem string) string {
	switch {
	case code == cmdutil.ExitStackNotFound:
		return fmt.Sprintf("%s: make the stack with pulumi stack init %s, or name another with --stack", problem, stack)
	case code == cmdutil.ExitAuthenticationError:
		return problem + ": log in to where Pulumi keeps the state, with pulumi login"
	case strings.Contains(problem, wrongOrganization):
		return fmt.Sprintf("%s: this backend knows no others, so name the stack %s alone", problem, stack)
	case strings.Contains(problem, "stack is currently locked"):
		return problem + ": wait until the other operation ends; if it was killed, run pulumi cancel --stack " + stack
	}
	return problem
}

// cliProblem is what the CLI said when it failed before the engine could report anything.
func cliProblem(err error, log string) string {
	for line := range strings.Lines(log) {
		if text, found := strings.CutPrefix(strings.TrimSpace(line), "error: "); found {
			return text
		}
	}
	if text := strings.TrimSpace(log); text != "" {
		return text
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}
