//go:build unix

package main

import (
	"regexp"
	"testing"

	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/stack"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

// open22 is the program with a firewall that lets anybody come by SSH.
func open22(root string) pulumi.RunFunc {
	return func(ctx *pulumi.Context) error {
		token, _ := ctx.GetConfig("hcloud:token")
		provider, err := hcloud.NewProvider(ctx, "other", &hcloud.ProviderArgs{Token: pulumi.ToSecret(pulumi.String(token)).(pulumi.StringOutput)}, pulumi.Version("1.41.0"))
		if err != nil {
			return err
		}
		_, err = hcloud.NewFirewall(ctx, "open", &hcloud.FirewallArgs{Name: pulumi.String("open"), Rules: hcloud.FirewallRuleArray{
			hcloud.FirewallRuleArgs{
				Direction: pulumi.String("in"), Protocol: pulumi.String("tcp"), Port: pulumi.String("22"),
				SourceIps: pulumi.StringArray{pulumi.String("0.0.0.0/0")},
			},
		}}, pulumi.Provider(provider))
		if err != nil {
			return err
		}
		return stack.From(root)(ctx)
	}
}

// What would break a rule stops a preview, and an up before anything is made.
func TestARuleStopsBoth(t *testing.T) {
	root, err := toolchain.Root()
	require.NoError(t, err)
	s := newShell(t, plainStack)
	t.Chdir(root)
	state := t.TempDir()
	run := func(args ...string) (int, string, string) {
		s.program = open22
		return s.run(args...)
	}
	for _, command := range []string{"preview", "up"} {
		code, _, errOut := run(command, "--simulate", "--state", state)
		assert.Equal(t, exitFailed, code, command)
		assert.Contains(t, errOut, "firewall-ssh: SSH is open without a reason", command)
		assert.Contains(t, errOut, "reach the server over the tailnet", command)
		assert.Contains(t, errOut, "nothing was changed", command)
	}
	w, err := workspace.Simulated(t.Context(), workspace.Options{Project: root, State: state, Program: stack.From, CLI: s.cli, Secrets: secrets()})
	require.NoError(t, err)
	deployment, err := w.Deployment()
	require.NoError(t, err)
	require.NoError(t, w.Close())
	assert.Empty(t, deployment.Resources, "something was made")

	code, _, errOut := run("preview", "--simulate", "--state", state, "--policy=false")
	assert.Equal(t, exitOK, code, errOut)
	s.program = stack.From
	code, out, errOut := s.run("preview", "--simulate")
	assert.Equal(t, exitOK, code, errOut)
	lines := regexp.MustCompile(`(?m)^advice: .*$`).FindAllString(out, -1)
	require.Len(t, lines, 1, "a first preview cannot know everything, and nothing is broken")
	assert.Regexp(t, `^advice: rules that cannot be decided before up, see homelab audit then: [a-z0-9, -]+$`, lines[0])
}
