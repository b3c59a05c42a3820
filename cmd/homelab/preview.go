package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) previewCommand() *cobra.Command {
	cmd, f := a.operation("preview",
		"Show what up would do, and do nothing",
		"preview shows what up would do: every resource under its parent, with the operation it would get.",
		`  # The whole deployment, on simulated clouds
  homelab preview --simulate

  # What an earlier simulated up would change now
  homelab preview --simulate --state /tmp/lab

  # The real stack; fail if it would change
  homelab preview --expect-no-changes`,
		a.preview)
	f.addExpectNoChanges(cmd)
	return cmd
}

func (a *app) preview(ctx context.Context, f *flags) error {
	return a.with(ctx, f, func(s *session) error {
		summary, err := s.Preview(ctx, s.options()...)
		if summary == nil || err != nil {
			return errors.Join(err, s.report(summary))
		}
		if err := summary.WriteTree(s.progress); err != nil {
			return err
		}
		s.say("\npreview of stack %s: %d resources (%s) in %.1f s",
			summary.Stack, len(summary.Resources), summary.Counts(), summary.DurationSeconds)
		return s.report(summary)
	})
}
