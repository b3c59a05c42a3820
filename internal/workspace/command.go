package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/internal/process"
	"homelab/internal/toolchain"
)

// command runs the Pulumi CLI for the Automation API. The API's own implementation always hands the
// whole environment on, asks the CLI for its version first, and kills an interrupted CLI after ten
// seconds, in the middle of what it was creating.
type command struct {
	// path is the CLI's executable.
	path string
	// env is the whole environment of the CLI but for what the Automation API adds.
	env []string
	// passphrase, when not nil, is an open file with the passphrase of the stack's secrets.
	passphrase *os.File
	// grace is how long an interrupted CLI may take to finish what it began; 0 is no limit.
	grace time.Duration
	// code is the exit code of the last run.
	code int
}

var _ auto.PulumiCommand = (*command)(nil)

// Version is the oldest the CLI can be: package toolchain gives out none that is older.
func (c *command) Version() semver.Version {
	return semver.MustParse(strings.TrimPrefix(toolchain.PulumiVersion, "v"))
}

// Run implements auto.PulumiCommand.
func (c *command) Run(ctx context.Context, workdir string, stdin io.Reader, outputs, errorOutputs []io.Writer,
	env []string, args ...string,
) (string, string, int, error) {
	// After each operation the API reads the stack's history to return a summary of it. This
	// package takes the summary from the engine's events, so the extra process would be for
	// nothing.
	if len(args) > 1 && args[0] == "stack" && args[1] == "history" {
		return "[]", "", 0, nil
	}
	cmd := exec.CommandContext(ctx, c.path, append([]string{"--non-interactive"}, args...)...)
	cmd.Dir = workdir
	cmd.Stdin = stdin
	cmd.Env = slices.Concat(c.env, env, []string{"PULUMI_AUTOMATION_API=true"})
	var stdout, stderr bytes.Buffer
	cmd.Stdout = io.MultiWriter(append(slices.Clone(outputs), &stdout)...)
	cmd.Stderr = io.MultiWriter(append(slices.Clone(errorOutputs), &stderr)...)
	// Ctrl-C reaches the CLI once, through the context, not a second time from the terminal, which
	// the CLI would take as the order to stop at once.
	process.OwnGroup(cmd)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = c.grace

	if err := c.handOver(cmd); err != nil {
		return "", "", -1, err
	}

	err := cmd.Run()
	c.code = 0
	if err != nil {
		c.code = -1
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			c.code = exit.ExitCode()
		}
	}
	return stdout.String(), stderr.String(), c.code, err
}

// handOver lets the CLI, and none of the plugins that it starts, read the passphrase: as its file
// descriptor 3.
func (c *command) handOver(cmd *exec.Cmd) error {
	if c.passphrase == nil {
		return nil
	}
	// Where /dev/fd shares the position of the open file, an earlier run has left it at the end.
	if _, err := c.passphrase.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("handing the passphrase over: %w", err)
	}
	cmd.ExtraFiles = []*os.File{c.passphrase}
	cmd.Env = append(cmd.Env, passphraseFileVariable+"=/dev/fd/3")
	return nil
}

// forget closes the passphrase's file, and with it the file ends.
func (c *command) forget() error {
	if c.passphrase == nil {
		return nil
	}
	file := c.passphrase
	c.passphrase = nil
	return file.Close()
}

// quietWorkspace is a workspace whose stack is known to exist and whose outputs are read from the
// engine's events.
type quietWorkspace struct {
	auto.Workspace
}

// SelectStack does nothing: every operation names its stack, and selecting would change the user's
// own selection.
func (quietWorkspace) SelectStack(context.Context, string) error { return nil }

// StackOutputs returns none: Summary has them, masked where secret.
func (quietWorkspace) StackOutputs(context.Context, string) (auto.OutputMap, error) {
	return auto.OutputMap{}, nil
}

// newStack returns the stack without asking the CLI anything.
func newStack(ctx context.Context, dir, name string, program pulumi.RunFunc, cli *command) (*auto.Stack, error) {
	local, err := auto.NewLocalWorkspace(ctx, auto.WorkDir(dir), auto.Program(program), auto.Pulumi(cli))
	if err != nil {
		return nil, err
	}
	stack, err := auto.SelectStack(ctx, name, quietWorkspace{local})
	if err != nil {
		return nil, err
	}
	return &stack, nil
}

// passedOn are the variables of the caller's environment that a simulation's CLI sees. It is a list
// of what is let through, because nobody can list every variable that holds a credential.
var passedOn = []string{"PATH", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TERM", "COLUMNS", "TMPDIR", "GOMAXPROCS"}

// letThrough reports whether a simulation may see the variable.
func letThrough(name string) bool {
	return slices.Contains(passedOn, name) || strings.HasPrefix(name, "LC_")
}

// ScrubEnvironment removes from this process every variable that a simulation must not see, and
// returns the function that puts them back. The program runs in this process, and the clouds' SDKs
// read tokens from its environment. HOME stays: this process keeps its cache there.
func ScrubEnvironment() (restore func()) {
	removed := map[string]string{}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if name != "" && name != "HOME" && !letThrough(name) {
			removed[name] = value
			_ = os.Unsetenv(name) // fails for names that cannot be in an environment only
		}
	}
	return func() {
		for name, value := range removed {
			_ = os.Setenv(name, value)
		}
	}
}

// isolatedEnv is the environment of a simulation's CLI, with what it is told in extra.
func isolatedEnv(environ []string, home string, extra map[string]string) []string {
	var env []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if letThrough(name) {
			env = append(env, entry)
		}
	}
	env = append(env, "HOME="+home, "PULUMI_HOME="+filepath.Join(home, pulumiHome))
	for name, value := range extra {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}
