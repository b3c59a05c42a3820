//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	cryptossh "golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"homelab/components/tailnet"
	"homelab/internal/rehearsal"
	"homelab/internal/simcloud"
	"homelab/internal/substitutes"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

// machines is the program that runs real machines for a simulation.
type machines interface {
	simcloud.Machines

	// Keep lets it go on after this command; End ends it and all it runs; Close ends it unless it
	// is kept.
	Keep(ctx context.Context) error
	End(ctx context.Context) error
	Close() error
}

// machinesDir is where a simulation's folder has its machines.
const machinesDir = "machines"

// machineOptions say whose machines are started.
type machineOptions struct {
	workspace.Place
	// images are those that the machines have; nil: none.
	images   *substitutes.Folder
	progress io.Writer
}

// startMachines builds and starts homelab-machine for a simulation, or finds the one that runs
// already.
func startMachines(ctx context.Context, o machineOptions) (machines, error) {
	program, err := toolchain.Machine(ctx, o.progress)
	if err != nil {
		return nil, err
	}
	state := filepath.Join(o.State, machinesDir)
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	root, err := toolchain.Root() // the project may be elsewhere, and the program builds from the checkout
	if err != nil {
		return nil, err
	}
	options := rehearsal.Options{Program: program, State: state, Dir: root, Args: []string{"--tailnet", o.Tailnet, "--operator", o.Operator}}
	if o.images != nil {
		options.Images = o.images.Path()
	}
	process, err := rehearsal.Start(ctx, options)
	if errors.Is(err, rehearsal.ErrOtherImages) {
		return nil, usageErrorf("%w: homelab machine stop --simulate --state %s ends it, and the next command starts it with these", err, o.State)
	}
	if err != nil {
		return nil, err
	}
	// What it is doing now; the copy ends with the program or with this process.
	if lines, err := process.Progress(context.WithoutCancel(ctx)); err == nil {
		go func() { _, _ = io.Copy(o.progress, lines) }()
	}
	return process, nil
}

// images are those of --offline; nil without it.
func (f *flags) images() (*substitutes.Folder, error) {
	if f.offline == "" {
		return nil, nil
	}
	folder, err := substitutes.Open(f.offline)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usageErrorf("%w: homelab machine images %s makes them", err, f.offline)
	}
	if err != nil {
		return nil, usageError{err}
	}
	return folder, nil
}

// sayInstead says what is not exercised because something else runs in its place.
func (s *session) sayInstead(images *substitutes.Folder) {
	if images == nil || len(images.Instead()) == 0 {
		return
	}
	s.say("not the real programs, so what they would do is not tried:")
	for _, note := range images.Instead() {
		s.say("  - %s", note)
	}
}

// endMachines lets the machines of a kept simulation go on, and ends all others: those of a
// temporary one, of one that was interrupted, and a program without any.
func (s *session) endMachines(ctx context.Context) error {
	if s.machines == nil {
		return nil
	}
	interrupted := ctx.Err() != nil
	ctx = context.WithoutCancel(ctx)
	if s.flags.state == "" {
		return s.machines.Close()
	}
	all, err := s.machines.Machines(ctx)
	if interrupted || err == nil && len(all) == 0 {
		return errors.Join(err, s.machines.End(ctx))
	}
	if err := errors.Join(err, s.machines.Keep(ctx)); err != nil {
		return errors.Join(err, s.machines.Close())
	}
	flags := "--simulate --state " + s.flags.state
	s.say("the machine goes on: homelab machine shell %s logs in, homelab machine stop %s ends it", flags, flags)
	return s.machines.Close()
}

// machineFlags are the flags of the commands for a machine.
type machineFlags struct {
	simulate bool
	state    string
	user     string
	follow   bool
}

// kept is a simulation whose machines run.
type kept struct {
	*rehearsal.Client

	state string
	all   []rehearsal.Machine
}

func (a *app) machineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "machine",
		Short: "Look into the machine of a simulation, visit it, cut its power, take others off its network, stop it",
		Long: "machine works on the virtual machine that homelab up --simulate --machine --state FOLDER has left running.\n" +
			"docs/rehearsal.md says what it is.",
		Example: "  # What is there?\n  homelab machine status --simulate --state /tmp/lab\n\n" +
			"  # A shell on it, as a deployment logs in\n  homelab machine shell --simulate --state /tmp/lab\n\n" +
			"  # Enough for today; its disk stays\n  homelab machine stop --simulate --state /tmp/lab",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	shell, f := a.machineAction("shell", "Log in to the machine over the tailnet, or run a command there",
		"shell logs in as a deployment does: over the tailnet, as this computer, with the host key that the simulation knows.",
		"  # A shell\n  homelab machine shell --simulate --state /tmp/lab\n\n  # One command\n  homelab machine shell --simulate --state /tmp/lab systemctl is-system-running",
		a.machineShell)
	shell.Args = cobra.ArbitraryArgs
	shell.Flags().SetInterspersed(false) // what follows the command's name is the command's own
	shell.Flags().StringVar(&f.user, "user", tailnet.DeployUser, "log in as this `user`")
	console, f := a.machineAction("console", "Show what the machine has printed on its serial console",
		"console shows what the machine has printed on its serial console since its first boot.",
		"  # How far is the boot?\n  homelab machine console --simulate --state /tmp/lab --follow", a.machineConsole)
	console.Flags().BoolVar(&f.follow, "follow", false, "go on with what it prints next")
	cut, _ := a.machineAction("cut", "Cut the machine's power for a moment",
		"cut takes the power away at once, as a power cut does: what is not on the disk is lost. Then the power is back and\nthe machine boots.",
		"  # Does everything come back?\n  homelab machine cut --simulate --state /tmp/lab", a.machineCut)
	stop, _ := a.machineAction("stop", "Shut the machine down, and end the program that runs it",
		"stop shuts the machine down and ends the program that runs it. Its disk stays in the simulation's folder: the next\ncommand with --machine boots it again.",
		"  # Enough for today\n  homelab machine stop --simulate --state /tmp/lab", a.machineStop)
	cmd.AddCommand(a.machineStatusCommand(), shell, console, a.machineBrowseCommand(), cut, stop, a.machineProbeCommand(), a.awayCommand(true), a.awayCommand(false), a.imagesCommand())
	return cmd
}

func (a *app) imagesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "images FOLDER",
		Short: "Make the container images that a machine has with --offline",
		Long: "images makes a folder of container images for machines, which reach no registry: the deployment's own programs, other\n" +
			"projects' as far as they can be built or are in Debian, and stand-ins for the rest. Images there that stand for\n" +
			"themselves stay. The first time it needs root, debootstrap and Debian's mirror, and takes minutes.",
		Example: "  # Make them, and deploy with them\n  homelab machine images /tmp/images\n  homelab up --simulate --machine --offline /tmp/images --state /tmp/lab",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageErrorf("machine images takes the folder that it makes, got %q", args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.images(cmd.Context(), args[0], a.stderr) },
	}
}

// makeImages makes a folder of images for machines.
func makeImages(ctx context.Context, folder string, progress io.Writer) error {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	program, err := toolchain.Machine(ctx, progress)
	if err != nil {
		return err
	}
	root, err := toolchain.Root()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "images", folder)
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, progress, progress
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("making the images in %s: %w", folder, err)
	}
	return nil
}

func (a *app) machineAction(use, short, long, example string, run func(context.Context, *machineFlags, *kept, []string) error) (*cobra.Command, *machineFlags) {
	f := &machineFlags{}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: noArguments(use),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := f.find(cmd.Context())
			if err != nil {
				return err
			}
			defer k.Close()
			return run(cmd.Context(), f, k, args)
		},
	}
	f.add(cmd)
	return cmd, f
}

// noArguments refuses arguments of a command for a machine.
func noArguments(use string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageErrorf("machine %s takes no arguments, got %q", use, args)
		}
		return nil
	}
}

// add adds the flags that name the simulation.
func (f *machineFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.simulate, "simulate", false, "the machine is that of a simulation; required")
	cmd.Flags().StringVar(&f.state, "state", "", "`folder` that keeps the simulation; required")
	_ = cmd.MarkFlagDirname("state") // the flag exists
}

// client is one of the program that runs the simulation's machines; whether it runs is not known.
func (f *machineFlags) client() (*rehearsal.Client, error) {
	if !f.simulate || f.state == "" {
		return nil, usageErrorf("the machine is that of a simulation that is kept: name it with --simulate --state FOLDER")
	}
	client, err := rehearsal.NewClient(filepath.Join(f.state, machinesDir))
	if err != nil {
		return nil, usageError{err}
	}
	return client, nil
}

// find finds the machines of a kept simulation.
func (f *machineFlags) find(ctx context.Context) (*kept, error) {
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	if client.Ping(ctx) != nil {
		return nil, usageErrorf("no machine runs in %s: homelab up --simulate --machine --state %s starts one", f.state, f.state)
	}
	all, err := client.Machines(ctx)
	if err != nil {
		return nil, err
	}
	return &kept{client, f.state, all}, nil
}

// one is the simulation's machine.
func (k *kept) one() (rehearsal.Machine, error) {
	if len(k.all) != 1 {
		return rehearsal.Machine{}, fmt.Errorf("the simulation in %s has %d machines, not one", k.state, len(k.all))
	}
	return k.all[0], nil
}

func (a *app) machineConsole(ctx context.Context, f *machineFlags, k *kept, _ []string) error {
	m, err := k.one()
	if err != nil {
		return err
	}
	lines, err := k.Console(ctx, m.ID, f.follow)
	if err != nil {
		return err
	}
	defer func() { _ = lines.Close() }() // it was only read
	if _, err = io.Copy(a.stdout, lines); ctx.Err() != nil {
		return nil // that is how one stops to follow
	}
	return err
}

func (a *app) machineCut(ctx context.Context, _ *machineFlags, k *kept, _ []string) error {
	m, err := k.one()
	if err != nil {
		return err
	}
	if err := k.SetPower(ctx, m.ID, rehearsal.CutPower); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "the power of %s was cut; it boots\n", m.Name)
	return k.SetPower(ctx, m.ID, rehearsal.SwitchOn)
}

func (a *app) machineStop(ctx context.Context, _ *machineFlags, k *kept, _ []string) error {
	fmt.Fprintln(a.stdout, "shutting down")
	return k.End(ctx)
}

// machineShell logs in over the tailnet.
func (a *app) machineShell(ctx context.Context, f *machineFlags, k *kept, command []string) error {
	m, err := k.one()
	if err != nil {
		return err
	}
	key, err := k.hostKey(m.ID)
	if err != nil {
		return err
	}
	address, err := k.address(ctx, m.ID)
	if err != nil {
		return err
	}
	conn, err := k.Dial(ctx, rehearsal.Target{Origin: rehearsal.FromTailnet, Network: "tcp", Address: address})
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", m.Name, err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	c, channels, requests, err := cryptossh.NewClientConn(conn, address, &cryptossh.ClientConfig{
		User: f.user, HostKeyCallback: cryptossh.FixedHostKey(key), HostKeyAlgorithms: []string{key.Type()},
	})
	if err != nil {
		_ = conn.Close() // the handshake may have closed it
		return fmt.Errorf("logging in to %s: %w", m.Name, err)
	}
	client := cryptossh.NewClient(c, channels, requests)
	defer func() { _ = client.Close() }() // the session has ended
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	return a.runSession(session, command)
}

// hostKey is the key that the simulation's server was given.
func (k *kept) hostKey(id string) (cryptossh.PublicKey, error) {
	world, err := workspace.Kept(k.state, k.Client)
	if err != nil {
		return nil, fmt.Errorf("reading the simulation in %s: %w", k.state, err)
	}
	for _, m := range world.Machines() {
		if m.ID == id {
			key, _, _, _, err := cryptossh.ParseAuthorizedKey([]byte(m.HostKey))
			return key, err
		}
	}
	return nil, fmt.Errorf("the simulation in %s knows no server %s: has the deployment ended?", k.state, id)
}

// address is where the machine answers in the tailnet.
func (k *kept) address(ctx context.Context, id string) (string, error) {
	devices, err := k.Devices(ctx)
	if err != nil {
		return "", err
	}
	for _, d := range devices {
		if d.Machine == id && len(d.Addresses) > 0 {
			return net.JoinHostPort(d.Addresses[0].String(), "22"), nil
		}
	}
	return "", errors.New("the machine has not joined the tailnet yet: homelab machine console shows how far it is")
}

// runSession runs a command, or a shell on the terminal.
func (a *app) runSession(session *cryptossh.Session, command []string) error {
	session.Stdin, session.Stdout, session.Stderr = a.stdin, a.stdout, a.stderr
	if len(command) > 0 {
		return session.Run(strings.Join(command, " ")) // as ssh does
	}
	if file, ok := a.stdin.(*os.File); ok && isTerminal(file) {
		width, height, err := term.GetSize(int(file.Fd()))
		if err != nil {
			return err
		}
		before, err := term.MakeRaw(int(file.Fd()))
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(int(file.Fd()), before) }() // the command ends
		name := os.Getenv("TERM")
		if name == "" {
			name = "xterm"
		}
		if err := session.RequestPty(name, height, width, cryptossh.TerminalModes{}); err != nil {
			return err
		}
	}
	if err := session.Shell(); err != nil {
		return err
	}
	return session.Wait()
}
