//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"homelab/internal/simcloud"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

// session is one command's use of a workspace.
type session struct {
	*workspace.Workspace
	// simulation is the workspace of --simulate; nil on the real clouds.
	simulation *workspace.Simulation

	app   *app
	flags *flags
	// progress is where a person reads: standard output, or standard error when that carries JSON.
	progress io.Writer
	// restore puts the environment back that a simulation must not see.
	restore func()
	// machines runs the real machines of a simulation; nil where there are none.
	machines machines
	// ctx ends when the command is interrupted.
	ctx context.Context
}

// Close closes the workspace.
func (s *session) Close() error {
	defer s.restore()
	if s.simulation != nil {
		return errors.Join(s.endMachines(s.ctx), s.simulation.Close())
	}
	return s.Workspace.Close()
}

// open opens the workspace the flags ask for. Close the session after use.
func (a *app) open(ctx context.Context, f *flags) (*session, error) {
	s := &session{app: a, flags: f, progress: a.stdout, restore: func() {}, ctx: ctx}
	if f.json {
		s.progress = a.stderr
	}
	project, err := f.projectDir()
	if err != nil {
		return nil, err
	}
	stack, err := f.stackName(project)
	if err != nil {
		return nil, err
	}
	state := f.state
	if state != "" {
		if state, err = filepath.Abs(state); err != nil {
			return nil, err
		}
	}
	images, err := f.images()
	if err != nil {
		return nil, err
	}
	cli, err := a.cli(ctx, a.stderr)
	// The real engine runs the providers in the project's folder, and the tools are found from
	// there.
	if err := os.Chdir(project); err != nil {
		return nil, err
	}
	if errors.Is(err, toolchain.ErrNoCheckout) {
		cli, err = a.cli(ctx, a.stderr) // the project may be in a checkout where the caller was not
	}
	if err != nil {
		return nil, err
	}
	if !f.simulate {
		s.Workspace, err = workspace.Real(ctx, workspace.RealOptions{
			Project: project, Stack: stack, Program: a.real, CLI: cli, Ask: a.asker(), Stdout: s.progress, Stderr: a.stderr,
		})
		return s, err
	}
	s.restore = workspace.ScrubEnvironment()
	options := workspace.Options{
		Project: project, Stack: stack, State: state, Program: a.program, CLI: cli, Secrets: a.secrets,
		Stdout: s.progress, Stderr: a.stderr,
	}
	if f.machine {
		options.Machines = func(ctx context.Context, place workspace.Place) (simcloud.Machines, error) {
			var err error
			s.machines, err = a.machines(ctx, machineOptions{Place: place, images: images, progress: a.stderr})
			return s.machines, err
		}
	}
	s.simulation, err = workspace.Simulated(ctx, options)
	if err != nil {
		s.restore()
		if s.machines != nil {
			err = errors.Join(err, s.machines.Close())
		}
		return nil, err
	}
	s.Workspace = s.simulation.Workspace
	for _, note := range s.simulation.Notes() {
		s.say("%s", note)
	}
	s.sayInstead(images)
	return s, nil
}

// sayAdvice prints what policies found that stops nothing.
func (s *session) sayAdvice(summary *workspace.Summary) {
	for _, advice := range summary.Advice {
		s.say("advice: %s", strings.ReplaceAll(advice, "\n", "\n  "))
	}
}

// with runs do on the workspace the flags ask for.
func (a *app) with(ctx context.Context, f *flags, do func(*session) error) error {
	s, err := a.open(ctx, f)
	if err != nil {
		return err
	}
	a.stack = s.Stack()
	return errors.Join(do(s), s.Close())
}

// say prints one line for people.
func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.progress, format+"\n", args...)
}

// options are the workspace's options that the flags ask for.
func (s *session) options() []workspace.Option {
	options := append(s.display(), workspace.Targets(s.flags.targets, s.flags.targetDependents), workspace.PolicyPack(s.flags.policyPack, s.flags.policyConfig))
	if s.flags.expectNoChanges {
		options = append(options, workspace.ExpectNoChanges())
	}
	return options
}

// display are the options that say what the engine shows.
func (s *session) display() []workspace.Option {
	var options []workspace.Option
	if s.flags.diff {
		options = append(options, workspace.Diff())
	}
	if isTerminal(s.progress) && os.Getenv("NO_COLOR") == "" {
		options = append(options, workspace.Color())
	}
	return options
}

// show prints the tree of resources, unless the engine has printed the difference already.
func (s *session) show(summary *workspace.Summary) error {
	if s.flags.diff {
		return nil
	}
	return summary.WriteTree(s.progress)
}

// report prints the summary as JSON when asked for. A failure has its own error, so the summary is
// all there is to add.
func (s *session) report(summary *workspace.Summary) error {
	if summary == nil {
		return nil
	}
	return s.app.report(s.flags, summary)
}

// approve shows what the operation would do to the real clouds, and asks whether it may. On simulated
// clouds it only lets the policy pack judge before anything is made.
func (s *session) approve(ctx context.Context, preview func(context.Context, ...workspace.Option) (*workspace.Summary, error),
	warning string,
) error {
	if s.flags.simulate && !s.flags.judged() {
		return nil
	}
	if s.flags.skipPreview && !s.flags.simulate {
		return s.confirm(warning + ".")
	}
	summary, err := s.judging(ctx, preview)
	if s.flags.simulate && !errors.As(err, new(violations)) {
		return nil // whatever else is wrong, the operation itself says
	}
	if err != nil {
		return errors.Join(err, s.report(summary))
	}
	if err := s.show(summary); err != nil {
		return err
	}
	s.sayAdvice(summary)
	return s.confirm(warning + " (" + summary.Counts() + ").")
}

// confirm asks before something is done to the real clouds. Simulated ones never ask.
func (s *session) confirm(question string) error {
	if s.flags.simulate || s.flags.yes {
		return nil
	}
	fmt.Fprintf(s.app.stderr, "%s Type yes to go on: ", question)
	line, err := bufio.NewReader(s.app.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer := strings.TrimSpace(line); answer != "yes" {
		return usageErrorf("not confirmed: nothing was changed")
	}
	return nil
}

// mustBeAnswerable refuses, before anything runs, what would have to ask where nobody can answer.
func (a *app) mustBeAnswerable(f *flags, command string) error {
	if f.simulate || f.yes || isTerminal(a.stdin) {
		return nil
	}
	return usageErrorf("%s changes the real clouds and cannot ask for confirmation here: pass --yes, or --simulate", command)
}

// asker returns the function that asks for a secret on the terminal, or nil where there is none.
func (a *app) asker() func(prompt string) (string, error) {
	if !isTerminal(a.stdin) {
		return nil
	}
	file := a.stdin.(*os.File) // a terminal is one
	return func(prompt string) (string, error) {
		fmt.Fprint(a.stderr, prompt)
		defer fmt.Fprintln(a.stderr) // the user's newline is not shown either
		answer, err := term.ReadPassword(int(file.Fd()))
		return string(answer), err
	}
}

// stateFlags is how to name this simulation again.
func (s *session) stateFlags() string {
	if s.flags.machine {
		return "--simulate --machine --state " + s.flags.state
	}
	return "--simulate --state " + s.flags.state
}
