package engine

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/stack"
	"homelab/internal/workspace"
	"homelab/policy/rules"
)

// ruleName finds a rule's name in what a summary says of a violation.
var ruleName = regexp.MustCompile(`(?:^|: )([a-z0-9]+(?:-[a-z0-9]+)+): [A-Z]`)

// packName is the name under which this test's own executable is the policy pack.
const packName = "homelab-policy"

// policyPack is the executable that the engine starts.
func policyPack(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	link := filepath.Join(t.TempDir(), packName)
	require.NoError(t, os.Symlink(self, link))
	return link
}

// The production example passes every rule, before it is there and after.
func TestTheStackPassesItsPolicies(t *testing.T) {
	w := open(t)
	judge := workspace.PolicyPack(policyPack(t))
	plan := filepath.Join(t.TempDir(), "plan.json")
	preview, err := w.Preview(t.Context(), judge, workspace.Plan(plan))
	require.NoError(t, err, "%s", logOf(preview))
	assert.Empty(t, preview.Advice)
	assert.Empty(t, brokenByPlan(t, preview, plan))
	made, err := w.Up(t.Context(), judge)
	require.NoError(t, err, "%s", logOf(made))
	assert.Empty(t, made.Advice)
	again, err := w.Preview(t.Context(), judge, workspace.Plan(plan))
	require.NoError(t, err, "%s", logOf(again))
	assert.False(t, again.HasChanges())
	assert.Empty(t, brokenByPlan(t, again, plan), "of resources that do not change, the plan says what they depend on too")
}

// brokenByPlan are the rules that what a preview plans would break, sorted.
func brokenByPlan(t *testing.T, preview *workspace.Summary, plan string) []string {
	t.Helper()
	file, err := os.Open(plan)
	require.NoError(t, err)
	defer file.Close()
	planned := map[string]rules.Planned{}
	for urn, state := range preview.Planned() {
		planned[urn] = rules.Planned{Inputs: state.Inputs, Outputs: state.Outputs}
	}
	graph, err := rules.ReadPreview(file, planned)
	require.NoError(t, err)
	return broken(graph)
}

// broken are the rules that a stack breaks, sorted.
func broken(graph *rules.Graph) []string {
	var out []string
	for _, v := range rules.Judge(graph) {
		if v.Status == rules.Failed {
			out = append(out, v.Rule.ID)
		}
	}
	slices.Sort(out)
	return out
}

// What breaks a rule is stopped by the preview, before anything is made.
func TestAViolationStopsAPreview(t *testing.T) {
	w := open(t, func(o *workspace.Options) {
		o.Program = func(root string) pulumi.RunFunc {
			return func(ctx *pulumi.Context) error {
				provider, err := cloudflare.NewProvider(ctx, "other", &cloudflare.ProviderArgs{ApiToken: pulumi.ToSecret(pulumi.String("abcdefghijklmnopqrstuvwxyz0123456789ABCD")).(pulumi.StringOutput)}, pulumi.Version("6.17.0"))
				if err != nil {
					return err
				}
				_, err = cloudflare.NewDnsRecord(ctx, "stray", &cloudflare.DnsRecordArgs{
					ZoneId: pulumi.String("0123456789abcdef0123456789abcdef"), Name: pulumi.String("stray.example.com"), Type: pulumi.String("A"),
					Content: pulumi.String("198.51.100.99"), Ttl: pulumi.Float64(300),
				}, pulumi.Provider(provider))
				return errors.Join(err, stack.From(root)(ctx))
			}
		}
	})
	preview, err := w.Preview(t.Context(), workspace.PolicyPack(policyPack(t)))
	require.Error(t, err)
	for _, rule := range []string{"record-proxied", "record-custom-rules", "record-enforcement", "record-portal"} {
		assert.ErrorContains(t, err, rule)
	}
	assert.ErrorContains(t, err, "stray.example.com leads to 198.51.100.99 past Cloudflare")
	assert.NotEmpty(t, preview.Resources)

	// What homelab judges by says the same.
	plan := filepath.Join(t.TempDir(), "plan.json")
	planned, err := w.Preview(t.Context(), workspace.Plan(plan))
	require.NoError(t, err)
	packed := map[string]bool{}
	for _, p := range append(preview.Problems, preview.Advice...) {
		if m := ruleName.FindStringSubmatch(p); m != nil {
			packed[m[1]] = true
		}
	}
	assert.Equal(t, slices.Sorted(maps.Keys(packed)), brokenByPlan(t, planned, plan))
	assert.Empty(t, state(t, w), "something was made")
}
