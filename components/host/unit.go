package host

import (
	"fmt"
	"path"
	"regexp"
	"slices"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/validate"
)

// unitFolder is where systemd reads the administrator's units.
const unitFolder = "/etc/systemd/system"

// unitName is every unit that belongs to the deployment; homelab-unit on the machine refuses all
// others, too.
var unitName = regexp.MustCompile(`^(homelab(-[a-z0-9]+)*@?\.(service|target|timer)|mnt-storagebox\.mount)$`)

// Unit is a systemd unit.
type Unit struct {
	// Name is the unit's file name: homelab-….service, .target or .timer, a template of one, or the
	// mount of the media.
	Name string
	// Content is the whole unit. It is not secret: everybody on the machine can read it.
	Content pulumi.StringInput
}

// Validate reports every problem of the unit.
func (u Unit) Validate() error {
	p := validate.Of("unit " + u.Name)
	p.Require(unitName.MatchString(u.Name), "it is not one of the deployment's: homelab-*.service, .target, .timer or mnt-storagebox.mount")
	p.Require(u.Content != nil, "no content")
	return p.Err()
}

// WriteUnit puts a unit on the machine, which must accept it, and tells systemd. Nothing is
// started. With the resource it is stopped, disabled and removed.
func (h *Host) WriteUnit(ctx *pulumi.Context, name string, u Unit, opts ...pulumi.ResourceOption) (*Written, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	if err := u.Validate(); err != nil {
		return nil, err
	}
	command, err := remote.NewCommand(ctx, name, &remote.CommandArgs{
		Connection:             h.connection(),
		Create:                 pulumi.Sprintf("sudo -n /usr/local/sbin/homelab-unit put %s", u.Name),
		Delete:                 pulumi.Sprintf("sudo -n /usr/local/sbin/homelab-unit remove %s", u.Name),
		Stdin:                  u.Content,
		Triggers:               pulumi.Array{h.server.ID()},
		AddPreviousOutputInEnv: pulumi.Bool(false),
	}, append(h.onMachine(opts), pulumi.DeleteBeforeReplace(true))...)
	if err != nil {
		return nil, fmt.Errorf("writing unit %s: %w", u.Name, err)
	}
	return &Written{Path: path.Join(unitFolder, u.Name), Resource: command, Digest: digest(u.Content)}, nil
}

// StartUnit starts a unit, now and at every boot, and again whenever it or one of the files that it
// reads changes.
func (h *Host) StartUnit(ctx *pulumi.Context, name string, unit *Written, reads []*Written, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	after := []pulumi.Resource{unit.Resource}
	triggers := []pulumi.StringOutput{unit.Digest}
	for _, f := range reads {
		after = append(after, f.Resource)
		triggers = append(triggers, f.Digest)
	}
	return h.Run(ctx, name, Action{
		Command: []string{"sudo", "-n", "/usr/local/sbin/homelab-unit", "start", path.Base(unit.Path)}, Triggers: triggers,
	}, append(slices.Clone(opts), pulumi.DependsOn(after))...)
}
