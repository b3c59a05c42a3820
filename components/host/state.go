package host

import (
	"fmt"
	"path"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// stateFiles is where the program that watches the containers is.
const stateFiles = Root + "/state"

// showState makes homelab.target: all that the machine runs, in the order in which it comes up after a boot, so that
// `systemctl list-dependencies homelab.target` shows how everything is, and `systemctl status homelab-containers` how the containers are.
func (h *Host) showState(ctx *pulumi.Context, name string) error {
	child := pulumi.Parent(h)
	folder, err := h.NewFolder(ctx, name+"-state-folder", Directory{Path: stateFiles, Mode: 0o755, Owner: "root:root"}, child)
	if err != nil {
		return err
	}
	program, err := files.ReadFile("files/homelab-containers")
	if err != nil {
		return fmt.Errorf("reading the embedded homelab-containers: %w", err)
	}
	written, err := folder.Write(ctx, name+"-homelab-containers", "homelab-containers", 0o755, pulumi.String(program), child)
	if err != nil {
		return err
	}
	reads := []*Written{written}
	var started []pulumi.Resource
	for _, unit := range []string{"homelab-containers.service", "homelab.target"} {
		content, err := files.ReadFile(path.Join("files/state", unit))
		if err != nil {
			return fmt.Errorf("reading the embedded %s: %w", unit, err)
		}
		file, err := h.WriteUnit(ctx, name+"-"+unit, Unit{Name: unit, Content: pulumi.String(content)}, child, pulumi.DependsOn(append(started, written.Resource)))
		if err != nil {
			return err
		}
		running, err := h.StartUnit(ctx, name+"-"+unit+"-started", file, reads, child, pulumi.DependsOn(started))
		if err != nil {
			return err
		}
		started = append(started, running)
	}
	h.guards = append(h.guards, started...)
	return nil
}
