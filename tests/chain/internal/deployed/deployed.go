// Package deployed deploys the whole stack on simulated clouds with the real engine, and puts what
// the machine was given into a folder: the same files, owners and modes as in production, by the
// same program.
package deployed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"homelab/components/host"
	"homelab/components/settings"
	"homelab/components/stack"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

// The machine's folders that the deployment may write to.
const (
	opt      = "/opt"
	fail2ban = "/etc/fail2ban"
)

// filing is what the machine's program does with files. What else it does is about services of the
// machine that do not run here.
var filing = []string{"put", "ensure", "remove", "directory"}

// putter is the program on the machine that writes files, in the checkout.
const putter = "components/host/files/homelab-file"

// Deployment is the deployed stack.
type Deployment struct {
	workspace *workspace.Simulation
	root      string // of the checkout
	cli       string
	files     string
	replayed  int64
	// execs are the commands that the deployment ran in containers, in order.
	execs []Exec
}

// Chosen are the passwords that the operator chose, by login, in the deployment's configuration.
// Everybody else's is generated.
func Chosen() map[string]string {
	return map[string]string{"family": `Ein "gewähltes" Paßwort: $6$ {{x}}`}
}

// Exec is a command that the deployment ran in a container.
type Exec struct {
	// Resource is its name in the deployment.
	Resource string
	// Container is where it ran.
	Container string
	// Command is the program and its arguments.
	Command []string
	// Stdin is what it read.
	Stdin string
}

// Up deploys the production example with the changed settings, and writes the machine's files below
// the folder.
func Up(ctx context.Context, files string, changes map[string]any, progress io.Writer) (_ *Deployment, err error) {
	d := &Deployment{files: files}
	if d.root, err = toolchain.Root(); err != nil {
		return nil, err
	}
	if d.cli, err = toolchain.Pulumi(ctx, progress); err != nil {
		return nil, err
	}
	options := workspace.Options{
		Project: d.root, Program: stack.From, CLI: d.cli, Config: changes,
		Env: map[string]string{"PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"},
	}
	for _, key := range settings.Secrets() {
		options.Secrets = append(options.Secrets, workspace.Secret{Key: key.Key, Generate: key.Generate, Needs: key.Needs})
	}
	for name, password := range Chosen() {
		options.Secrets = append(options.Secrets, workspace.Secret{
			Key: "homelab:userPasswords." + name, Generate: func(io.Reader) (string, error) { return password, nil },
		})
	}
	if d.workspace, err = workspace.Simulated(ctx, options); err != nil {
		return nil, err
	}
	// The gates are open, as after a boot in which everything became healthy.
	gates := []string{host.StageGuards.Gate(), host.StagePortal.Gate(), host.StageProxy.Gate(), host.StageServices.Gate()}
	for _, folder := range append(gates, opt, fail2ban) {
		if err := os.MkdirAll(d.Path(folder), 0o755); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	if err := d.up(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Change deploys again with further settings changed, and brings the files up to date.
func (d *Deployment) Change(ctx context.Context, changes map[string]any) error {
	if err := d.workspace.SetConfig(changes); err != nil {
		return err
	}
	return d.up(ctx)
}

// SetPassword chooses a person's password, as an administrator does before the next deployment.
func (d *Deployment) SetPassword(ctx context.Context, name, password string) error {
	cmd := d.pulumi(ctx, "config", "set", "--secret", "--path", "homelab:userPasswords."+name)
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("choosing the password of %s: %w: %s", name, err, out)
	}
	return nil
}

// pulumi is a command of the command line about the deployment's stack.
func (d *Deployment) pulumi(ctx context.Context, arguments ...string) *exec.Cmd {
	dir := d.workspace.Dir()
	cmd := exec.CommandContext(ctx, d.cli, append(arguments, "--stack", d.workspace.Stack())...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PULUMI_BACKEND_URL=file://"+filepath.Join(dir, "backend"), "PULUMI_CONFIG_PASSPHRASE_FILE="+filepath.Join(dir, "passphrase"),
		"PULUMI_SKIP_UPDATE_CHECK=true", "HOME="+filepath.Join(dir, "home"))
	return cmd
}

func (d *Deployment) up(ctx context.Context) error {
	if summary, err := d.workspace.Up(ctx); err != nil {
		return fmt.Errorf("%w: %s", err, summary.Log)
	}
	d.execs = nil
	for _, c := range d.workspace.World().Commands("") {
		if c.Sequence <= d.replayed {
			continue
		}
		d.replayed = c.Sequence
		// What comes after is loaded into the kernel of the machine: Lab does it.
		first, _, _ := strings.Cut(c.Script, " && sudo -n /usr/local/sbin/homelab-unit firewall")
		words := strings.Fields(first)
		switch {
		case len(words) > 3 && words[2] == "/usr/local/sbin/homelab-file" && slices.Contains(filing, words[3]):
			if err := d.put(ctx, words[3:], c.Stdin); err != nil {
				return err
			}
		case len(words) > 3 && words[0] == "docker" && words[1] == "exec":
			words = words[2:]
			if words[0] == "-i" {
				words = words[1:]
			}
			d.execs = append(d.execs, Exec{c.Resource, words[0], words[1:], c.Stdin})
		}
	}
	return nil
}

// put runs the machine's own program, with the folders in place of the machine's.
func (d *Deployment) put(ctx context.Context, arguments []string, stdin string) error {
	const script = `set -e; mount --bind "$1" /opt; mount --bind "$2" /etc/fail2ban; shift 2; exec bash "$@"`
	words := []string{"--mount", "--propagation", "private", "sh", "-c", script, "sh", d.Path(opt), d.Path(fail2ban), filepath.Join(d.root, putter)}
	cmd := exec.CommandContext(ctx, "unshare", append(words, arguments...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("homelab-file %s: %w: %s", strings.Join(arguments, " "), err, out)
	}
	return nil
}

// Path is where a path of the machine really is.
func (d *Deployment) Path(path string) string { return filepath.Join(d.files, path) }

// Execs are the commands that the last deployment ran in containers.
func (d *Deployment) Execs() []Exec { return d.execs }

// Passwords are the generated first passwords by login, asked for as an administrator does after
// the first deployment.
func (d *Deployment) Passwords(ctx context.Context) (map[string]string, error) {
	out, err := d.pulumi(ctx, "stack", "output", "initialPasswords", "--show-secrets", "--json").Output()
	if err != nil {
		return nil, fmt.Errorf("reading the first passwords: %w", err)
	}
	var passwords map[string]string
	if err := json.Unmarshal(out, &passwords); err != nil {
		return nil, fmt.Errorf("reading the first passwords: %w", err)
	}
	return passwords, nil
}

// ClientCertificate is what the deployment gave to Cloudflare: the certificate and key that the
// origin asks for, in PEM.
func (d *Deployment) ClientCertificate() (certificate, key string, err error) {
	live, err := d.workspace.World().Live("cloudflare:index/authenticatedOriginPullsCertificate:AuthenticatedOriginPullsCertificate", "edge-origin-pull")
	if err != nil {
		return "", "", err
	}
	certificate, err = asText(live, "certificate")
	if err != nil {
		return "", "", err
	}
	key, err = asText(live, "privateKey")
	return certificate, key, err
}

// Close ends the simulation. The files stay.
func (d *Deployment) Close() error { return d.workspace.Close() }

func asText(live map[string]any, key string) (string, error) {
	text, ok := live[key].(string)
	if !ok || text == "" {
		return "", fmt.Errorf("no %s among %v", key, maps.Keys(live))
	}
	return text, nil
}
