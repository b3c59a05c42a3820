package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/stack"
	"homelab/internal/workspace"
)

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
	preview, err := w.Preview(t.Context(), judge)
	require.NoError(t, err, "%s", logOf(preview))
	assert.Empty(t, preview.Advice)
	made, err := w.Up(t.Context(), judge)
	require.NoError(t, err, "%s", logOf(made))
	assert.Empty(t, made.Advice)
	again, err := w.Preview(t.Context(), judge)
	require.NoError(t, err, "%s", logOf(again))
	assert.False(t, again.HasChanges())
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
	assert.Empty(t, state(t, w), "something was made")
}
