//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"homelab/internal/workspace"
	"homelab/policy/rules"
)

// judging is a preview that is followed by a judgement: what it plans goes to a file in between.
func (s *session) judging(ctx context.Context, preview func(context.Context, ...workspace.Option) (*workspace.Summary, error)) (*workspace.Summary, error) {
	options := s.options()
	if !s.flags.judged() {
		return preview(ctx, options...)
	}
	exceptions, err := readExceptions(s.flags.policyConfig)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "homelab-plan-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the plan: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	plan := filepath.Join(folder, "plan.json")
	summary, err := preview(ctx, append(options, workspace.Plan(plan))...)
	if err != nil {
		return summary, err
	}
	return summary, judge(summary, plan, exceptions)
}

// readExceptions reads which hostnames may lead past Cloudflare in a configuration of policies; "" is
// none.
func readExceptions(path string) ([]rules.Exception, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, usageError{err}
	}
	defer file.Close()
	out, err := rules.ReadPolicyConfig(file)
	if err != nil {
		return nil, usageErrorf("%s: %w", path, err)
	}
	return out, nil
}

// judge holds what a preview plans to the rules. What is critical or of high severity is an error; the
// rest is advice.
func judge(summary *workspace.Summary, plan string, exceptions []rules.Exception) error {
	file, err := os.Open(plan)
	if err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	defer file.Close()
	planned := map[string]rules.Planned{}
	for urn, state := range summary.Planned() {
		planned[urn] = rules.Planned{Inputs: state.Inputs, Outputs: state.Outputs}
	}
	graph, err := rules.ReadPreview(file, planned)
	if err != nil {
		return err
	}
	graph.Except(exceptions)
	broken, undecided := 0, []string{}
	for _, v := range rules.Judge(graph) {
		if v.Status == rules.Undecided {
			undecided = append(undecided, v.Rule.ID)
		}
		for _, f := range v.Findings {
			text := fmt.Sprintf("%s: %s: %s", v.Rule.ID, f.Message, v.Rule.Remedy)
			if !v.Rule.Severity.AtLeast(rules.High) {
				summary.Advice = append(summary.Advice, text)
				continue
			}
			summary.Problems = append(summary.Problems, text)
			broken++
		}
	}
	if len(undecided) > 0 {
		summary.Advice = append(summary.Advice, "rules that cannot be decided before up, see homelab audit then: "+strings.Join(undecided, ", "))
	}
	if broken == 0 {
		return nil
	}
	summary.Result = workspace.Failed
	return violations{summary}
}

// violations are rules that a stack would break.
type violations struct{ summary *workspace.Summary }

func (v violations) Error() string {
	text := "the stack would break rules, so nothing was changed; docs/policy.md says more of each, and --policy=false goes on all the same:"
	for _, p := range v.summary.Problems {
		text += "\n  - " + p
	}
	return text
}
