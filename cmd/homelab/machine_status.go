//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"homelab/internal/rehearsal"
)

// machineSchemaVersion is the version of what machine status prints as JSON. It changes only when a
// property is removed or gets another meaning; docs/machine.schema.json describes it.
const machineSchemaVersion = 1

// machineReport is what machine status says.
type machineReport struct {
	SchemaVersion int             `json:"schemaVersion"`
	State         string          `json:"state"` // the simulation's folder
	Machines      []machineStatus `json:"machines"`
}

// machineStatus is one machine.
type machineStatus struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Running bool     `json:"running"`
	Public  []string `json:"public"`  // addresses in the network outside
	Tailnet []string `json:"tailnet"` // addresses in the tailnet; none while it is off or has not joined
	// DiskBytes is what its disk takes on this computer, without the base disk that all share.
	DiskBytes int64 `json:"diskBytes"`
	// Shell is the command that logs in to it; empty while none can, and then Reason says why.
	Shell  string `json:"shell"`
	Reason string `json:"reason,omitempty"` // see Shell
}

func (a *app) machineStatusCommand() *cobra.Command {
	f, asJSON := &machineFlags{}, false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say which machines there are, whether they run, and how to log in",
		Long: "status says of each machine that the simulation keeps whether it runs, its addresses, what its disk takes on this\n" +
			"computer (without the base disk, which all machines share), and the command that logs in. It starts nothing, and\n" +
			"also answers after homelab machine stop.\n\n" +
			"It exits with 0 if it could say that, whether or not a machine runs, with 2 if the folder keeps none, and with 1 if\n" +
			"something failed.",
		Example: "  # What is there?\n  homelab machine status --simulate --state /tmp/lab\n\n" +
			"  # The same for a script\n  homelab machine status --simulate --state /tmp/lab --json",
		Args: noArguments("status"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := f.status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return report.writeJSON(a.stdout)
			}
			return report.writeTable(a.stdout)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&asJSON, "json", "j", false, "print it as JSON; docs/machine.schema.json describes it")
	return cmd
}

// status finds out what machines the simulation keeps, and asks the program that runs them, if one
// does.
func (f *machineFlags) status(ctx context.Context) (*machineReport, error) {
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	folder := filepath.Join(f.state, machinesDir)
	saved, err := rehearsal.Saved(folder)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(saved) == 0 {
		return nil, usageErrorf("no machine is kept in %s: homelab up --simulate --machine --state %s starts one", f.state, f.state)
	}
	if err != nil {
		return nil, err
	}
	running, tailnet := map[string]bool{}, map[string][]string{}
	if client.Ping(ctx) == nil {
		if running, tailnet, err = present(ctx, client); err != nil {
			return nil, err
		}
	}
	out := &machineReport{SchemaVersion: machineSchemaVersion, State: f.state}
	for _, s := range saved {
		m := machineStatus{ID: s.Server.ID, Name: s.Server.Name, Running: running[s.Server.ID], Public: []string{}, Tailnet: []string{}}
		if s.Server.IPv4.IsValid() {
			m.Public = append(m.Public, s.Server.IPv4.String())
		}
		if s.Server.IPv6.IsValid() {
			m.Public = append(m.Public, s.Server.IPv6.Addr().String())
		}
		if m.Running {
			m.Tailnet = append(m.Tailnet, tailnet[m.ID]...)
		}
		if m.DiskBytes, err = takenBytes(rehearsal.Disk(folder, m.ID)); err != nil {
			return nil, fmt.Errorf("measuring the disk of machine %s: %w", m.Name, err)
		}
		m.Shell, m.Reason = f.login(m, len(saved))
		out.Machines = append(out.Machines, m)
	}
	return out, nil
}

// present asks which machines run, and for the addresses that they have in the tailnet.
func present(ctx context.Context, client *rehearsal.Client) (running map[string]bool, tailnet map[string][]string, err error) {
	running, tailnet = map[string]bool{}, map[string][]string{}
	all, err := client.Machines(ctx)
	if err != nil {
		return nil, nil, err
	}
	on := false
	for _, m := range all {
		running[m.ID] = m.Running
		on = on || m.Running
	}
	if !on {
		return running, tailnet, nil // the tailnet would be started for nobody
	}
	devices, err := client.Devices(ctx)
	for _, d := range devices {
		for _, address := range d.Addresses {
			tailnet[d.Machine] = append(tailnet[d.Machine], address.String())
		}
	}
	return running, tailnet, err
}

// login is the command that logs in to a machine, or why there is none.
func (f *machineFlags) login(m machineStatus, machines int) (shell, reason string) {
	flags := "--simulate --state " + f.state
	switch {
	case !m.Running:
		return "", "it is off: the next command with --machine boots it, such as homelab preview --machine " + flags
	case len(m.Tailnet) == 0:
		return "", "it has not joined the tailnet: homelab machine console " + flags + " shows how far it is"
	case machines > 1:
		return "", "homelab machine shell wants a simulation of one machine"
	}
	return "homelab machine shell " + flags, ""
}

// takenBytes is what a file takes on the disk, which is less than its length where it has holes; 0
// where there is none.
func takenBytes(path string) (int64, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size(), nil
	}
	return stat.Blocks * 512, nil // POSIX's unit here, whatever the file system's
}

func (r *machineReport) writeJSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("writing the machines' status: %w", err)
	}
	return nil
}

func (r *machineReport) writeTable(to io.Writer) error {
	w := tabwriter.NewWriter(to, 2, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tPUBLIC\tTAILNET\tDISK")
	for _, m := range r.Machines {
		state := "off"
		if m.Running {
			state = "running"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f GB\n", m.Name, state, dashed(m.Public), dashed(m.Tailnet), float64(m.DiskBytes)/1e9)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the machines' status: %w", err)
	}
	for _, m := range r.Machines {
		if m.Shell != "" {
			fmt.Fprintf(to, "\nTo log in to %s: %s\n", m.Name, m.Shell)
		} else {
			fmt.Fprintf(to, "\nNobody can log in to %s: %s\n", m.Name, m.Reason)
		}
	}
	return nil
}

// dashed joins what a cell of the table holds.
func dashed(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}
