package gateway

import (
	"errors"
	"fmt"
	"path"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/gateway/internal/caddyfile"
	"homelab/components/host"
	"homelab/components/workload"
)

// LogsType is the type token of the gateway's log folders.
const LogsType = "homelab:gateway:Logs"

// Users of the gateway's programs: each has its own, so that one cannot read another's secrets.
// Their numbers are above every system user of Debian; nothing on the machine has a name for them.
const (
	caddyUser    = "10001"
	autheliaUser = "10002"
)

// Logs are the folders in which the proxy and the portal write what the detectors read. They exist
// before any of the four, because each detector refuses to start without its file.
type Logs struct {
	pulumi.ResourceState

	caddy    *host.Folder
	authelia *host.Folder
	files    []pulumi.Resource
}

// NewLogs makes the log folders.
func NewLogs(ctx *pulumi.Context, name string, h *host.Host, opts ...pulumi.ResourceOption) (*Logs, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	l := &Logs{}
	if err := ctx.RegisterComponentResourceV2(LogsType, name, pulumi.Map{}, l, opts...); err != nil {
		return nil, fmt.Errorf("registering logs %s: %w", name, err)
	}
	for _, log := range []struct {
		into               **host.Folder
		service, user, log string
	}{
		{&l.caddy, caddyName, caddyUser, caddyfile.DefaultPaths().AccessLog},
		{&l.authelia, autheliaName, autheliaUser, authelia.DefaultPaths().Log},
	} {
		// Group 0 and its inheritance let CrowdSec read: it is root in its container, but root
		// without the capability to read everything.
		folder, err := h.NewFolder(ctx, log.service+"-logs", host.Directory{
			Path: fmt.Sprintf("%s/%s/logs", host.Root, log.service), Mode: 0o2750, Owner: log.user + ":0",
		}, pulumi.Parent(l))
		if err != nil {
			return nil, err
		}
		file, err := folder.Ensure(ctx, log.service+"-log", path.Base(log.log), 0o640, pulumi.Parent(l))
		if err != nil {
			return nil, err
		}
		*log.into = folder
		l.files = append(l.files, file)
	}
	rotated, err := l.rotate(ctx, h)
	if err != nil {
		return nil, err
	}
	l.files = append(l.files, rotated)
	return l, ctx.RegisterResourceOutputs(l, pulumi.Map{})
}

// Ready reports Logs that NewLogs did not make.
func (l *Logs) Ready() error {
	if l == nil || l.authelia == nil {
		return errors.New("no logs: pass the value that gateway.NewLogs returned")
	}
	return nil
}

// keepsLogs is what a log folder is worth to a backup.
var keepsLogs = workload.Disposable("logs of what happened on a machine that is gone are no part of a new one")
