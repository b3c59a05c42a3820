package host

import (
	"bytes"
	"fmt"
	"path"
	"text/template"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Where the program that starts and watches the containers is, and beside it the one that measures
// the machine.
const (
	stateFiles   = Root + "/state"
	stateProgram = stateFiles + "/homelab-containers"
)

// showState makes homelab.target: all that the machine runs, in the order in which it comes up
// after a boot, so that `systemctl list-dependencies homelab.target` shows how everything is, and
// `systemctl status homelab-containers` how the containers are.
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
	h.state = folder
	written, err := folder.Write(ctx, name+"-homelab-containers", path.Base(stateProgram), 0o755, pulumi.String(program), child)
	if err != nil {
		return err
	}
	reads := []*Written{written, h.proof}
	var started []pulumi.Resource
	for _, unit := range []string{"homelab-containers.service", "homelab.target"} {
		content, err := renderState(unit)
		if err != nil {
			return err
		}
		file, err := h.WriteUnit(ctx, name+"-"+unit, Unit{Name: unit, Content: pulumi.String(content)}, child, pulumi.DependsOn(append(started, written.Resource, h.proof.Resource, h.closed)))
		if err != nil {
			return err
		}
		running, err := h.StartUnit(ctx, name+"-"+unit+"-started", file, reads, child, pulumi.DependsOn(started))
		if err != nil {
			return err
		}
		started = append(started, running)
	}
	h.gatekeeper = started[0]
	h.guards = append(h.guards, started...)
	return nil
}

var stateTemplates = template.Must(template.New("").Funcs(templateFunctions).ParseFS(files, "files/state/*"))

// renderState writes one of the units.
func renderState(unit string) (string, error) {
	name := unit
	if unit == "homelab-containers.service" {
		name += ".tmpl"
	}
	var out bytes.Buffer
	model := struct {
		Program, Proof string
		Stages         []string
	}{stateProgram, proofProgram, stages()}
	if err := stateTemplates.ExecuteTemplate(&out, name, model); err != nil {
		return "", fmt.Errorf("rendering %s: %w", unit, err)
	}
	return out.String(), nil
}
