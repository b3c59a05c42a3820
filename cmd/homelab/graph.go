//go:build unix

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"homelab/policy/audit"
	"homelab/policy/rules"
)

// graphFlags are the flags of graph.
type graphFlags struct {
	source
	format string
	host   string
}

var graphFormats = []string{"svg", "mermaid", "dot", "json"}

func (a *app) graphCommand() *cobra.Command {
	f := &graphFlags{}
	cmd := &cobra.Command{
		Use:   "graph [FILE|-]",
		Short: "Draw a stack: who may talk to whom, or the chain of one hostname",
		Long: "graph draws a stack as its export says it is: visitors, hostnames, and containers with the ways between them; or, with\n" +
			"--host, the layers that one hostname depends on. It reads the file that pulumi stack export writes, standard input for\n" +
			"-, or the selected stack itself.",
		Example: `  # The whole stack, as a drawing
  homelab graph export.json > stack.svg

  # The chain of one hostname, for a page on GitHub
  homelab graph export.json --host requests.example.com --format mermaid`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErrorf("graph takes one file, got %q", args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			return a.graph(cmd.Context(), f)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.format, "format", graphFormats[0], "`form` of the picture: "+strings.Join(graphFormats, ", "))
	cmd.Flags().StringVar(&f.host, "host", "", "draw the chain of this `hostname`")
	return cmd
}

func (a *app) graph(ctx context.Context, f *graphFlags) error {
	if !slices.Contains(graphFormats, f.format) {
		return usageErrorf("--format: %q is no form: use one of %s", f.format, strings.Join(graphFormats, ", "))
	}
	export, err := a.read(ctx, &f.source)
	if err != nil {
		return err
	}
	inventory := rules.TakeInventory(export.Graph)
	picture, title := audit.Whole(inventory), "Who may talk to whom"
	if f.host != "" {
		names := make([]string, 0, len(inventory.Hostnames))
		for _, h := range inventory.Hostnames {
			names = append(names, h.Name)
		}
		at := slices.Index(names, f.host)
		if at < 0 {
			return usageErrorf("--host: %q is no hostname of the stack: use one of %s", f.host, strings.Join(names, ", "))
		}
		picture, title = audit.Chain(inventory.Hostnames[at]), "The chain of "+f.host
	}
	text, err := draw(picture, f.format, title)
	if err == nil {
		_, err = fmt.Fprint(a.stdout, text)
	}
	return err
}

func draw(p audit.Picture, format, title string) (string, error) {
	switch format {
	case "mermaid":
		return p.Mermaid(), nil
	case "dot":
		return p.DOT(), nil
	case "json":
		return p.JSON()
	}
	return p.SVG(title), nil
}
