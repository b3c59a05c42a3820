// Package exposure gives a hostname to a route. It is the only code in the program that makes a DNS
// record, and it takes nothing but a gateway.Route, the proof that every layer in front of the
// service is in place.
package exposure

import (
	"fmt"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/edge"
	"homelab/components/gateway"
	"homelab/components/host"
	"homelab/components/internal/access"
	"homelab/components/internal/validate"
)

// Type is the component's type token.
const Type = "homelab:exposure:Hostname"

// Args describes one hostname.
type Args struct {
	// Route is the proof, from (*gateway.Proxy).Routes.
	Route gateway.Route
	// Shield is the zone that the hostname belongs to.
	Shield *edge.Shield
	// Host is the machine that the hostname points at.
	Host *host.Host
}

// Validate reports every problem of the arguments.
func (a *Args) Validate() error {
	p := validate.Of("exposure")
	p.Merge(a.Route.Ready())
	p.Merge(a.Shield.Ready())
	p.Merge(a.Host.Ready())
	if err := p.Err(); err != nil {
		return err
	}
	if a.Route.Visibility() == access.Public {
		p.Merge(a.Shield.Uncached(a.Route.Hostname()))
	}
	return p.Err()
}

// Hostname is a published hostname.
type Hostname struct {
	pulumi.ResourceState
}

// A proxied record must say 1 ("automatic"); the tailnet's addresses change only with a rebuild.
const (
	ttlAutomatic = 1
	ttlTailnet   = 300
)

// Publish makes the hostname's record: last of everything in a deployment, first to go when its
// route does.
func Publish(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Hostname, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	route := args.Route
	h := &Hostname{}
	inputs := pulumi.Map{
		"hostname": pulumi.String(route.Hostname()), "visibility": pulumi.String(route.Visibility()), "policy": pulumi.String(route.Policy()),
	}
	if err := ctx.RegisterComponentResourceV2(Type, name, inputs, h, opts...); err != nil {
		return nil, fmt.Errorf("registering hostname %s: %w", route.Hostname(), err)
	}
	record := &cloudflare.DnsRecordArgs{
		ZoneId:  args.Shield.ZoneID(),
		Name:    pulumi.String(route.Hostname()),
		Type:    pulumi.String("A"),
		Comment: pulumi.Sprintf("homelab: %s, %s", route.Visibility(), route.Policy()),
	}
	switch route.Visibility() {
	case access.Public:
		record.Content, record.Proxied, record.Ttl = checked(args.Host.PublicIPv4(), public), pulumi.Bool(true), pulumi.Float64(ttlAutomatic)
	case access.Tailnet:
		// The address is of no use to anybody outside the tailnet; the record spares a second name
		// server.
		record.Content, record.Proxied, record.Ttl = checked(args.Host.TailnetIPv4(), inTailnet), pulumi.Bool(false), pulumi.Float64(ttlTailnet)
	default:
		return nil, fmt.Errorf("publishing %s: unknown visibility %q", route.Hostname(), route.Visibility())
	}
	published, err := cloudflare.NewDnsRecord(ctx, name, record, pulumi.Parent(h), pulumi.DependsOn(route.Proof()),
		pulumi.DeleteBeforeReplace(true), args.Host.GoneBefore())
	if err != nil {
		return nil, fmt.Errorf("publishing %s: %w", route.Hostname(), err)
	}
	return h, ctx.RegisterResourceOutputs(h, pulumi.Map{"recordId": published.ID()})
}
