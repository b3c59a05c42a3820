//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/spf13/cobra"

	"homelab/components/host"
	"homelab/components/tailnet"
)

// wireFlags are the flags of wire.
type wireFlags struct {
	source
	check bool
	json  bool
}

// ssh runs a command on the server.
type ssh func(ctx context.Context, arguments []string, stdout, stderr io.Writer) error

func realSSH(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, "ssh", arguments...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd.Run()
}

func (a *app) wireCommand() *cobra.Command {
	f := &wireFlags{}
	cmd := &cobra.Command{
		Use:   "wire",
		Short: "Connect the services with each other now, and say what was changed",
		Long: "wire has the server connect the services with each other: download client, indexers, folders, libraries. The server\n" +
			"does that by itself after every deployment and once an hour. wire does it now, and says in a line per service what it\n" +
			"changed, and what somebody has changed by hand.\n\n" +
			"It reaches the server as a deployment does, over the tailnet. No service's API is reachable from here.",
		Example: `  # What differs from the settings?
  homelab wire --check

  # Connect the services
  homelab wire`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf("wire takes no arguments, got %q", args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return a.wire(cmd.Context(), f) },
	}
	set := cmd.Flags()
	set.StringVarP(&f.cwd, "cwd", "C", "", "run as if started in this `folder`; the project is the nearest one upward")
	set.StringVarP(&f.stack, "stack", "s", "", "`name` of the stack")
	set.BoolVar(&f.check, "check", false, "change nothing, and fail if something would be changed or was changed by hand")
	set.BoolVarP(&f.json, "json", "j", false, "print what was done as JSON")
	_ = cmd.RegisterFlagCompletionFunc("stack", f.completeStack)
	_ = cmd.MarkFlagDirname("cwd")
	return cmd
}

func (a *app) wire(ctx context.Context, f *wireFlags) error {
	export, err := a.read(ctx, &f.source)
	if err != nil {
		return err
	}
	stacks := export.Graph.Of("pulumi:pulumi:Stack")
	if len(stacks) != 1 || stacks[0].Text("tailnetIpv4") == "" || stacks[0].Text("hostKey") == "" {
		return usageErrorf("the stack has no server yet: deploy it first (homelab up)")
	}
	arguments := append(host.SSHOptions(stacks[0].Text("hostKey")), tailnet.DeployUser+"@"+stacks[0].Text("tailnetIpv4"),
		"docker", "exec", "wire", "/usr/bin/homelab-wire", "once")
	if f.check {
		arguments = append(arguments, "--check")
	}
	if f.json {
		arguments = append(arguments, "--json")
	}
	return sshFailure(a.ssh(ctx, arguments, a.stdout, a.stderr))
}

// Exit codes of ssh and of the program that it starts.
const (
	exitSSH     = 255
	exitDiffers = 3
)

// sshFailure says what a failure of the command on the server means.
func sshFailure(err error) error {
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		if err != nil {
			return fmt.Errorf("running ssh: %w", err)
		}
		return nil
	}
	switch ended.ExitCode() {
	case exitSSH:
		return errors.New("the server does not answer over the tailnet: is Tailscale running here, as one of homelab:tailscale.admins?")
	case exitDiffers:
		return errors.New("the services are not as the settings say: homelab wire connects them; what was changed by hand stays unless homelab:wiring.enforce names the service")
	}
	return errors.New("the services could not all be connected: what is above says which, and why")
}
