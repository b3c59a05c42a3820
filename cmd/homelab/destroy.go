//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/spf13/cobra"

	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

func (a *app) destroyCommand() *cobra.Command {
	cmd, f := a.operation("destroy",
		"Delete everything the stack has deployed",
		"destroy deletes every resource of the stack, public hostnames first.\n\n"+
			"On the real clouds it refuses while homelab:protect is true: set it to false and run up first, so that losing data\n"+
			"takes two decisions. Then it shows a preview and asks, unless --yes is given. In a simulation it lifts the\n"+
			"protection itself, and checks afterwards that the simulated clouds are empty.",
		`  # Delete a simulated deployment
  homelab destroy --simulate --state /tmp/lab

  # Delete the real one
  pulumi config set homelab:protect false && homelab up && homelab destroy`,
		a.destroy)
	f.addMachine(cmd)
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
			return usageErrorf("stack %s is protected: run pulumi config set homelab:protect false --stack %s, "+
				"then homelab up, which lifts the protection, then homelab destroy again", s.Stack(), s.Stack())
		}
		if err := s.approve(ctx, s.PreviewDestroy, "This deletes everything above from the real clouds, data included"); err != nil {
			return err
		}
		summary, err := s.Destroy(ctx, s.options()...)
		return s.afterDestroy(summary, err)
	})
}

// destroySimulated lifts the protection, destroys, and checks that nothing is left.
func (s *session) destroySimulated(ctx context.Context) error {
	deployment, err := s.simulation.Deployment()
	if err != nil {
		return err
	}
	if len(deployment.Resources) == 0 {
		s.say("nothing is deployed in this simulation")
		return s.afterDestroy(s.Destroy(ctx, s.options()...))
	}
	s.say("lifting the protection of what holds data")
	if summary, err := s.simulation.LiftProtection(ctx, s.display()...); err != nil {
		return errors.Join(err, s.report(summary))
	}
	if deployment, err = s.simulation.Deployment(); err != nil {
		return err
	}
	summary, err := s.Destroy(ctx, s.options()...)
	if err == nil && len(s.flags.targets) == 0 {
		err = s.checkNothingIsLeft(summary, deployment)
	}
	return s.afterDestroy(summary, err)
}

// checkNothingIsLeft fails the destroy when the simulated clouds still hold something that the
// deployment did not ask to keep, and says what stays, because it stays in the real clouds too.
func (s *session) checkNothingIsLeft(summary *workspace.Summary, before *apitype.DeploymentV3) error {
	kept := map[string]bool{}
	for _, each := range before.Resources {
		if each.RetainOnDelete {
			kept[string(each.Type)+" "+string(each.ID)] = true
		}
	}
	stays, left := names(s.simulation.World().Residue()), []string{}
	for _, each := range s.simulation.World().Inventory() {
		if kept[each.Type+" "+each.ID] {
			stays = append(stays, names([]simcloud.Entity{each})...)
		} else {
			left = append(left, names([]simcloud.Entity{each})...)
		}
	}
	if len(stays) > 0 {
		s.say("what a destroy leaves in the real clouds too:\n  %s", strings.Join(stays, "\n  "))
	}
	if len(left) == 0 {
		s.say("nothing else is left in the simulated clouds")
		return nil
	}
	problem := "the simulated clouds still hold: " + strings.Join(left, ", ")
	summary.Result = workspace.Failed
	summary.Problems = append(summary.Problems, problem)
	return fmt.Errorf("destroy of stack %s: %s", s.Stack(), problem)
}

func names(list []simcloud.Entity) []string {
	texts := make([]string, 0, len(list))
	for _, each := range list {
		texts = append(texts, each.Type+" "+each.Name)
	}
	return texts
}

func (s *session) afterDestroy(summary *workspace.Summary, err error) error {
	if summary == nil || err != nil {
		return errors.Join(err, s.report(summary))
	}
	s.say("\ndestroy of stack %s: %s in %.1f s", summary.Stack, summary.Counts(), summary.DurationSeconds)
	return s.report(summary)
}
