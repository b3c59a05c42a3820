package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/edge"
	"homelab/components/internal/apply"
	"homelab/components/internal/validate"
	"homelab/components/internal/vpnserver"
)

// MetricsType is the type token of the machine's metrics.
const MetricsType = "homelab:host:Metrics"

// The metrics' places on the machine. The units know them too, and a test holds the two together.
const (
	metricsFolder   = Root + "/metrics"
	metricsFile     = metricsFolder + "/homelab.prom"
	metricsProgram  = stateFiles + "/homelab-metrics"
	metricsSettings = stateFiles + "/metrics.json"
)

// mediaSentinel is the file that homelab-media leaves in the library: where it is missing, the
// library is.
const mediaSentinel = ".homelab"

// MetricsArgs says what there is to measure beside what every machine has.
type MetricsArgs struct {
	// Alerts hear when nothing is measured any more.
	Alerts *Alerts
	// Shield knows when the certificate ends by which the proxy knows Cloudflare.
	Shield *edge.Shield
	// Media is the library; nil means none.
	Media *Media
	// Downloads is the downloads' disk; nil means none.
	Downloads *Downloads
	// Backup is the folder in which homelab-backup keeps how its jobs went; empty means no backup.
	Backup string
	// Tunnel is the VPN's tunnel; nil means none.
	Tunnel *MeasuredTunnel
}

// MeasuredTunnel is a VPN's tunnel that is measured.
type MeasuredTunnel struct {
	// Container is the name of the tunnel's container.
	Container string
	// VPN is whose VPN it is: whether it forwards a port, and which.
	VPN vpnserver.VPN
	// ClientPort is where the API of the torrent client behind the tunnel answers; 0 means that no
	// such client is there. The client runs as the owner of the downloads.
	ClientPort int
}

// Validate reports every problem of the arguments.
func (a *MetricsArgs) Validate() error {
	p := validate.Of("metrics")
	p.Merge(a.Alerts.Ready())
	p.Merge(a.Shield.Ready())
	if a.Media != nil {
		p.Merge(a.Media.Ready())
	}
	if a.Downloads != nil {
		p.Merge(a.Downloads.Ready())
	}
	p.Merge(a.validatePlain())
	return p.Err()
}

// validatePlain looks at what is not made by another component.
func (a *MetricsArgs) validatePlain() error {
	p := validate.Of("metrics")
	p.Require(a.Backup == "" || plainPath.MatchString(a.Backup), "the backup's folder %q is not a plain path below %s", a.Backup, Root)
	if t := a.Tunnel; t != nil {
		p.Require(containerName.MatchString(t.Container), "%q is not the name of a container", t.Container)
		p.Require(t.ClientPort >= 0 && t.ClientPort < 1<<16, "%d is not a port", t.ClientPort)
		p.Require(t.ClientPort == 0 || a.Downloads != nil, "a torrent client without downloads has no owner")
	}
	return p.Err()
}

// measured is what homelab-metrics reads. What is null or empty is not measured.
type measured struct {
	Output            string           `json:"output"`
	Backup            string           `json:"backup"`
	Downloads         string           `json:"downloads"`
	Media             *measuredMedia   `json:"media"`
	OriginPullExpires string           `json:"originPullExpires"`
	Torrent           *measuredTorrent `json:"torrent"`
	Tunnel            *measuredTunnel  `json:"tunnel"`
}

type measuredMedia struct {
	Point    string `json:"point"`
	Sentinel string `json:"sentinel"`
}

type measuredTorrent struct {
	Port int `json:"port"`
	UID  int `json:"uid"`
}

type measuredTunnel struct {
	Container     string `json:"container"`
	Forwarding    bool   `json:"forwarding"`
	ForwardedPort int    `json:"forwardedPort"`
}

// settings renders the program's settings. The certificate's end is in RFC 3339.
func (a *MetricsArgs) settings(originPullExpires string) (string, error) {
	if _, err := time.Parse(time.RFC3339, originPullExpires); err != nil {
		return "", fmt.Errorf("reading when the origin-pull certificate ends: %w", err)
	}
	out := measured{Output: metricsFile, Backup: a.Backup, OriginPullExpires: originPullExpires}
	if a.Media != nil {
		out.Media = &measuredMedia{mediaPoint, mediaSentinel}
	}
	if a.Downloads != nil {
		out.Downloads = a.Downloads.Path()
	}
	if t := a.Tunnel; t != nil {
		out.Tunnel = &measuredTunnel{t.Container, t.VPN.PortForwarding, t.VPN.ForwardedPort}
		if t.ClientPort != 0 {
			uid, _, _ := strings.Cut(a.Downloads.Owner(), ":")
			number, err := strconv.Atoi(uid)
			if err != nil {
				return "", fmt.Errorf("reading the downloads' owner: %w", err)
			}
			out.Torrent = &measuredTorrent{t.ClientPort, number}
		}
	}
	body, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return "", fmt.Errorf("rendering the metrics' settings: %w", err)
	}
	return string(body) + "\n", nil
}

// Metrics is what the machine says of itself, measured every minute. Only NewMetrics makes a usable
// one, after the first measurement.
type Metrics struct {
	pulumi.ResourceState

	folder *Folder
	ready  pulumi.Resource
}

// NewMetrics measures the machine every minute, into a file in the format of Prometheus that
// node-exporter shows. The file lies in a folder that is not worth a backup, so this comes before
// the backup. A watch fails when nothing is measured any more.
func (h *Host) NewMetrics(ctx *pulumi.Context, name string, args *MetricsArgs, opts ...pulumi.ResourceOption) (*Metrics, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	if err := args.Validate(); err != nil {
		return nil, err
	}
	if err := h.Declare(Data{Folder: metricsFolder, Disposable: "it is measured anew every minute"}); err != nil {
		return nil, err
	}
	m := &Metrics{}
	inputs := pulumi.Map{
		"backup": pulumi.Bool(args.Backup != ""), "downloads": pulumi.Bool(args.Downloads != nil), "media": pulumi.Bool(args.Media != nil),
		"tunnel": pulumi.Bool(args.Tunnel != nil),
	}
	if err := ctx.RegisterComponentResourceV2(MetricsType, name, inputs, m, opts...); err != nil {
		return nil, fmt.Errorf("registering the metrics: %w", err)
	}
	child := pulumi.Parent(m)
	var err error
	m.folder, err = h.NewFolder(ctx, name+"-folder", Directory{Path: metricsFolder, Mode: 0o755, Owner: "root:root"}, child)
	if err != nil {
		return nil, err
	}
	reads, err := h.metricsFiles(ctx, name, args, child)
	if err != nil {
		return nil, err
	}
	if err := m.start(ctx, h, name, args, reads); err != nil {
		return nil, err
	}
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{"path": pulumi.String(metricsFolder)})
}

// metricsFiles puts the program and its settings on the machine, where node-exporter does not see
// them.
func (h *Host) metricsFiles(ctx *pulumi.Context, name string, args *MetricsArgs, child pulumi.ResourceOption) ([]*Written, error) {
	program, err := files.ReadFile("files/metrics/homelab-metrics")
	if err != nil {
		return nil, fmt.Errorf("reading the embedded homelab-metrics: %w", err)
	}
	written, err := h.state.Write(ctx, name+"-homelab-metrics", path.Base(metricsProgram), 0o755, pulumi.String(program), child)
	if err != nil {
		return nil, err
	}
	settings, err := h.state.Write(ctx, name+"-settings", path.Base(metricsSettings), 0o644, apply.String(args.Shield.OriginPullExpires(), args.settings), child)
	if err != nil {
		return nil, err
	}
	return []*Written{written, settings}, nil
}

// start writes the units, measures once, and starts the timers.
func (m *Metrics) start(ctx *pulumi.Context, h *Host, name string, args *MetricsArgs, reads []*Written) error {
	child, after := pulumi.Parent(m), []pulumi.Resource{m.folder.Resource(), args.Alerts.Resource()}
	for _, f := range reads {
		after = append(after, f.Resource)
	}
	for _, unit := range []struct {
		name  string
		start bool
	}{
		{"homelab-metrics.service", true}, {"homelab-metrics.timer", true},
		{"homelab-metrics-watch.service", false}, {"homelab-metrics-watch.timer", true},
	} {
		content, err := files.ReadFile("files/metrics/" + unit.name)
		if err != nil {
			return fmt.Errorf("reading the embedded %s: %w", unit.name, err)
		}
		written, err := h.WriteUnit(ctx, name+"-"+unit.name, Unit{Name: unit.name, Content: pulumi.String(content)}, child, pulumi.DependsOn(after))
		if err != nil {
			return err
		}
		after = append(after, written.Resource)
		if !unit.start {
			continue
		}
		running, err := h.StartUnit(ctx, name+"-"+unit.name+"-started", written, reads, child, pulumi.DependsOn(after))
		if err != nil {
			return err
		}
		after = append(after, running)
		m.ready = running
	}
	return nil
}

// Ready reports Metrics that NewMetrics did not make.
func (m *Metrics) Ready() error {
	if m == nil || m.ready == nil {
		return errors.New("no metrics: pass the value that host.Host.NewMetrics returned")
	}
	return nil
}

// Folder is what node-exporter mounts, read-only: everybody may read the one file in it.
func (m *Metrics) Folder() *Folder { return m.folder }

// Resource is what to depend on: it exists once the machine was measured.
func (m *Metrics) Resource() pulumi.Resource { return m.ready }
