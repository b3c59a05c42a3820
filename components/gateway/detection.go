package gateway

import (
	"errors"
	"fmt"
	"path"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/edge"
	"homelab/components/gateway/internal/crowdsec"
	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/apply"
	"homelab/components/internal/memory"
	"homelab/components/internal/validate"
	"homelab/components/workload"
)

// DetectionType is the type token of the detection engine.
const DetectionType = "homelab:gateway:Detection"

const (
	crowdsecName = "crowdsec"
	// The image's entry point fills /etc/crowdsec as root; the engine keeps no capability.
	crowdsecOwner = "0:0"
)

// condemned is an address that no visitor has (RFC 5737): each deployment bans it for a while and
// tries to come in from it.
const condemned = "192.0.2.77"

// DetectionArgs describes the detection engine.
type DetectionArgs struct {
	// Host is the machine.
	Host *host.Host
	// Shield gives the ranges at the edge that are never banned.
	Shield *edge.Shield
	// Logs are what the engine reads.
	Logs *Logs
	// Network is where the proxy asks it.
	Network *workload.Network
	// Monitoring is where it is scraped.
	Monitoring *workload.Network
	// Sites are the services.
	Sites *Sites
	// TailnetRanges and ContainerRanges are never banned either.
	TailnetRanges, ContainerRanges []string
}

// Validate reports every problem of the arguments.
func (a *DetectionArgs) Validate() error {
	p := validate.Of("detection")
	p.Merge(a.Host.Ready())
	p.Merge(a.Shield.Ready())
	p.Merge(a.Logs.Ready())
	p.Merge(a.Network.Ready())
	p.Merge(a.Monitoring.Ready())
	p.Merge(a.Sites.Ready())
	p.Require(len(a.TailnetRanges) > 0, "no tailnet ranges")
	p.Require(len(a.ContainerRanges) > 0, "no container ranges")
	return p.Err()
}

// Detection is the running engine with the proxy's bouncer registered. Only NewDetection makes a
// usable one.
type Detection struct {
	pulumi.ResourceState

	host       *host.Host
	sites      *Sites
	container  *workload.Container
	bouncerKey pulumi.StringOutput
}

// NewDetection runs CrowdSec.
func NewDetection(ctx *pulumi.Context, name string, args *DetectionArgs, opts ...pulumi.ResourceOption) (*Detection, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	d := &Detection{host: args.Host, sites: args.Sites}
	if err := ctx.RegisterComponentResourceV2(DetectionType, name, pulumi.Map{}, d, opts...); err != nil {
		return nil, fmt.Errorf("registering the detection engine: %w", err)
	}
	var err error
	if d.bouncerKey, err = newSecret(ctx, d, crowdsecName+"-bouncer-key"); err != nil {
		return nil, err
	}
	placed, err := workload.Place(ctx, args.Host, crowdsecName, crowdsecOwner, d.folders(args), pulumi.Parent(d))
	if err != nil {
		return nil, err
	}
	model := args.model(nil)
	d.container, err = workload.New(ctx, crowdsecName, &workload.Spec{
		Host:           args.Host,
		Image:          images.CrowdSec,
		User:           crowdsecOwner,
		RootReason:     "the image's entry point fills /etc/crowdsec and registers the bouncer as root",
		WritableReason: "the image's entry point rewrites /etc/crowdsec at every start",
		Networks:       []*workload.Network{args.Network, args.Monitoring},
		Slot:           detectionSlot,
		WayOut:         workload.Internet, // the hub and the community's decisions
		Mounts: append(placed.Mounts,
			workload.Mount{Folder: args.Logs.caddy, Target: path.Dir(model.Logs.Caddy), ReadOnly: true},
			workload.Mount{Folder: args.Logs.authelia, Target: path.Dir(model.Logs.Authelia), ReadOnly: true}),
		Scratch:   map[string]int{"/tmp": 64},
		Env:       withGoMemory(model.Environment(), memory.CrowdSec),
		MemoryMiB: memory.CrowdSec,
		Stage:     host.StageGuards,
		Health:    workload.Health{Command: []string{"cscli", "lapi", "status"}},
		Metrics:   detectionMetrics,
		RestartOn: placed.Files(),
		After:     args.Logs.files,
	}, pulumi.Parent(d))
	if err != nil {
		return nil, err
	}
	return d, ctx.RegisterResourceOutputs(d, pulumi.Map{})
}

func (a *DetectionArgs) model(cloudflare []string) crowdsec.Model {
	return crowdsec.Model{
		Sites: a.Sites.declared(), CloudflareRanges: cloudflare, TailnetRanges: a.TailnetRanges, ContainerRanges: a.ContainerRanges,
		Listen: crowdsec.DefaultListen(), Logs: crowdsec.DefaultLogs(),
	}
}

// folders are the engine's configuration and the bouncer's key. The image owns the folders around
// its configuration, so those files are mounted one by one.
func (d *Detection) folders(args *DetectionArgs) []workload.Folder {
	config := workload.Folder{Base: "config"}
	for _, f := range []struct {
		base, target string
		render       func(crowdsec.Model) ([]byte, error)
	}{
		{"acquis-appsec.yaml", crowdsec.AppSecAcquisitionPath, crowdsec.AppSecAcquisition},
		{"acquis-authelia.yaml", crowdsec.AutheliaAcquisitionPath, crowdsec.AutheliaAcquisition},
		{"acquis-caddy.yaml", crowdsec.CaddyAcquisitionPath, crowdsec.CaddyAcquisition},
		{"config.yaml.local", crowdsec.ConfigLocalPath, crowdsec.ConfigLocal},
		{"parser-visitors.yaml", crowdsec.VisitorsParserPath, crowdsec.VisitorsParser},
		{"profiles.yaml", crowdsec.ProfilesPath, crowdsec.Profiles},
		{"scenario-second-factor.yaml", crowdsec.SecondFactorPath, crowdsec.SecondFactor},
		{"whitelist-ranges.yaml", crowdsec.RangesWhitelistPath, crowdsec.RangesWhitelist},
		{"whitelist-sessions.yaml", crowdsec.SessionsWhitelistPath, crowdsec.SessionsWhitelist},
	} {
		content := apply.String(args.Shield.NeverBanned(), func(ranges []string) (string, error) {
			rendered, err := f.render(args.model(ranges))
			return string(rendered), err
		})
		config.Files = append(config.Files, workload.File{Base: f.base, Content: content, Target: f.target})
	}
	key := workload.File{Base: crowdsec.BouncerSecretFile(""), Name: crowdsecName + "-bouncer-key", Content: d.bouncerKey}
	return []workload.Folder{
		{Base: "data", Target: "/var/lib/crowdsec/data", Keeps: workload.Databases("crowdsec.db")},
		{Base: "secrets", Target: crowdsec.SecretsDir, Files: []workload.File{key}},
		config,
	}
}

// enforcedBy proves that detection has consequences: it bans an address, and passes once the proxy
// refuses that address, blocks an attack, and serves a harmless request. An engine without a
// bouncer logs attacks and lets them through, and nothing else would tell. The proof is made again
// whenever one of the triggers changes.
func (d *Detection) enforcedBy(ctx *pulumi.Context, name string, parent, proxy, loaded pulumi.Resource, triggers ...pulumi.StringOutput) (pulumi.Resource, error) {
	triggers = append([]pulumi.StringOutput{containerID(proxy), containerID(d.container.Resource())}, triggers...)
	ban, err := d.host.Run(ctx, crowdsecName+"-condemned", host.Action{
		// Nobody has to lift it: it ends by itself, long after the proof.
		Command:  []string{"docker", "exec", crowdsecName, "cscli", "decisions", "add", "--ip", condemned, "--duration", "5m", "--reason", "homelab-enforcement"},
		Triggers: triggers,
	}, pulumi.Parent(parent), pulumi.DependsOn([]pulumi.Resource{d.container.Resource(), proxy, loaded}))
	if err != nil {
		return nil, err
	}
	return d.host.Run(ctx, crowdsecName+"-enforced-by-"+name, host.Action{
		Command:  []string{"docker", "exec", name, "caddy", "enforces", condemned},
		Triggers: triggers,
	}, pulumi.Parent(parent), pulumi.DependsOn([]pulumi.Resource{ban}))
}

func containerID(r pulumi.Resource) pulumi.StringOutput {
	if custom, ok := r.(pulumi.CustomResource); ok {
		return custom.ID().ToStringOutput()
	}
	return pulumi.String("").ToStringOutput()
}

// Ready reports a Detection that NewDetection did not make.
func (d *Detection) Ready() error {
	if d == nil || d.container == nil {
		return errors.New("no detection: pass the value that gateway.NewDetection returned")
	}
	return nil
}
