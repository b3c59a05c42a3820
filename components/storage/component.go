// Package storage owns the Hetzner Storage Boxes: where the media lives and where the backups go.
package storage

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/apply"
	"homelab/components/internal/validate"
)

// Type is the component's type token.
const Type = "homelab:storage:Box"

// Protocol is how the server reaches a box; exactly one is switched on.
type Protocol string

// The protocols in use.
const (
	// WebDAV serves media over HTTPS.
	WebDAV Protocol = "webdav"
	// SSH serves SFTP and BorgBackup on port 23.
	SSH Protocol = "ssh"
)

// Snapshots is the provider's own snapshot schedule, in UTC. The server cannot remove them: its
// sub-account has no way to, and the password of the box is not on the server.
type Snapshots struct {
	// Max is how many are kept before the oldest goes.
	Max int
	// Hour and Minute are when, every day.
	Hour, Minute int
}

// Args describes one box.
type Args struct {
	// Size is Hetzner's type: bx11, bx21, bx31 or bx41.
	Size string
	// Location is where it stands: fsn1 or hel1. Changing it would replace the box, so it is
	// refused while Protect is on.
	Location string
	// Protocol is the only way in.
	Protocol Protocol
	// Directory is the sub-account's home, relative to the box's root, without a leading slash.
	Directory string
	// Snapshots is what whoever takes the server cannot delete; every box has them.
	Snapshots Snapshots
	// People gives those who copy files to the box themselves an account of their own, beside the
	// server's, to the same folder.
	People bool
	// Protect keeps the box and its data from any delete or replace.
	Protect bool
}

// Validate reports every problem of the arguments.
func (a *Args) Validate() error {
	p := validate.Of("storage box")
	p.Require(a.Size != "", "no size")
	p.Require(a.Location != "", "no location")
	p.Require(a.Protocol == WebDAV || a.Protocol == SSH, "unknown protocol %q", a.Protocol)
	p.Require(a.Directory != "" && a.Directory[0] != '/', "directory %q must be relative", a.Directory)
	s := a.Snapshots
	p.Require(s.Max > 0, "a snapshot plan must keep at least one snapshot")
	p.Require(s.Hour >= 0 && s.Hour < 24 && s.Minute >= 0 && s.Minute < 60, "no such time of day: %02d:%02d", s.Hour, s.Minute)
	return p.Err()
}

// Box is a Storage Box with the one sub-account that the server uses, and, if asked for, another
// for people.
type Box struct {
	pulumi.ResourceState

	server, people *account
}

// account is a sub-account with its password.
type account struct {
	resource *hcloud.StorageBoxSubaccount
	password pulumi.StringOutput
}

// New makes the box and its sub-account. The box's own password is never given to the server: it
// could delete snapshots.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Box, error) {
	if err := args.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b := &Box{}
	inputs := pulumi.Map{"size": pulumi.String(args.Size), "location": pulumi.String(args.Location), "protocol": pulumi.String(args.Protocol)}
	if err := ctx.RegisterComponentResourceV2(Type, name, inputs, b, opts...); err != nil {
		return nil, fmt.Errorf("registering storage box %s: %w", name, err)
	}
	owner, err := newPassword(ctx, b, name+"-owner")
	if err != nil {
		return nil, err
	}
	box, err := newBox(ctx, b, name, args, owner)
	if err != nil {
		return nil, err
	}
	if b.server, err = newAccount(ctx, b, box, name, name+"-account", args); err != nil {
		return nil, err
	}
	if args.People {
		if b.people, err = newAccount(ctx, b, box, name+"-people", name+"-people", args); err != nil {
			return nil, err
		}
	}
	return b, ctx.RegisterResourceOutputs(b, pulumi.Map{"server": b.server.resource.Server, "username": b.server.resource.Username})
}

// newAccount makes a sub-account that may read and write the box's folder, by the box's protocol.
// Hetzner knows it as label.
func newAccount(ctx *pulumi.Context, b *Box, box *hcloud.StorageBox, label, name string, args *Args) (*account, error) {
	password, err := newPassword(ctx, b, name)
	if err != nil {
		return nil, err
	}
	resource, err := hcloud.NewStorageBoxSubaccount(ctx, name, &hcloud.StorageBoxSubaccountArgs{
		StorageBoxId:  apply.Int(box.ID()),
		Name:          pulumi.String(label),
		Description:   pulumi.Sprintf("homelab: %s", args.Directory),
		HomeDirectory: pulumi.String(args.Directory),
		Password:      password,
		AccessSettings: &hcloud.StorageBoxSubaccountAccessSettingsArgs{
			ReachableExternally: pulumi.Bool(true),
			SshEnabled:          pulumi.Bool(args.Protocol == SSH),
			WebdavEnabled:       pulumi.Bool(args.Protocol == WebDAV),
			SambaEnabled:        pulumi.Bool(false),
			Readonly:            pulumi.Bool(false),
		},
	}, pulumi.Parent(b), pulumi.Protect(args.Protect))
	if err != nil {
		return nil, fmt.Errorf("making the sub-account %s of %s: %w", label, args.Directory, err)
	}
	return &account{resource, password}, nil
}

func newBox(ctx *pulumi.Context, b *Box, name string, args *Args, owner pulumi.StringOutput) (*hcloud.StorageBox, error) {
	in := &hcloud.StorageBoxArgs{
		Name:             pulumi.String(name),
		StorageBoxType:   pulumi.String(args.Size),
		Location:         pulumi.String(args.Location),
		Password:         owner,
		DeleteProtection: pulumi.Bool(args.Protect),
		// A sub-account can only use a protocol that the box itself allows, and only from outside
		// if the box can be reached from outside.
		AccessSettings: &hcloud.StorageBoxAccessSettingsArgs{
			ReachableExternally: pulumi.Bool(true),
			SshEnabled:          pulumi.Bool(args.Protocol == SSH),
			WebdavEnabled:       pulumi.Bool(args.Protocol == WebDAV),
			SambaEnabled:        pulumi.Bool(false),
			ZfsEnabled:          pulumi.Bool(false),
		},
		SnapshotPlan: &hcloud.StorageBoxSnapshotPlanArgs{
			MaxSnapshots: pulumi.Int(args.Snapshots.Max), Hour: pulumi.Int(args.Snapshots.Hour), Minute: pulumi.Int(args.Snapshots.Minute),
		},
	}
	// sshKeys would replace the box, and the provider cannot read them back. RetainOnDelete is the
	// last line: should a box ever leave the state by accident, its data stays where it is.
	box, err := hcloud.NewStorageBox(ctx, name, in, pulumi.Parent(b), pulumi.Protect(args.Protect), pulumi.RetainOnDelete(args.Protect),
		pulumi.IgnoreChanges([]string{"sshKeys"}))
	if err != nil {
		return nil, fmt.Errorf("making storage box %s: %w", name, err)
	}
	return box, nil
}

// newPassword obeys Hetzner's rule: at least one lower-case and one upper-case letter, one digit
// and one of a few special characters.
func newPassword(ctx *pulumi.Context, b *Box, name string) (pulumi.StringOutput, error) {
	password, err := random.NewRandomPassword(ctx, name+"-password", &random.RandomPasswordArgs{
		Length:          pulumi.Int(40),
		MinLower:        pulumi.Int(1),
		MinUpper:        pulumi.Int(1),
		MinNumeric:      pulumi.Int(1),
		MinSpecial:      pulumi.Int(1),
		OverrideSpecial: pulumi.String("/()=?+#-."),
	}, pulumi.Parent(b))
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("making the password %s: %w", name, err)
	}
	return password.Result, nil
}

// Ready reports a Box that New did not make.
func (b *Box) Ready() error {
	if b == nil || b.server == nil {
		return errors.New("no storage box: pass the value that storage.New returned")
	}
	return nil
}

// Server is the host name of the server's sub-account.
func (b *Box) Server() pulumi.StringOutput { return b.server.resource.Server }

// Username is the login of the server's sub-account.
func (b *Box) Username() pulumi.StringOutput { return b.server.resource.Username }

// Password is the password of the server's sub-account, a secret.
func (b *Box) Password() pulumi.StringOutput { return b.server.password }

// People are host name, login and password, a secret, of the account for people; only with
// Args.People.
func (b *Box) People() (server, username, password pulumi.StringOutput) {
	return b.people.resource.Server, b.people.resource.Username, b.people.password
}
