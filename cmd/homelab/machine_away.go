//go:build unix

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"homelab/internal/rehearsal"
)

// awayCommand is homelab machine away, or homelab machine back.
func (a *app) awayCommand(away bool) *cobra.Command {
	f := &machineFlags{}
	use, short, done := "away", "Take somebody off the machine's network: this computer, Tailscale, a Storage Box", "is away"
	example := "  # Does all else go on without the films? The names of the boxes are the settings'\n  homelab machine away homelab-media --simulate --state /tmp/lab"
	if !away {
		use, short, done = "back", "Bring somebody back whom homelab machine away took off the network", "is back"
		example = "  # The films are there again\n  homelab machine back homelab-media --simulate --state /tmp/lab"
	}
	cmd := &cobra.Command{
		Use:   use + " PARTY",
		Short: short,
		Long: short + ".\n\nPARTY is laptop, for this computer's connections to the machine; tailnet, for Tailscale's servers; or the name of a Storage\n" +
			"Box. Nobody is told. Who is away is back when homelab machine stop has ended the program that runs the machine.",
		Example: example,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageErrorf("machine %s takes one party: laptop, tailnet, or the name of a Storage Box; got %q", use, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := f.find(cmd.Context())
			if err != nil {
				return err
			}
			defer k.Close()
			if err := k.setAway(cmd.Context(), args[0], away); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s %s\n", args[0], done)
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// setAway takes off the network, or brings back, whom a person calls so.
func (k *kept) setAway(ctx context.Context, name string, away bool) error {
	if who := rehearsal.Party(name); who == rehearsal.Laptop || who == rehearsal.TailnetServers {
		return k.SetAway(ctx, who, away)
	}
	boxes, err := rehearsal.SavedBoxes(filepath.Join(k.state, machinesDir))
	if err != nil {
		return err
	}
	known := []string{string(rehearsal.Laptop), string(rehearsal.TailnetServers)}
	for _, b := range boxes {
		if b.Name == name {
			return k.SetAway(ctx, rehearsal.BoxParty(b.ID), away)
		}
		known = append(known, b.Name)
	}
	return usageErrorf("nobody on the machine's network is called %q: there are %s", name, strings.Join(known, ", "))
}
