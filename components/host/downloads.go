package host

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"text/template"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/validate"
)

// DownloadsType is the type token of the downloads' disk.
const DownloadsType = "homelab:host:Downloads"

// The downloads' places on the machine. The program knows the last two, too.
const (
	downloadsFiles   = Root + "/downloads"
	downloadsProgram = downloadsFiles + "/homelab-downloads"
	downloadsFolder  = "/var/lib/homelab-downloads"
	downloadsPoint   = "/var/lib/homelab/downloads"
)

// downloadsGate exists as long as the downloads are mounted and were proven to keep what is written
// to them.
const downloadsGate = gates + "/downloads"

// leastDownloadsGB leaves something to use once the file system has its own tables.
const leastDownloadsGB = 5

var (
	numericOwner  = regexp.MustCompile(`^[0-9]+:[0-9]+$`)
	downloadsName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
)

// DownloadsArgs describes the downloads' disk: a file system of its own in one file on the
// machine's disk, so that downloads that fill it leave the system its room.
type DownloadsArgs struct {
	// SizeGB is how much of the machine's disk it takes, in GB of 1000 MB; at least 5. It can grow,
	// and a smaller one fails the deployment. So does one that would leave less free than a tenth
	// of the machine's disk or 5 GB; nothing is changed then.
	SizeGB int
	// Owner is the uid:gid that owns the folders, in numbers. Only this user writes to them.
	Owner string
	// Folders are the folders in it, by name, made where they are missing; at least one.
	Folders []string
}

// Validate reports every problem of the arguments.
func (a *DownloadsArgs) Validate() error {
	p := validate.Of("downloads")
	p.Require(a.SizeGB >= leastDownloadsGB && a.SizeGB < 1_000_000, "a size of %d GB is not between %d and 999999", a.SizeGB, leastDownloadsGB)
	p.Require(numericOwner.MatchString(a.Owner), "owner %q must be uid:gid in numbers", a.Owner)
	p.Require(len(a.Folders) > 0, "no folders")
	for i, folder := range a.Folders {
		p.Require(downloadsName.MatchString(folder), "folder %q is not a plain name", folder)
		p.Require(!slices.Contains(a.Folders[:i], folder), "two folders are called %q", folder)
	}
	return p.Err()
}

// Downloads is the mounted disk of the downloads. Only MountDownloads makes a usable one, after the
// mount kept what was written to it.
type Downloads struct {
	pulumi.ResourceState

	owner   string
	watched pulumi.Resource
}

// MountDownloads makes the downloads' disk, or grows it, and mounts it, now and after every boot. A
// watch fails when hardly any room is left. With the component it is unmounted; the file with the
// downloads stays.
func (h *Host) MountDownloads(ctx *pulumi.Context, name string, args *DownloadsArgs, opts ...pulumi.ResourceOption) (*Downloads, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	if err := args.Validate(); err != nil {
		return nil, err
	}
	d := &Downloads{owner: args.Owner}
	if err := ctx.RegisterComponentResourceV2(DownloadsType, name, pulumi.Map{"sizeGB": pulumi.Int(args.SizeGB)}, d, opts...); err != nil {
		return nil, fmt.Errorf("registering the downloads: %w", err)
	}
	child := pulumi.Parent(d)
	folder, err := h.NewFolder(ctx, name+"-folder", Directory{Path: downloadsFiles, Mode: 0o700, Owner: "root:root"}, child)
	if err != nil {
		return nil, err
	}
	program, err := files.ReadFile("files/homelab-downloads")
	if err != nil {
		return nil, fmt.Errorf("reading the embedded homelab-downloads: %w", err)
	}
	base := path.Base(downloadsProgram)
	written, err := folder.Write(ctx, name+"-"+base, base, 0o700, pulumi.String(program), child)
	if err != nil {
		return nil, err
	}
	if err := d.start(ctx, h, name, args, written); err != nil {
		return nil, err
	}
	return d, ctx.RegisterResourceOutputs(d, pulumi.Map{"path": pulumi.String(downloadsPoint)})
}

// start writes the units and starts the mount, and then its watch.
func (d *Downloads) start(ctx *pulumi.Context, h *Host, name string, args *DownloadsArgs, program *Written) error {
	child, after := pulumi.Parent(d), []pulumi.Resource{program.Resource}
	for _, unit := range []struct {
		name  string
		start bool
	}{
		{"homelab-downloads.service", true}, {"homelab-downloads-watch.service", false}, {"homelab-downloads-watch.timer", true},
	} {
		content, err := renderDownloads(unit.name, args)
		if err != nil {
			return err
		}
		written, err := h.WriteUnit(ctx, name+"-"+unit.name, Unit{Name: unit.name, Content: pulumi.String(content)}, child, pulumi.DependsOn(after))
		if err != nil {
			return err
		}
		after = append(after, written.Resource)
		if !unit.start {
			continue
		}
		running, err := h.StartUnit(ctx, name+"-"+unit.name+"-started", written, []*Written{program}, child, pulumi.DependsOn(after))
		if err != nil {
			return err
		}
		after = append(after, running)
		d.watched = running
	}
	return nil
}

var downloadsTemplates = template.Must(template.New("").Funcs(templateFunctions).ParseFS(files, "files/downloads/*"))

// renderDownloads writes one of the units.
func renderDownloads(unit string, args *DownloadsArgs) (string, error) {
	name := unit
	if path.Ext(unit) == ".service" {
		name += ".tmpl"
	}
	var out bytes.Buffer
	model := struct {
		*DownloadsArgs
		Program, Folder, Gate string
	}{args, downloadsProgram, downloadsFolder, downloadsGate}
	if err := downloadsTemplates.ExecuteTemplate(&out, name, model); err != nil {
		return "", fmt.Errorf("rendering %s: %w", unit, err)
	}
	return out.String(), nil
}

// Ready reports Downloads that MountDownloads did not make.
func (d *Downloads) Ready() error {
	if d == nil || d.watched == nil {
		return errors.New("no downloads: pass the value that host.Host.MountDownloads returned")
	}
	return nil
}

// Path is the mount point, which a container binds: it holds the folders.
func (d *Downloads) Path() string { return downloadsPoint }

// Owner is the uid:gid that owns the folders: no other user writes to them.
func (d *Downloads) Owner() string { return d.owner }

// Gate is the folder that exists only while the downloads are mounted. A container that uses them
// binds it, so it cannot start on the empty folder that the mount point is otherwise.
func (d *Downloads) Gate() string { return downloadsGate }

// Resource is what to depend on: it exists once the downloads are mounted.
func (d *Downloads) Resource() pulumi.Resource { return d.watched }
