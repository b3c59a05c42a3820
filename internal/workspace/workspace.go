// Package workspace runs the deployment's program on the Pulumi engine, through the Automation API: on the real clouds,
// as plain pulumi in the project's folder would, or on simulated ones, in a folder of its own with an isolated
// environment. Command homelab and the engine tests share it.
//
// An operation is one process of the CLI. What happened is read from the engine's events, not asked for afterwards.
package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optdestroy"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optpreview"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optrefresh"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// DefaultStack is the stack's name when none is given.
const DefaultStack = "prod"

// protectKey is the setting that protects what holds data, see package settings.
const protectKey = "homelab:protect"

// ErrConfig marks errors of the caller's making: a missing project, an unreadable stack file, an unusable folder.
// Nothing was run.
var ErrConfig = errors.New("configuration error")

// configError is err, and matches ErrConfig.
type configError struct{ error }

func (e configError) Unwrap() error        { return e.error }
func (e configError) Is(target error) bool { return target == ErrConfig }

func configErrorf(format string, args ...any) error {
	return configError{fmt.Errorf(format, args...)}
}

// Workspace is a stack that operations can be run on. It is not safe for concurrent use.
type Workspace struct {
	dir       string
	stackName string
	stack     *auto.Stack
	simulated *simulation
	stdout    io.Writer
	stderr    io.Writer
}

// Dir is the folder with the Pulumi.yaml that the engine reads: the project's own for a real stack, a private one for a
// simulation.
func (w *Workspace) Dir() string { return w.dir }

// Stack is the stack's name.
func (w *Workspace) Stack() string { return w.stackName }

// RealOptions say which real stack to open.
type RealOptions struct {
	// Project is the folder with Pulumi.yaml. Required.
	Project string
	// Stack is the stack's name. Default prod. It must exist in the backend.
	Stack string
	// Program is what the engine runs, given the folder with the Pulumi.yaml that it reads. Required.
	Program func(root string) pulumi.RunFunc
	// CLI is the Pulumi CLI's path, see toolchain.Pulumi. Required.
	CLI string
	// Stdout and Stderr receive the engine's output as it happens. Default none.
	Stdout, Stderr io.Writer
}

// Real opens a real stack: the project's files, the user's backend, plugins and credentials. Nothing is written to the
// project's folder.
func Real(ctx context.Context, opts RealOptions) (*Workspace, error) {
	project, stackName, err := checkProject(opts.Project, opts.Stack)
	if err != nil {
		return nil, err
	}
	if opts.Program == nil || opts.CLI == "" {
		return nil, configErrorf("opening stack %s: program or CLI is missing", stackName)
	}
	cli := command{path: opts.CLI, env: withPathOf(opts.CLI, os.Environ())}
	stack, err := newStack(ctx, project, stackName, opts.Program(project), cli)
	if err != nil {
		return nil, fmt.Errorf("opening stack %s: %w", stackName, err)
	}
	return &Workspace{
		dir: project, stackName: stackName, stack: stack,
		stdout: orDiscard(opts.Stdout), stderr: orDiscard(opts.Stderr),
	}, nil
}

// withPathOf puts the CLI's folder first in PATH, where the engine looks for the plugins that come with the CLI.
func withPathOf(cli string, environ []string) []string {
	env := slices.Clone(environ)
	for i, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			env[i] = "PATH=" + filepath.Dir(cli) + string(os.PathListSeparator) + value
			return env
		}
	}
	return append(env, "PATH="+filepath.Dir(cli))
}

func orDiscard(out io.Writer) io.Writer {
	if out == nil {
		return io.Discard
	}
	return out
}

// checkProject returns the project's absolute folder and the stack's name.
func checkProject(project, stack string) (string, string, error) {
	if stack == "" {
		stack = DefaultStack
	}
	if _, err := tokens.ParseStackName(stack); err != nil {
		return "", "", configErrorf("stack name %q: %w", stack, err)
	}
	dir, err := filepath.Abs(project)
	if err != nil {
		return "", "", configErrorf("project folder %q: %w", project, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "Pulumi.yaml")); err != nil {
		return "", "", configErrorf("project folder: %w", err)
	}
	return dir, stack, nil
}

// Protected says whether the stack's configuration protects its resources: homelab:protect, true by default.
func (w *Workspace) Protected() (bool, error) {
	file, err := readStackFileIfAny(w.stackFilePath())
	if err != nil {
		return false, configError{err}
	}
	return file.config().text(protectKey) != "false", nil
}

func (w *Workspace) stackFilePath() string {
	return filepath.Join(w.dir, "Pulumi."+w.stackName+".yaml")
}

// runOptions collect the Options of one operation.
type runOptions struct {
	expectNoChanges bool
	parallel        int
	color           string
}

// Option changes one operation.
type Option func(*runOptions)

// ExpectNoChanges makes the operation fail if anything changes or would change.
func ExpectNoChanges() Option { return func(o *runOptions) { o.expectNoChanges = true } }

// Parallel limits how many resources the engine works on at once. Default: the engine's own, 4 per processor.
func Parallel(n int) Option { return func(o *runOptions) { o.parallel = n } }

// Color makes the engine's output coloured, for terminals.
func Color() Option { return func(o *runOptions) { o.color = "always" } }

// Preview works out what Up would do, and does nothing. The Summary is never nil when the engine ran, also with an
// error.
func (w *Workspace) Preview(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "preview", opts, func(o runOptions, stream chan<- events.EngineEvent) (string, string, error) {
		list := []optpreview.Option{
			optpreview.ProgressStreams(w.stdout), optpreview.ErrorProgressStreams(w.stderr),
			optpreview.EventStreams(stream), optpreview.Color(o.color), optpreview.Parallel(o.parallel),
		}
		if o.expectNoChanges {
			list = append(list, optpreview.ExpectNoChanges())
		}
		result, err := w.stack.Preview(ctx, list...)
		return result.StdOut, result.StdErr, err
	})
}

// Up makes the clouds match the program. The Summary is never nil when the engine ran, also with an error.
func (w *Workspace) Up(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "up", opts, func(o runOptions, stream chan<- events.EngineEvent) (string, string, error) {
		list := []optup.Option{
			optup.ProgressStreams(w.stdout), optup.ErrorProgressStreams(w.stderr),
			optup.EventStreams(stream), optup.Color(o.color), optup.Parallel(o.parallel),
		}
		if o.expectNoChanges {
			list = append(list, optup.ExpectNoChanges())
		}
		result, err := w.stack.Up(ctx, list...)
		return result.StdOut, result.StdErr, err
	})
}

// Refresh reads every resource from its cloud and takes differences into the state. The Summary is never nil when the
// engine ran, also with an error.
func (w *Workspace) Refresh(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "refresh", opts, func(o runOptions, stream chan<- events.EngineEvent) (string, string, error) {
		list := []optrefresh.Option{
			optrefresh.ProgressStreams(w.stdout), optrefresh.ErrorProgressStreams(w.stderr),
			optrefresh.EventStreams(stream), optrefresh.Color(o.color), optrefresh.Parallel(o.parallel),
		}
		if o.expectNoChanges {
			list = append(list, optrefresh.ExpectNoChanges())
		}
		result, err := w.stack.Refresh(ctx, list...)
		return result.StdOut, result.StdErr, err
	})
}

// Destroy deletes every resource of the stack. Protected ones make it fail: see Protected and, for simulations,
// LiftProtection. The Summary is never nil when the engine ran, also with an error.
func (w *Workspace) Destroy(ctx context.Context, opts ...Option) (*Summary, error) {
	return w.run(ctx, "destroy", opts, func(o runOptions, stream chan<- events.EngineEvent) (string, string, error) {
		result, err := w.stack.Destroy(ctx,
			optdestroy.ProgressStreams(w.stdout), optdestroy.ErrorProgressStreams(w.stderr),
			optdestroy.EventStreams(stream), optdestroy.Color(o.color), optdestroy.Parallel(o.parallel))
		return result.StdOut, result.StdErr, err
	})
}

// run does what all operations share: it collects the events, times the operation and sums it up.
func (w *Workspace) run(ctx context.Context, name string, opts []Option,
	operate func(runOptions, chan<- events.EngineEvent) (string, string, error),
) (*Summary, error) {
	settings := runOptions{color: "never"}
	for _, option := range opts {
		option(&settings)
	}
	collected := collect()
	log := &sharedLog{}
	out, errOut := w.stdout, w.stderr
	w.stdout, w.stderr = io.MultiWriter(out, log), io.MultiWriter(errOut, log)
	defer func() { w.stdout, w.stderr = out, errOut }()

	began := time.Now()
	_, _, err := operate(settings, collected.stream)
	summary := &Summary{
		Command: name, Stack: w.stackName, Simulated: w.simulated != nil, Result: Succeeded,
		DurationSeconds: time.Since(began).Seconds(), Log: log.String(),
	}
	summary.summarize(collected.finish())
	if err != nil {
		summary.Result = Failed
		if cause := context.Cause(ctx); cause != nil {
			summary.Problems = append(summary.Problems, "interrupted: "+cause.Error())
		}
		if len(summary.Problems) == 0 {
			summary.Problems = []string{cliProblem(err, summary.Log)}
		}
		err = fmt.Errorf("%s of stack %s failed: %s", name, w.stackName, strings.Join(summary.Problems, "; "))
	}
	if w.simulated == nil {
		return summary, err
	}
	return summary, errors.Join(err, w.simulated.save())
}

// sharedLog takes the CLI's two output streams, which arrive from two goroutines.
type sharedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *sharedLog) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
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

// collector gathers the engine's events.
type collector struct {
	stream chan events.EngineEvent
	stop   chan struct{}
	done   chan struct{}
	list   []events.EngineEvent
}

func collect() *collector {
	c := &collector{
		stream: make(chan events.EngineEvent), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go func() {
		defer close(c.done)
		for {
			select {
			case event, open := <-c.stream:
				if !open {
					return
				}
				c.list = append(c.list, event)
			case <-c.stop:
				return
			}
		}
	}()
	return c
}

// finish returns the events once the operation is over. The Automation API closes the stream when the engine connected
// to it, and leaves it open when the CLI failed before that: so it cannot be waited for alone. The stream has no
// buffer, and the API has ended its sender by now, so nothing is lost.
func (c *collector) finish() []events.EngineEvent {
	close(c.stop)
	<-c.done
	return c.list
}
