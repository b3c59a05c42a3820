package gateway

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/edge"
	"homelab/components/gateway/internal/fail2ban"
	"homelab/components/host"
	"homelab/components/internal/validate"
)

// JailsType is the type token of the jails.
const JailsType = "homelab:gateway:Jails"

// JailsArgs describes the jails.
type JailsArgs struct {
	// Host is the machine, whose package manager installed Fail2ban at the first boot.
	Host *host.Host
	// Shield gives the edge's ranges, which are never banned, and the zone in which visitors are.
	Shield *edge.Shield
	// Logs are what the jails read.
	Logs *Logs
	// SSHPort is the TCP port of sshd.
	SSHPort int
	// TailnetRanges and ContainerRanges are never banned either.
	TailnetRanges, ContainerRanges []string
	// BanToken is the Cloudflare token that may write access rules: a secret.
	BanToken pulumi.StringInput
}

// Validate reports every problem of the arguments.
func (a *JailsArgs) Validate() error {
	p := validate.Of("jails")
	p.Merge(a.Host.Ready())
	p.Merge(a.Shield.Ready())
	p.Merge(a.Logs.Ready())
	p.Require(a.SSHPort > 0 && a.SSHPort < 1<<16, "port %d of sshd is out of range", a.SSHPort)
	p.Require(len(a.TailnetRanges) > 0, "no tailnet ranges")
	p.Require(len(a.ContainerRanges) > 0, "no container ranges")
	p.Require(a.BanToken != nil, "no token for bans at Cloudflare")
	return p.Err()
}

// Jails are Fail2ban's jails, loaded. Only NewJails makes usable ones.
type Jails struct {
	pulumi.ResourceState

	loaded pulumi.Resource
}

// NewJails installs the jails and loads them; a file that Fail2ban does not accept fails the
// deployment before anything is published.
func NewJails(ctx *pulumi.Context, name string, args *JailsArgs, opts ...pulumi.ResourceOption) (*Jails, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	j := &Jails{}
	inputs := pulumi.Map{"jails": pulumi.ToStringArray(fail2ban.Jails())}
	if err := ctx.RegisterComponentResourceV2(JailsType, name, inputs, j, opts...); err != nil {
		return nil, fmt.Errorf("registering the jails: %w", err)
	}
	files, err := j.files(ctx, name, args)
	if err != nil {
		return nil, err
	}
	action := host.Action{Command: []string{"sudo", "-n", "/usr/local/sbin/homelab-file", "jails"}}
	after := slices.Clone(args.Logs.files)
	for _, f := range files {
		action.Triggers = append(action.Triggers, f.Digest)
		after = append(after, f.Resource)
	}
	if j.loaded, err = args.Host.Run(ctx, name+"-loaded", action, pulumi.Parent(j), pulumi.DependsOn(after)); err != nil {
		return nil, err
	}
	return j, ctx.RegisterResourceOutputs(j, pulumi.Map{})
}

func (j *Jails) files(ctx *pulumi.Context, name string, args *JailsArgs) ([]*host.Written, error) {
	render := func(f func(fail2ban.Model) ([]byte, error)) pulumi.StringInput {
		return pulumi.All(args.Shield.NeverBanned(), args.Shield.ZoneID()).ApplyT(func(v []any) (string, error) {
			rendered, err := f(fail2ban.Model{
				CloudflareRanges: v[0].([]string), ZoneID: v[1].(string), TailnetRanges: args.TailnetRanges, ContainerRanges: args.ContainerRanges,
				SSHPort: args.SSHPort, Paths: fail2ban.DefaultPaths(),
			})
			return string(rendered), err
		}).(pulumi.StringOutput)
	}
	static := func(f func() ([]byte, error)) pulumi.StringInput {
		return render(func(fail2ban.Model) ([]byte, error) { return f() })
	}
	token := fail2ban.DefaultPaths().Token
	folder, err := args.Host.NewFolder(ctx, name+"-secrets", host.Directory{Path: path.Dir(token), Mode: 0o700, Owner: "root:root"}, pulumi.Parent(j))
	if err != nil {
		return nil, err
	}
	secret, err := folder.Write(ctx, name+"-"+path.Base(token), path.Base(token), 0o400, args.BanToken, pulumi.Parent(j))
	if err != nil {
		return nil, err
	}
	written := []*host.Written{secret}
	for _, f := range []struct {
		path    string
		content pulumi.StringInput
	}{
		{fail2ban.AutheliaFilterPath, static(fail2ban.AutheliaFilter)},
		{fail2ban.CaddyFilterPath, static(fail2ban.CaddyFilter)},
		{fail2ban.CloudflareActionPath, static(fail2ban.CloudflareAction)},
		{fail2ban.JailPath, render(fail2ban.JailLocal)},
		{fail2ban.SettingsPath, render(fail2ban.SettingsLocal)},
	} {
		file, err := args.Host.WriteFile(ctx, name+"-"+path.Base(f.path), host.File{
			Path: f.path, Mode: 0o644, Owner: "root:root", Content: f.content,
		}, pulumi.Parent(j))
		if err != nil {
			return nil, err
		}
		written = append(written, file)
	}
	return written, nil
}

// Ready reports Jails that NewJails did not make.
func (j *Jails) Ready() error {
	if j == nil || j.loaded == nil {
		return errors.New("no jails: pass the value that gateway.NewJails returned")
	}
	return nil
}

func (j *Jails) guards() []pulumi.Resource { return []pulumi.Resource{j.loaded} }
