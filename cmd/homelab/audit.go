//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"homelab/policy/audit"
	"homelab/policy/rules"
)

// source are the flags that say which stack is read.
type source struct {
	flags
	// file is the export to read; "-" is standard input, and "" the stack itself.
	file string
}

// add adds the flags.
func (s *source) add(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVarP(&s.cwd, "cwd", "C", "", "run as if started in this `folder`; the project is the nearest one upward")
	set.StringVarP(&s.stack, "stack", "s", "", "`name` of the stack that is read where no file is named")
	set.BoolVar(&s.simulate, "simulate", false, "read a simulated stack, which --state keeps")
	set.StringVar(&s.state, "state", "", "`folder` that keeps the simulation")
	// Neither error is possible for flags that exist.
	_ = cmd.RegisterFlagCompletionFunc("stack", s.completeStack)
	_ = cmd.MarkFlagDirname("cwd")
	_ = cmd.MarkFlagDirname("state")
}

// check takes the file from the arguments and refuses flags that do not fit each other.
func (s *source) check(args []string) error {
	if len(args) > 0 {
		s.file = args[0]
	}
	switch {
	case s.file != "" && (s.stack != "" || s.simulate || s.state != ""):
		return usageErrorf("%s is read, and no stack: leave out --stack, --simulate and --state", s.file)
	case s.simulate && s.state == "":
		return usageErrorf("--simulate needs --state: a new simulation has nothing in it")
	case s.state != "" && !s.simulate:
		return usageErrorf("--state is the state of a simulation: add --simulate")
	}
	return nil
}

// read reads the export.
func (a *app) read(ctx context.Context, s *source) (*rules.Export, error) {
	switch s.file {
	case "":
		var text []byte
		quiet := s.flags
		quiet.json = true // standard output is for what is asked for
		err := a.with(ctx, &quiet, func(open *session) (err error) {
			text, err = open.Export(ctx)
			return err
		})
		if err != nil {
			return nil, err
		}
		return rules.ReadExport(bytes.NewReader(text))
	case "-":
		export, err := rules.ReadExport(a.stdin)
		if err != nil {
			return nil, usageErrorf("standard input: %w", err)
		}
		return export, nil
	}
	return readExport(s.file)
}

func readExport(path string) (*rules.Export, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, usageError{err}
	}
	defer file.Close()
	export, err := rules.ReadExport(file)
	if err != nil {
		return nil, usageErrorf("%s: %w", path, err)
	}
	return export, nil
}

// readBaseline reads an export, or what an earlier audit printed with --json.
func readBaseline(path string) (*audit.Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usageError{err}
	}
	var earlier audit.Report
	if json.Unmarshal(text, &earlier) == nil && earlier.SchemaVersion > 0 {
		if earlier.SchemaVersion != audit.SchemaVersion {
			return nil, usageErrorf("%s: the report has version %d, and %d is what can be read", path, earlier.SchemaVersion, audit.SchemaVersion)
		}
		return &earlier, nil
	}
	export, err := readExport(path)
	if err != nil {
		return nil, err
	}
	return audit.Of(export), nil
}

// auditFlags are the flags of audit.
type auditFlags struct {
	source
	sarif    bool
	html     string
	failOn   string
	baseline string
	config   string
}

func (a *app) auditCommand() *cobra.Command {
	f := &auditFlags{}
	cmd := &cobra.Command{
		Use:   "audit [FILE|-]",
		Short: "Judge a stack by its export: what is broken, what it exposes and keeps",
		Long: "audit judges a stack by the rules of the policy pack, and lists what it exposes and keeps. It reads the file that\n" +
			"pulumi stack export writes, standard input for -, or the selected stack itself. It changes nothing and asks no cloud.\n" +
			"An export with secrets in clear is refused.\n\n" +
			"It exits with 1 if a rule of high severity is broken, or of the one that --fail-on names.",
		Example: `  # An export
  pulumi stack export --file export.json
  homelab audit export.json

  # The selected stack, as a page to look at
  homelab audit --html audit.html

  # What a deployment has changed in exposure
  homelab audit new.json --baseline old.json

  # In CI, for a code scanner
  homelab audit export.json --sarif > audit.sarif`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErrorf("audit takes one file, got %q", args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			return a.audit(cmd.Context(), f)
		},
	}
	f.add(cmd)
	set := cmd.Flags()
	set.BoolVarP(&f.json, "json", "j", false, "print the report as JSON; docs/audit.schema.json describes it")
	set.BoolVar(&f.sarif, "sarif", false, "print what is broken as SARIF, for code scanners")
	set.StringVar(&f.html, "html", "", "write the report to this `file` as one page of HTML too")
	set.StringVar(&f.failOn, "fail-on", string(rules.High), "exit with 1 if a rule of this `severity` or a worse one is broken: "+severities()+", or never")
	set.StringVar(&f.config, "policy-pack-config", "", "take the exceptions from this `file` with Pulumi's configuration of the policies; levels are the pack's")
	set.StringVar(&f.baseline, "baseline", "", "say what has changed in exposure since this `file`: an export, or what audit --json printed")
	return cmd
}

func severities() string {
	var out []string
	for _, s := range rules.Severities() {
		out = append(out, string(s))
	}
	return strings.Join(out, ", ")
}

func (a *app) audit(ctx context.Context, f *auditFlags) error {
	failOn := rules.Severity(f.failOn)
	switch {
	case f.failOn != "never" && !slices.Contains(rules.Severities(), failOn):
		return usageErrorf("--fail-on: %q is no severity: use one of %s, or never", f.failOn, severities())
	case f.json && f.sarif:
		return usageErrorf("--json and --sarif both print to standard output: choose one")
	}
	export, err := a.read(ctx, &f.source)
	if err != nil {
		return err
	}
	exceptions, err := readExceptions(f.config)
	if err != nil {
		return err
	}
	export.Except(exceptions)
	report := audit.Of(export)
	if f.baseline != "" {
		before, err := readBaseline(f.baseline)
		if err != nil {
			return err
		}
		report.Compare(before)
	}
	if err := f.write(a.stdout, report); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if f.failOn == "never" {
		return nil
	}
	if worst := report.Worst(failOn); len(worst) > 0 {
		return fmt.Errorf("%d rules of severity %s or worse are broken", len(worst), failOn)
	}
	return nil
}

func (f *auditFlags) write(stdout io.Writer, report *audit.Report) error {
	var page error
	if f.html != "" {
		var out bytes.Buffer
		if page = report.WriteHTML(&out); page == nil {
			page = os.WriteFile(f.html, out.Bytes(), 0o600)
		}
	}
	switch {
	case f.sarif:
		return errors.Join(page, report.WriteSARIF(stdout))
	case f.json:
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return errors.Join(page, encoder.Encode(report))
	}
	return errors.Join(page, report.WriteText(stdout))
}
