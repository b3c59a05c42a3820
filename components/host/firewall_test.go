package host

import (
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// firewallRule is a rule as the golden file has it.
type firewallRule struct {
	Description string   `json:"description"`
	Direction   string   `json:"direction"`
	Protocol    string   `json:"protocol"`
	Port        string   `json:"port"`
	SourceIPs   []string `json:"sourceIps"`
}

// rulesOf are the rules that a deployment asks for.
func rulesOf(t *testing.T, args *Args) []firewallRule {
	t.Helper()
	args.HTTPSPort, args.SSHPort, args.TailscalePort = 443, 22, 41641
	cloudflare := pulumi.ToStringArray([]string{"173.245.48.0/20", "2400:cb00::/32"}).ToStringArrayOutput()
	got := make(chan []firewallRule, 1)
	firewallRules(args, cloudflare).ToFirewallRuleArrayOutput().ApplyT(func(rules []hcloud.FirewallRule) bool {
		var out []firewallRule
		for _, r := range rules {
			rule := firewallRule{Description: *r.Description, Direction: r.Direction, Protocol: r.Protocol, SourceIPs: r.SourceIps}
			if r.Port != nil {
				rule.Port = *r.Port
			}
			out = append(out, rule)
		}
		got <- out
		return true
	})
	return <-got
}

// The golden file is what the rehearsal's firewall is made of, and what its probe takes for
// declared.
func TestFirewall(t *testing.T) {
	rules := rulesOf(t, &Args{})
	got, err := json.MarshalIndent(rules, "", "  ")
	require.NoError(t, err)
	const golden = "testdata/firewall.golden"
	if *update {
		require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got)+"\n")

	broken := rulesOf(t, &Args{BreakGlass: &BreakGlass{CIDR: netip.MustParsePrefix("192.0.2.7/32"), Reason: "the tailnet is away"}})
	assert.Equal(t, append(rules, firewallRule{"break glass: the tailnet is away", "in", "tcp", "22", []string{"192.0.2.7/32"}}), broken)
}
