//go:build unix

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) upCommand() *cobra.Command {
	cmd, f := a.operation("up",
		"Deploy: make the clouds match the program",
		"up creates, changes and deletes resources until the clouds match the program and the stack's configuration.\n"+
			"On the real clouds it shows a preview and asks first. With --yes it does not ask, but it still previews: a mistake\n"+
			"that the preview finds stops it before anything is changed.",
		`  # Rehearse the deployment; nothing is kept
  homelab up --simulate

  # Keep the simulated deployment, to change and preview it again
  homelab up --simulate --state /tmp/lab

  # Deploy to a real virtual machine on this computer, and keep it
  homelab up --simulate --machine --state /tmp/lab

  # Deploy for real
  homelab up

  # Update one service only
  homelab up --target '**jellyfin**'`,
		a.up)
	f.addMachine(cmd)
	f.addYes(cmd)
	f.addExpectNoChanges(cmd)
	f.addPolicy(cmd)
	return cmd
}

func (a *app) up(ctx context.Context, f *flags) error {
	if err := a.mustBeAnswerable(f, "up"); err != nil {
		return err
	}
	return a.with(ctx, f, func(s *session) error {
		if err := s.approve(ctx, s.Preview, "This changes the real clouds"); err != nil {
			return err
		}
		summary, err := s.Up(ctx, s.options()...)
		if summary == nil || err != nil {
			return errors.Join(err, s.report(summary))
		}
		s.say("\nup of stack %s: %d resources (%s) in %.1f s. %s",
			summary.Stack, len(summary.Resources), summary.Counts(), summary.DurationSeconds, s.afterUp())
		return s.report(summary)
	})
}

// afterUp returns a hint at what to do next.
func (s *session) afterUp() string {
	switch {
	case !s.flags.simulate:
		return "Next: homelab preview shows what has changed since."
	case s.flags.state == "":
		return "Nothing is kept; with --state FOLDER you can go on with preview, refresh and destroy."
	default:
		return "Next: homelab preview " + s.stateFlags() + ", or homelab destroy " + s.stateFlags()
	}
}
