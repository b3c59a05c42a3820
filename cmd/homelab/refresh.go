//go:build unix

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) refreshCommand() *cobra.Command {
	cmd, f := a.operation("refresh",
		"Read the clouds and take what changed there into the state",
		"refresh reads every resource from its cloud and takes what changed there into the stack's state.\n"+
			"On the real stack it shows a preview and asks first, unless --yes is given.\n\n"+
			"Docker's provider removes a container that somebody has stopped as soon as it reads it, even for the preview.\n"+
			"The container's data stays, and the next up makes it again. Finish your maintenance before you refresh.",
		`  # Read the simulated clouds of an earlier up
  homelab refresh --simulate --state /tmp/lab

  # Show what changed on the real clouds, then ask
  homelab refresh`,
		a.refresh)
	f.addMachine(cmd)
	f.addYes(cmd)
	f.addExpectNoChanges(cmd)
	return cmd
}

func (a *app) refresh(ctx context.Context, f *flags) error {
	if err := a.mustBeAnswerable(f, "refresh"); err != nil {
		return err
	}
	return a.with(ctx, f, func(s *session) error {
		if err := s.approve(ctx, s.PreviewRefresh, "This takes what changed in the real clouds into the stack's state"); err != nil {
			return err
		}
		summary, err := s.Refresh(ctx, s.options()...)
		if summary == nil || err != nil {
			return errors.Join(err, s.report(summary))
		}
		s.say("\nrefresh of stack %s: %d resources (%s) in %.1f s",
			summary.Stack, len(summary.Resources), summary.Counts(), summary.DurationSeconds)
		return s.report(summary)
	})
}
