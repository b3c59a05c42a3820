package gateway

import (
	"bytes"
	"embed"
	"fmt"
	"path"
	"text/template"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/host"
)

//go:embed templates
var rotationFiles embed.FS

var rotationTemplates = template.Must(template.ParseFS(rotationFiles, "templates/*"))

// rotation is what the files depend on that keep the portal's log from growing for ever. The proxy
// rolls its own, and Debian's Fail2ban brings its settings for logrotate along.
type rotation struct {
	// Folder and Log are the log on the machine, Config is logrotate's file, User owns the log.
	Folder, Log, Config, User string
}

func renderRotation(name string, r rotation) (string, error) {
	var out bytes.Buffer
	if err := rotationTemplates.ExecuteTemplate(&out, name, r); err != nil {
		return "", fmt.Errorf("rendering %s: %w", name, err)
	}
	return out.String(), nil
}

// rotate has the portal's log rotated every day, or every hour while it grows fast.
func (l *Logs) rotate(ctx *pulumi.Context, h *host.Host) (pulumi.Resource, error) {
	child := pulumi.Parent(l)
	// Of root's alone: logrotate does not read what somebody else could have written.
	folder, err := h.NewFolder(ctx, "log-rotation", host.Directory{Path: host.Root + "/logs", Mode: 0o755, Owner: "root:root"}, child)
	if err != nil {
		return nil, err
	}
	const config = "authelia-log.conf"
	r := rotation{
		Folder: l.authelia.Path(), Log: l.authelia.Path() + "/" + path.Base(authelia.DefaultPaths().Log), Config: folder.Path() + "/" + config, User: autheliaUser,
	}
	rendered, err := renderRotation(config+".tmpl", r)
	if err != nil {
		return nil, err
	}
	written, err := folder.Write(ctx, config, config, 0o644, pulumi.String(rendered), child)
	if err != nil {
		return nil, err
	}
	var timer *host.Written
	after := []pulumi.Resource{written.Resource, l.authelia.Resource()}
	for _, unit := range []struct{ name, template string }{{"homelab-logs.service", "homelab-logs.service.tmpl"}, {"homelab-logs.timer", "homelab-logs.timer"}} {
		content, err := renderRotation(unit.template, r)
		if err != nil {
			return nil, err
		}
		if timer, err = h.WriteUnit(ctx, unit.name, host.Unit{Name: unit.name, Content: pulumi.String(content)}, child, pulumi.DependsOn(after)); err != nil {
			return nil, err
		}
		after = append(after, timer.Resource)
	}
	return h.StartUnit(ctx, "homelab-logs.timer-started", timer, []*host.Written{written}, child)
}
