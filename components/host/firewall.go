package host

import (
	"net/netip"
	"strconv"

	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// anywhere is the whole internet, in Hetzner's notation.
var anywhere = pulumi.ToStringArray([]string{"0.0.0.0/0", "::/0"})

// firewallRules is all that the internet can reach: HTTPS from Cloudflare, Tailscale's encrypted
// datagrams, ICMP; SSH only while somebody broke the glass, and only from there. What is not listed
// is dropped: Hetzner's firewalls deny what no rule allows.
func firewallRules(args *Args, cloudflare pulumi.StringArrayOutput) hcloud.FirewallRuleArray {
	inbound := func(description, protocol string, port int, from pulumi.StringArrayInput) *hcloud.FirewallRuleArgs {
		rule := &hcloud.FirewallRuleArgs{
			Description: pulumi.String(description),
			Direction:   pulumi.String("in"),
			Protocol:    pulumi.String(protocol),
			SourceIps:   from,
		}
		if port != 0 {
			rule.Port = pulumi.String(strconv.Itoa(port))
		}
		return rule
	}
	rules := hcloud.FirewallRuleArray{
		inbound("HTTPS from Cloudflare", "tcp", args.HTTPSPort, cloudflare),
		inbound("Tailscale", "udp", args.TailscalePort, anywhere),
		inbound("ICMP", "icmp", 0, anywhere),
	}
	if b := args.BreakGlass; b != nil {
		rules = append(rules, inbound("break glass: "+b.Reason, "tcp", args.SSHPort, pulumi.ToStringArray([]string{b.CIDR.String()})))
	}
	return rules
}

// BreakGlass opens SSH to one range of addresses, for when the tailnet is not there.
type BreakGlass struct {
	// CIDR is where SSH may come from.
	CIDR netip.Prefix
	// Reason is written beside the firewall rule.
	Reason string
}
