// Package tailnet owns the private network: Tailscale's policy file with its tests, MagicDNS, and
// the keys by which servers join.
package tailnet

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"

	"github.com/pulumi/pulumi-tailscale/sdk/go/tailscale"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/grants"
	"homelab/components/internal/validate"
	"homelab/internal/unusable"
)

// Type is the component's type token.
const Type = "homelab:tailnet:Tailnet"

// Args describes the tailnet.
type Args struct {
	// Tailnet is the MagicDNS suffix that every device of the tailnet has, such as tail1234.ts.net.
	Tailnet string
	// Admins are the login names that may use SSH and every private service; at least one.
	Admins []string
	// Members are the login names that may use private services but not SSH.
	Members []string
	// Extra are the operator's own grants and tags; none of them may reach the server.
	Extra grants.Extra
	// HTTPSPort is the TCP port of the server's tailnet listener.
	HTTPSPort int
	// OverwritePolicy lets the first deployment replace a policy file that a person wrote. When
	// false (the default), Tailscale refuses it with status 412 and nothing of the user's is lost.
	OverwritePolicy bool
}

// Validate reports every problem of the arguments.
func (a *Args) Validate() error {
	p := validate.Of("tailnet")
	p.Require(a.Tailnet != "", "no name: the policy could replace that of another tailnet")
	p.Require(len(a.Admins) > 0, "no admins: nobody could reach the server")
	for _, login := range append(sorted(a.Admins), sorted(a.Members)...) {
		if _, err := mail.ParseAddress(login); err != nil {
			p.Add("%q is no login name: %w", login, err)
		}
	}
	p.Require(a.HTTPSPort > 0 && a.HTTPSPort < 1<<16, "port %d of the tailnet listener is out of range", a.HTTPSPort)
	for _, problem := range a.Extra.Problems(len(a.Members) > 0) {
		p.Add("%s", problem)
	}
	return p.Err()
}

// Tailnet is the private network with its policy in force. Only New makes a usable one.
type Tailnet struct {
	pulumi.ResourceState

	acl *tailscale.Acl
}

// New puts the policy in force and turns MagicDNS on.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Tailnet, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	document, err := renderPolicy(args)
	if err != nil {
		return nil, err
	}
	t := &Tailnet{}
	inputs := pulumi.Map{"admins": pulumi.ToStringArray(sorted(args.Admins)), "members": pulumi.ToStringArray(sorted(args.Members))}
	if err := ctx.RegisterComponentResourceV2(Type, name, inputs, t, opts...); err != nil {
		return nil, fmt.Errorf("registering tailnet %s: %w", name, err)
	}
	t.acl, err = tailscale.NewAcl(ctx, name+"-policy", &tailscale.AclArgs{
		Acl:                      verifiedPolicy(ctx, t, args.Tailnet, string(document)),
		OverwriteExistingContent: pulumi.Bool(args.OverwritePolicy),
	}, pulumi.Parent(t))
	if err != nil {
		return nil, fmt.Errorf("putting the tailnet policy in force: %w", err)
	}
	// MagicDNS belongs to the whole tailnet: a destroy of this stack must not turn it off for the
	// user's other machines.
	_, err = tailscale.NewDnsPreferences(ctx, name+"-dns", &tailscale.DnsPreferencesArgs{MagicDns: pulumi.Bool(true)},
		pulumi.Parent(t), pulumi.RetainOnDelete(true))
	if err != nil {
		return nil, fmt.Errorf("turning MagicDNS on: %w", err)
	}
	return t, ctx.RegisterResourceOutputs(t, pulumi.Map{"policyId": t.acl.ID()})
}

// verifiedPolicy passes the policy on only when the OAuth client belongs to the tailnet that the
// settings name: it replaces the whole policy file, and must not replace somebody else's. The API
// does not tell the tailnet's name, but every device has it in its own.
func verifiedPolicy(ctx *pulumi.Context, t *Tailnet, tailnet, document string) pulumi.StringOutput {
	devices := tailscale.GetDevicesOutput(ctx, tailscale.GetDevicesOutputArgs{}, pulumi.Parent(t)).Devices()
	return devices.ApplyT(func(all []tailscale.GetDevicesDevice) (string, error) {
		var names []string
		for _, d := range all {
			if !d.IsExternal { // one that is shared into the tailnet has the name of its own
				names = append(names, d.Name)
			}
		}
		return document, unusable.Mark(verifyTailnet(tailnet, names))
	}).(pulumi.StringOutput)
}

// verifyTailnet compares the tailnet's name with those of its devices.
func verifyTailnet(tailnet string, devices []string) error {
	if len(devices) == 0 {
		return errors.New("tailnet: no device has joined it yet, also not this computer, which must reach the server through it: " +
			"start Tailscale here, log in, and run up again")
	}
	for _, name := range devices {
		if _, suffix, _ := strings.Cut(name, "."); suffix == tailnet {
			return nil
		}
	}
	_, other, _ := strings.Cut(devices[0], ".")
	return fmt.Errorf("tailnet: tailscale:oauthClientId is a client of the tailnet %q, not of %q: make the OAuth client in the tailnet of "+
		"homelab:tailscale.tailnet, or set that to the other name, if its policy file is the one to replace", other, tailnet)
}

// Ready reports a Tailnet that New did not make.
func (t *Tailnet) Ready() error {
	if t == nil || t.acl == nil {
		return errors.New("no tailnet: pass the value that tailnet.New returned")
	}
	return nil
}

// Guards are the resources that must exist before anything relies on the tailnet's rules.
func (t *Tailnet) Guards() []pulumi.Resource { return []pulumi.Resource{t.acl} }

// nodeKeySeconds is how long an unused key stays valid. Long enough that a deployment which failed
// at the server (a sold-out location, say) can be taken up again weeks later; once used, a key is
// worth nothing to anybody.
const nodeKeySeconds = 30 * 24 * 60 * 60

// NodeKey makes the key by which one server joins: single use, preauthorized, tagged. A used key is
// invalid for good, so the key belongs to one generation of the server: the description is its
// identity, and a new generation replaces the key.
func (t *Tailnet) NodeKey(ctx *pulumi.Context, name string, generation pulumi.StringInput) (pulumi.StringOutput, error) {
	if err := t.Ready(); err != nil {
		return pulumi.StringOutput{}, err
	}
	key, err := tailscale.NewTailnetKey(ctx, name, &tailscale.TailnetKeyArgs{
		Description:       pulumi.Sprintf("homelab %s", generation),
		Preauthorized:     pulumi.Bool(true),
		Reusable:          pulumi.Bool(false),
		Ephemeral:         pulumi.Bool(false),
		Expiry:            pulumi.Int(nodeKeySeconds),
		Tags:              pulumi.StringArray{pulumi.String(ServerTag)},
		RecreateIfInvalid: pulumi.String("never"),
	}, pulumi.Parent(t), pulumi.DependsOn([]pulumi.Resource{t.acl}))
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("making the node key %s: %w", name, err)
	}
	return key.Key, nil
}

// Ranges are the addresses that Tailscale gives to the devices of every tailnet.
func Ranges() []string {
	var out []string
	for _, r := range grants.Ranges() {
		out = append(out, r.String())
	}
	return out
}
