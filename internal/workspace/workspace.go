// Package workspace runs the deployment's program on the Pulumi engine, through the Automation API:
// on the real clouds, as plain pulumi in the project's folder would, or on simulated ones, in a
// folder of its own with an isolated environment. Command homelab and the engine tests share it.
//
// An operation is one process of the CLI. What happened is read from the engine's events, not asked
// for afterwards.
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
	"sync/atomic"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/settings"
)

// DefaultStack is the stack's name when none is given.
const DefaultStack = "prod"

// projectFile is the file that makes a folder a Pulumi project.
const projectFile = "Pulumi.yaml"

// protectKey is the setting that protects what holds data, see package settings.
const protectKey = "homelab:protect"

// ErrConfig marks errors that the caller can mend before anything has happened: a missing project,
// an unreadable stack file, settings that the program refuses, a wrong passphrase. Nothing was
// changed.
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
	cli       *command
	simulated bool
	// keep runs before each operation, and what it returns after it, whatever came of it.
	keep   func() (done func() error)
	stdout io.Writer
	stderr io.Writer
	// refused is what the program said of its configuration in the last operation, if anything.
	refused atomic.Pointer[settings.Problems]
}

// Dir is the folder with the Pulumi.yaml that the engine reads: the project's own for a real stack,
// a private one for a simulation.
func (w *Workspace) Dir() string { return w.dir }

// Stack is the stack's name.
func (w *Workspace) Stack() string { return w.stackName }

// RealOptions say which real stack to open.
type RealOptions struct {
	// Project is the folder with Pulumi.yaml. Required.
	Project string
	// Stack is the stack's name as the CLI takes it: stack, organization/stack or
	// organization/project/stack. Default prod. It must exist in the backend.
	Stack string
	// Program is what the engine runs, given the folder with the Pulumi.yaml that it reads.
	// Required.
	Program func(root string) pulumi.RunFunc
	// CLI is the Pulumi CLI's path, see toolchain.Pulumi. Required.
	CLI string
	// Ask shows the prompt to a person and returns the secret typed in, without showing it. It is
	// called when the stack's secrets are encrypted with a passphrase that is in no variable of the
	// environment. Default: nobody can be asked.
	Ask func(prompt string) (string, error)
	// Stdout and Stderr receive the engine's output as it happens. Default none.
	Stdout, Stderr io.Writer
}

// Real opens a real stack: the project's files, the user's backend, plugins and credentials.
// Nothing is written to the project's folder. Close it after use. Errors that match ErrConfig are
// about the options and the stack's file.
func Real(ctx context.Context, opts RealOptions) (*Workspace, error) {
	project, ref, err := checkProject(opts.Project, opts.Stack)
	if err != nil {
		return nil, err
	}
	if opts.Program == nil || opts.CLI == "" {
		return nil, configErrorf("opening stack %s: program or CLI is missing", ref.name)
	}
	w := &Workspace{
		dir: project, stackName: ref.name, stdout: orDiscard(opts.Stdout), stderr: orDiscard(opts.Stderr),
		cli:  &command{path: opts.CLI, env: withPathOf(opts.CLI, os.Environ())},
		keep: func() func() error { return func() error { return nil } },
	}
	file, err := readStackFileIfAny(w.stackFilePath())
	if err != nil {
		return nil, configError{err}
	}
	if w.cli.passphrase, err = findPassphrase(file, ref.name, opts.Ask); err != nil {
		return nil, err
	}
	if w.stack, err = newStack(ctx, project, ref.full, w.watched(opts.Program(project)), w.cli); err != nil {
		return nil, errors.Join(fmt.Errorf("opening stack %s: %w", ref.name, err), w.Close())
	}
	return w, nil
}

// Close forgets the passphrase. Closing twice is harmless.
func (w *Workspace) Close() error { return w.cli.forget() }

// watched is the program, with a note taken of what it says of its configuration.
func (w *Workspace) watched(program pulumi.RunFunc) pulumi.RunFunc {
	return func(ctx *pulumi.Context) error {
		err := program(ctx)
		var problems *settings.Problems
		if errors.As(err, &problems) {
			w.refused.Store(problems)
		}
		return err
	}
}

// withPathOf puts the CLI's folder first in PATH, where the engine looks for the plugins that come
// with the CLI.
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

// stackRef names a stack.
type stackRef struct {
	// full is the name as the CLI takes it.
	full string
	// name is the last part of it, which the stack's file is named after.
	name string
}

// parseStack reads a stack's name: stack, organization/stack or organization/project/stack.
func parseStack(text string) (stackRef, error) {
	if text == "" {
		text = DefaultStack
	}
	parts := strings.Split(text, "/")
	name := parts[len(parts)-1]
	if len(parts) > 3 || slices.Contains(parts, "") {
		return stackRef{}, configErrorf("stack name %q: write stack, organization/stack or organization/project/stack", text)
	}
	if _, err := tokens.ParseStackName(name); err != nil {
		return stackRef{}, configErrorf("stack name %q: %w", text, err)
	}
	return stackRef{full: text, name: name}, nil
}

// checkProject returns the project's absolute folder and the stack's name.
func checkProject(project, stack string) (string, stackRef, error) {
	ref, err := parseStack(stack)
	if err != nil {
		return "", ref, err
	}
	dir, err := filepath.Abs(project)
	if err != nil {
		return "", ref, configErrorf("project folder %q: %w", project, err)
	}
	if _, err := os.Stat(filepath.Join(dir, projectFile)); err != nil {
		return "", ref, configErrorf("project folder: %w", err)
	}
	return dir, ref, nil
}

// Protected reports whether the stack's configuration protects its resources: homelab:protect, true
// by default.
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
	expectNoChanges  bool
	diff             bool
	targets          []string
	targetDependents bool
	parallel         int
	color            string
	policyPack       string
	policyConfig     string
	plan             string
}

// Option changes one operation.
type Option func(*runOptions)

// ExpectNoChanges makes the operation fail if anything changes or would change.
func ExpectNoChanges() Option { return func(o *runOptions) { o.expectNoChanges = true } }

// Diff makes the engine's output show what changes inside each resource.
func Diff() Option { return func(o *runOptions) { o.diff = true } }

// Targets limits the operation to the resources with these URNs, in which * and ** stand for parts
// of a URN. With dependents it takes in what depends on those too. An empty list is no limit.
func Targets(urns []string, dependents bool) Option {
	return func(o *runOptions) { o.targets, o.targetDependents = urns, dependents }
}

// PolicyPack has the engine judge the stack by the pack at this path, an executable or a folder with
// a PulumiPolicy.yaml; "" is none. A mandatory violation makes a preview fail, and an up once all is
// made, so an up is to follow a preview. A pack judges whole stacks: with targets it is left out. The
// config is a file with the pack's own configuration; "" is none.
func PolicyPack(path, config string) Option {
	return func(o *runOptions) { o.policyPack, o.policyConfig = path, config }
}

// Plan has a preview write to this file which resources there are to be, and what each depends on.
func Plan(path string) Option { return func(o *runOptions) { o.plan = path } }

// policyPacks are the packs that the operation is judged by, and their configurations.
func (o runOptions) policyPacks() (packs, configs []string) {
	if o.policyPack == "" || len(o.targets) > 0 {
		return nil, nil
	}
	if o.policyConfig != "" {
		configs = []string{o.policyConfig}
	}
	return []string{o.policyPack}, configs
}

// Parallel limits how many resources the engine works on at once. Default: the engine's own, 4 per
// processor.
func Parallel(n int) Option { return func(o *runOptions) { o.parallel = n } }

// Color makes the engine's output coloured, for terminals.
func Color() Option { return func(o *runOptions) { o.color = "always" } }
