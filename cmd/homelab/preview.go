//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"homelab/components/stack"
)

func (a *app) previewCommand() *cobra.Command {
	cmd, f := a.operation("preview",
		"Show what up would do, and change nothing",
		"preview shows every resource under its parent, with what up would do to it. It changes nothing.",
		`  # The whole deployment, on simulated clouds
  homelab preview --simulate

  # What up would change now in a simulation that an earlier up has left
  homelab preview --simulate --state /tmp/lab

  # The real stack, with what changes inside each resource
  homelab preview --diff

  # The real stack; fails if up would change anything
  homelab preview --expect-no-changes`,
		a.preview)
	f.addMachine(cmd)
	f.addExpectNoChanges(cmd)
	f.addPolicy(cmd)
	return cmd
}

func (a *app) preview(ctx context.Context, f *flags) error {
	return a.with(ctx, f, func(s *session) error {
		summary, err := s.judging(ctx, s.Preview)
		if summary == nil || err != nil {
			return errors.Join(err, s.report(summary))
		}
		if err := s.show(summary); err != nil {
			return err
		}
		s.say("\npreview of stack %s: %d resources (%s) in %.1f s",
			summary.Stack, len(summary.Resources), summary.Counts(), summary.DurationSeconds)
		s.sayAdvice(summary)
		if ends, err := time.Parse(time.RFC3339, fmt.Sprint(summary.Outputs[stack.OriginPullExpires])); err == nil {
			s.say("the origin-pull certificate ends on %s; up renews it years before", ends.Format(time.DateOnly))
		}
		return s.report(summary)
	})
}
