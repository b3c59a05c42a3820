package engine

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/stack"
	"homelab/internal/workspace"
	"homelab/policy/rules"
	"homelab/tests/internal/packprogram"
)

// ruleName finds a rule's name in what a summary says of a violation.
var ruleName = regexp.MustCompile(`(?:^|: )([a-z0-9]+(?:-[a-z0-9]+)+): [A-Z]`)

// The production example passes every rule, before it is there and after.
func TestTheStackPassesItsPolicies(t *testing.T) {
	w := open(t)
	judge := workspace.PolicyPack(packprogram.Path(t), "")
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

// Pulumi's own configuration of policies says which rules stop a deployment.
func TestLevelsAreConfigured(t *testing.T) {
	w := open(t, func(o *workspace.Options) {
		o.Program = func(root string) pulumi.RunFunc {
			return func(ctx *pulumi.Context) error {
				token, _ := ctx.GetConfig("hcloud:token")
				provider, err := hcloud.NewProvider(ctx, "other", &hcloud.ProviderArgs{Token: pulumi.ToSecret(pulumi.String(token)).(pulumi.StringOutput)})
				if err != nil {
					return err
				}
				// An address that is not protected: advice, unless it is configured otherwise.
				_, err = hcloud.NewPrimaryIp(ctx, "spare", &hcloud.PrimaryIpArgs{
					Type: pulumi.String("ipv4"), AssigneeType: pulumi.String("server"), Location: pulumi.String("fsn1"), AutoDelete: pulumi.Bool(false),
					DeleteProtection: pulumi.Bool(true),
				}, pulumi.Provider(provider))
				return errors.Join(err, stack.From(root)(ctx))
			}
		}
	})
	pack, config := packprogram.Path(t), filepath.Join(t.TempDir(), "config.json")
	for level, stops := range map[string]bool{"": false, "disabled": false, "mandatory": true} {
		text := "{}"
		if level != "" {
			text = `{"data-addresses": "` + level + `"}`
		}
		require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
		preview, err := w.Preview(t.Context(), workspace.PolicyPack(pack, config))
		if stops {
			require.ErrorContains(t, err, "data-addresses")
			continue
		}
		require.NoError(t, err, "%s", logOf(preview))
		assert.Len(t, preview.Advice, map[string]int{"": 1, "disabled": 0}[level], level)
	}
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
	preview, err := w.Preview(t.Context(), workspace.PolicyPack(packprogram.Path(t), ""))
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

// No rule is in the way of what the settings allow.
func TestWhatTheSettingsAllowBreaksNoRule(t *testing.T) {
	twoFactor := map[string]any{"policy": "two-factor", "groups": []any{"users"}}
	for name, config := range map[string]map[string]any{
		"open paths and uploads": {"homelab:services": map[string]any{"jellyseerr": map[string]any{
			"bypass": []any{
				map[string]any{"path": "^/(?:assets|static)/.*\\.js$", "reason": "x"},
				map[string]any{"path": "^/hook$", "methods": []any{"POST"}, "reason": "x"},
			},
			"uploads": []any{map[string]any{"path": "/files", "maxMB": 100, "reason": "x"}},
		}}},
		"a login of its own, in public": {"homelab:services": map[string]any{"jellyfin": map[string]any{
			"visibility": "public", "access": map[string]any{"policy": "native", "reason": "televisions"},
		}}},
		"everything on the tailnet": {"homelab:services": map[string]any{"jellyseerr": map[string]any{"visibility": "tailnet", "access": twoFactor}}},
		"a service less":            {"homelab:services": map[string]any{"jellyseerr": map[string]any{"enabled": false}}},
		"a broken glass":            {"homelab:server": map[string]any{"breakGlass": map[string]any{"cidr": "203.0.113.7/32", "reason": "the tailnet is gone"}}},
		"films over SFTP":           {"homelab:storage": map[string]any{"media": map[string]any{"protocol": "sftp"}}},
		"films by davfs2":           {"homelab:storage": map[string]any{"media": map[string]any{"protocol": "davfs2"}}},
		"mail":                      {"homelab:smtp": map[string]any{"host": "mail.example.com", "port": 587, "tls": "starttls", "username": "x@example.com", "sender": "x@example.com"}},
		"a service of their own": {"homelab:customServices": map[string]any{"homepage": map[string]any{
			"image": "ghcr.io/gethomepage/homepage:v2.2.0@sha256:753eeb0cc22ab7baad39ed47cbd1aae14e193dd1b264e965f193a9ea1d1e1bdd",
			"port":  3000, "user": "2002:2002", "memoryMiB": 64, "health": map[string]any{"path": "/"}, "uses": []any{"jellyfin"}, "reaches": "internet",
			"folders": []any{map[string]any{"path": "/data"}},
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, func(o *workspace.Options) { o.Config = config })
			plan := filepath.Join(t.TempDir(), "plan.json")
			preview, err := w.Preview(t.Context(), workspace.Plan(plan))
			require.NoError(t, err, "%s", logOf(preview))
			assert.Empty(t, brokenByPlan(t, preview, plan))
			if name == "open paths and uploads" {
				for urn, state := range preview.Planned() {
					if strings.HasSuffix(urn, "::Caddyfile") {
						assert.Contains(t, state.Inputs["stdin"], "\t\t\tupload /files 100MB PATCH POST PUT\n")
					}
				}
			}
		})
	}
}
