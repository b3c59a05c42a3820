package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

func (a *app) destroyCommand() *cobra.Command {
	cmd, f := a.operation("destroy",
		"Delete everything the stack has deployed",
		"destroy deletes every resource of the stack, public hostnames first.\n\n"+
			"On the real clouds it refuses while homelab:protect is true: set it to false and run up first, so that losing data\n"+
			"takes two decisions. In a simulation it does that itself, and then checks that the simulated clouds are empty.",
		`  # Delete a simulated deployment
  homelab destroy --simulate --state /tmp/lab

  # Delete the real one
  pulumi config set homelab:protect false && homelab up && homelab destroy`,
		a.destroy)
	f.addYes(cmd)
	return cmd
}

func (a *app) destroy(ctx context.Context, f *flags) error {
	if err := a.mustBeAnswerable(f, "destroy"); err != nil {
		return err
	}
	return a.with(ctx, f, func(s *session) error {
		if f.simulate {
			return s.destroySimulated(ctx)
		}
		protected, err := s.Protected()
		if err != nil {
			return err
		}
		if protected {
			return usageErrorf("stack %s is protected: set homelab:protect to false (pulumi config set homelab:protect false "+
				"--stack %s) and run homelab up first, which lifts the protection", s.Stack(), s.Stack())
		}
		if err := s.confirm("This deletes everything of stack " + s.Stack() + " in the real clouds, data included."); err != nil {
			return err
		}
		summary, err := s.Destroy(ctx, s.options()...)
		return s.afterDestroy(summary, err)
	})
}

// destroySimulated lifts the protection, destroys, and checks that nothing is left.
func (s *session) destroySimulated(ctx context.Context) error {
	deployment, err := s.Deployment()
	if err != nil {
		return err
	}
	if len(deployment.Resources) > 0 {
		s.say("lifting the protection of what holds data")
		if summary, err := s.LiftProtection(ctx, s.options()...); err != nil {
			return errors.Join(err, s.report(summary))
		}
	}
	summary, err := s.Destroy(ctx, s.options()...)
	if err == nil {
		err = s.checkNothingIsLeft(summary)
	}
	return s.afterDestroy(summary, err)
}

// checkNothingIsLeft fails the destroy when the simulated clouds still hold something, and says what no destroy takes
// away, because the real clouds keep it too.
func (s *session) checkNothingIsLeft(summary *workspace.Summary) error {
	if stays := entities(s.World().Residue()); len(stays) > 0 {
		s.say("what a destroy leaves in the real clouds too: %s", strings.Join(stays, ", "))
	}
	left := entities(s.World().Inventory())
	if len(left) == 0 {
		return nil
	}
	problem := "the simulated clouds still hold: " + strings.Join(left, ", ")
	summary.Result = workspace.Failed
	summary.Problems = append(summary.Problems, problem)
	return fmt.Errorf("destroy of stack %s: %s", s.Stack(), problem)
}

func entities(list []simcloud.Entity) []string {
	names := make([]string, 0, len(list))
	for _, each := range list {
		names = append(names, each.Type+" "+each.Name)
	}
	return names
}

func (s *session) afterDestroy(summary *workspace.Summary, err error) error {
	if summary == nil || err != nil {
		return errors.Join(err, s.report(summary))
	}
	left := ""
	if s.flags.simulate {
		left = "; nothing is left in the simulated clouds"
	}
	s.say("\ndestroy of stack %s: %s in %.1f s%s", summary.Stack, summary.Counts(), summary.DurationSeconds, left)
	return s.report(summary)
}
