package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/validate"
)

// Root is where the configuration of every service lives on the machine.
const Root = "/opt/homelab"

// File is one configuration file on the machine.
type File struct {
	// Path is absolute, below Root or /etc/fail2ban.
	Path string
	// Mode is the permission bits, such as 0o640; 0o600 for secrets.
	Mode uint32
	// Owner is user:group, by name or number.
	Owner string
	// Content is the whole file. It travels on standard input: a failing command prints its command
	// line.
	Content pulumi.StringInput
}

var (
	plainPath = regexp.MustCompile(`^(/opt/homelab|/etc/fail2ban)(/[A-Za-z0-9][A-Za-z0-9._-]*)+$`)
	ownerName = regexp.MustCompile(`^[a-z0-9_-]+:[a-z0-9_-]+$`)
)

// Validate reports every problem of the file's place and permissions.
func (f File) Validate() error {
	p := validate.Of("file " + f.Path)
	p.Require(plainPath.MatchString(f.Path) && path.Clean(f.Path) == f.Path, "the path must be plain and below %s or /etc/fail2ban", Root)
	p.Require(f.Mode > 0 && f.Mode <= 0o777 && f.Mode&0o002 == 0, "mode %04o is out of range, or lets anybody write", f.Mode)
	p.Require(ownerName.MatchString(f.Owner), "owner %q must be user:group", f.Owner)
	p.Require(f.Content != nil, "no content")
	return p.Err()
}

// Written is a file that is on the machine.
type Written struct {
	// Path is where it is.
	Path string
	// Resource is what to depend on.
	Resource pulumi.Resource
	// Digest is the content's SHA-256 in hex; what must restart with the file carries it.
	Digest pulumi.StringOutput
}

// WriteFile puts one file on the machine, atomically. It is removed with the resource, sent again
// when the machine is replaced, and a change of content shows in a preview as a change of this file
// alone. The old file goes before a replacement comes: the other way round, the removal would take
// the new one away.
func (h *Host) WriteFile(ctx *pulumi.Context, name string, f File, opts ...pulumi.ResourceOption) (*Written, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	command, err := remote.NewCommand(ctx, name, &remote.CommandArgs{
		Connection:             h.connection(),
		Create:                 pulumi.Sprintf("sudo -n /usr/local/sbin/homelab-file put %04o %s %s", f.Mode, f.Owner, f.Path),
		Delete:                 pulumi.Sprintf("sudo -n /usr/local/sbin/homelab-file remove %s", f.Path),
		Stdin:                  f.Content,
		Triggers:               pulumi.Array{h.server.ID()},
		Logging:                remote.LoggingNone,
		AddPreviousOutputInEnv: pulumi.Bool(false),
	}, append(h.onMachine(opts), pulumi.DeleteBeforeReplace(true))...)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", f.Path, err)
	}
	return &Written{Path: f.Path, Resource: command, Digest: digest(f.Content)}, nil
}

func digest(content pulumi.StringInput) pulumi.StringOutput {
	return content.ToStringOutput().ApplyT(func(content string) string {
		sum := sha256.Sum256([]byte(content))
		return hex.EncodeToString(sum[:])
	}).(pulumi.StringOutput)
}

// Directory says what a folder on the machine is to be.
type Directory struct {
	// Path is absolute, below Root or /etc/fail2ban.
	Path string
	// Mode is the permission bits; 0o2000 gives new files the folder's group instead of their
	// writer's.
	Mode uint32
	// Owner is user:group.
	Owner string
}

const setGroupID = 0o2000

// Folder is a folder that is on the machine, with the owner that its files get.
type Folder struct {
	host      *Host
	directory Directory
	resource  pulumi.Resource
}

// NewFolder makes the folder if it is missing and sets its owner and mode. It is never removed: it
// may hold data.
func (h *Host) NewFolder(ctx *pulumi.Context, name string, d Directory, opts ...pulumi.ResourceOption) (*Folder, error) {
	if err := (File{Path: d.Path, Mode: d.Mode &^ setGroupID, Owner: d.Owner, Content: pulumi.String("")}).Validate(); err != nil {
		return nil, err
	}
	made, err := h.Run(ctx, name, Action{
		Command: []string{"sudo", "-n", "/usr/local/sbin/homelab-file", "directory", fmt.Sprintf("%04o", d.Mode), d.Owner, d.Path},
	}, opts...)
	if err != nil {
		return nil, err
	}
	return &Folder{host: h, directory: d, resource: made}, nil
}

// Ready reports a Folder that no Host made.
func (f *Folder) Ready() error {
	if f == nil || f.resource == nil {
		return errors.New("no folder: pass the value that host.Host.NewFolder returned")
	}
	return nil
}

// Path is where the folder is.
func (f *Folder) Path() string { return f.directory.Path }

// Resource is what to depend on.
func (f *Folder) Resource() pulumi.Resource { return f.resource }

// Write puts a file into the folder, with the folder's owner.
func (f *Folder) Write(ctx *pulumi.Context, name, base string, mode uint32, content pulumi.StringInput, opts ...pulumi.ResourceOption) (*Written, error) {
	return f.host.WriteFile(ctx, name, File{Path: f.directory.Path + "/" + base, Mode: mode, Owner: f.directory.Owner, Content: content},
		append(slices.Clone(opts), pulumi.DependsOn([]pulumi.Resource{f.resource}))...)
}

// Ensure makes an empty file in the folder where there is none, for a program that reads what
// another will write.
func (f *Folder) Ensure(ctx *pulumi.Context, name, base string, mode uint32, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	target := f.directory.Path + "/" + base
	if err := (File{Path: target, Mode: mode, Owner: f.directory.Owner, Content: pulumi.String("")}).Validate(); err != nil {
		return nil, err
	}
	return f.host.Run(ctx, name, Action{
		Command: []string{"sudo", "-n", "/usr/local/sbin/homelab-file", "ensure", fmt.Sprintf("%04o", mode), f.directory.Owner, target},
	}, append(slices.Clone(opts), pulumi.DependsOn([]pulumi.Resource{f.resource}))...)
}

// Action is one command on the machine, run again whenever a trigger changes.
type Action struct {
	// Command is the program and its arguments. Each must be a plain word: there is no shell syntax
	// to get wrong, and nothing secret.
	Command []string
	// Stdin is what the program reads; the place for a script's text.
	Stdin pulumi.StringInput
	// Triggers are what makes it run again.
	Triggers []pulumi.StringOutput

	// quiet keeps what it prints out of the deployment's log; see Fetch.
	quiet bool
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Run runs the action and fails the deployment when it fails.
func (h *Host) Run(ctx *pulumi.Context, name string, a Action, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	for _, word := range a.Command {
		if !plainWord.MatchString(word) {
			return nil, fmt.Errorf("running %s: %q is not a plain word; give scripts on standard input", name, word)
		}
	}
	triggers := pulumi.Array{h.server.ID()}
	for _, t := range a.Triggers {
		triggers = append(triggers, t)
	}
	args := &remote.CommandArgs{
		Connection:             h.connection(),
		Create:                 pulumi.String(strings.Join(a.Command, " ")),
		Triggers:               triggers,
		AddPreviousOutputInEnv: pulumi.Bool(false),
	}
	if a.Stdin != nil {
		args.Stdin = a.Stdin.ToStringOutput()
	}
	if a.quiet {
		args.Logging = remote.LoggingNone
	}
	command, err := remote.NewCommand(ctx, name, args, h.onMachine(opts)...)
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", name, err)
	}
	return command, nil
}

func (h *Host) onMachine(opts []pulumi.ResourceOption) []pulumi.ResourceOption {
	return append(slices.Clone(opts), pulumi.DependsOn([]pulumi.Resource{h.ready}), h.deletedWithServer())
}
