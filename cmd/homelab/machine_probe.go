//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"homelab/internal/rehearsal"
	"homelab/internal/rehearsal/declared"
	"homelab/internal/workspace"
	"homelab/policy/rules"
)

const (
	// probeTime is how long machine probe looks where nobody says for how long: long enough for all
	// ports of the internet's side, twice.
	probeTime = 5 * time.Minute
	// probeMargin is how much longer the probe would go on without this command.
	probeMargin = time.Minute
	// stopPatience is for what is under way when the probe ends.
	stopPatience = time.Minute
)

// probeFlags are the flags of machine probe.
type probeFlags struct {
	length    time.Duration
	firstBoot bool
	json      bool
}

func (a *app) machineProbeCommand() *cobra.Command {
	p := &probeFlags{}
	cmd, _ := a.machineAction("probe", "Look at the machine from everywhere, for what is open and should not be",
		"probe looks at the machine as strangers, as Cloudflare, as people of the tailnet, as somebody without rights on it, and from\n"+
			"inside each of its containers: ports, hostnames without a login, metadata, Docker's socket. What may be open is what the\n"+
			"deployment in the folder declares. It looks until the time is over, or until Ctrl-C, beside whatever else is done with the\n"+
			"machine, and then says what it saw. It exits with 1 if something was open that is not declared, or could not be looked at.",
		"  # Is something open?\n  homelab machine probe --simulate --state /tmp/lab\n\n"+
			"  # While something is done with it, until Ctrl-C\n  homelab machine probe --simulate --state /tmp/lab --for 2h --json > report.json",
		func(ctx context.Context, _ *machineFlags, k *kept, _ []string) error {
			return a.machineProbe(ctx, p, k)
		})
	cmd.Flags().DurationVar(&p.length, "for", probeTime, "look for this `time`; all ports from the tailnet take a quarter of an hour")
	cmd.Flags().BoolVar(&p.firstBoot, "first-boot", false, "the machine is in its first boot: until it has loaded its packet filter, ports refuse")
	cmd.Flags().BoolVarP(&p.json, "json", "j", false, "print the report as JSON; docs/probe.schema.json describes it")
	return cmd
}

// declared is what the deployment of the simulation declares.
func (k *kept) declared() (rehearsal.Declared, error) {
	text, err := workspace.KeptState(k.state)
	if errors.Is(err, fs.ErrNotExist) {
		return rehearsal.Declared{}, usageErrorf("%w: homelab up --simulate --machine --state %s deploys", err, k.state)
	}
	if err != nil {
		return rehearsal.Declared{}, err
	}
	export, err := rules.ReadExport(bytes.NewReader(text))
	if err != nil {
		return rehearsal.Declared{}, fmt.Errorf("reading what is deployed in %s: %w", k.state, err)
	}
	out, err := declared.Of(export.Graph)
	if err != nil {
		return rehearsal.Declared{}, fmt.Errorf("reading what is declared in %s: %w", k.state, err)
	}
	return out, nil
}

func (a *app) machineProbe(ctx context.Context, p *probeFlags, k *kept) error {
	if p.length <= 0 {
		return usageErrorf("--for: %s is no time to look", p.length)
	}
	m, err := k.one()
	if err != nil {
		return err
	}
	expected, err := k.declared()
	if err != nil {
		return err
	}
	err = k.StartProbe(ctx, rehearsal.ProbeOptions{Machine: m.ID, Declared: expected, FirstBoot: p.firstBoot, Longest: p.length + probeMargin})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "looking at %s for %s: %d hostnames, %d containers, %d edges\n", m.Name, p.length, len(expected.Hostnames), len(expected.Containers), len(expected.Edges))
	select {
	case <-time.After(p.length):
	case <-ctx.Done(): // that is how one stops to look
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	report, err := k.StopProbe(within)
	if err != nil {
		return err
	}
	if p.json {
		err = k.probeReport(m, report).writeJSON(a.stdout)
	} else {
		_, err = fmt.Fprintln(a.stdout, report)
	}
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if report.Err() != nil {
		return fmt.Errorf("%d things were open that are not declared, and %d could not be looked at", len(report.Forbidden), len(report.Problems))
	}
	return nil
}

// probeSchemaVersion is the version of what machine probe prints as JSON. It changes only when a
// property is removed or gets another meaning; docs/probe.schema.json describes it.
const probeSchemaVersion = 1

// probeReport is what machine probe prints as JSON.
type probeReport struct {
	SchemaVersion int    `json:"schemaVersion"`
	State         string `json:"state"`   // the simulation's folder
	Machine       string `json:"machine"` // its hostname
	// Forbidden, Seen and Problems are those of rehearsal.ProbeReport, and so is the rest, with times
	// in seconds.
	Forbidden   []rehearsal.ProbeFinding `json:"forbidden"`
	Seen        []rehearsal.ProbeFinding `json:"seen"`     // see Forbidden
	Problems    []string                 `json:"problems"` // see Forbidden
	Looks       []probeLooks             `json:"looks"`
	TookSeconds float64                  `json:"tookSeconds"`
}

// probeLooks is how often somebody looked; see rehearsal.ProbeLooks.
type probeLooks struct {
	Where             string  `json:"where"`
	Passes            int     `json:"passes"`
	Sweeps            int     `json:"sweeps"`
	Tries             int     `json:"tries"`
	Absent            int     `json:"absent"`
	Why               string  `json:"why,omitempty"`
	LongestGapSeconds float64 `json:"longestGapSeconds"`
}

func (k *kept) probeReport(m rehearsal.Machine, report rehearsal.ProbeReport) probeReport {
	out := probeReport{
		SchemaVersion: probeSchemaVersion, State: k.state, Machine: m.Name, Forbidden: report.Forbidden, Seen: report.Seen, Problems: report.Problems,
		Looks: []probeLooks{}, TookSeconds: report.Took.Seconds(),
	}
	for _, l := range report.Looks {
		out.Looks = append(out.Looks, probeLooks{
			Where: l.Where, Passes: l.Passes, Sweeps: l.Sweeps, Tries: l.Tries, Absent: l.Absent, Why: l.Why, LongestGapSeconds: l.LongestGap.Seconds(),
		})
	}
	return out
}

func (r probeReport) writeJSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}
