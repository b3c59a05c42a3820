package stack

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"

	"homelab/components/settings"
)

type silent struct{}

func (silent) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return args.Name, args.Inputs, nil
}
func (silent) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) { return args.Args, nil }

// A deployment that could not reach its server stops before it makes anything; a preview, and one
// with broken glass, go on.
func TestWhoMustReachTheServer(t *testing.T) {
	away := errors.New("this computer is not on the tailnet")
	broken := &settings.BreakGlass{CIDR: netip.MustParsePrefix("203.0.113.7/32"), Reason: "the tailnet is gone"}
	for name, c := range map[string]struct {
		preview bool
		glass   *settings.BreakGlass
		want    error
	}{
		"up": {false, nil, away}, "preview": {true, nil, nil}, "up with broken glass": {false, broken, nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := pulumi.RunErr(func(ctx *pulumi.Context) error {
				s := &settings.Settings{Server: settings.Server{BreakGlass: c.glass}}
				assert.ErrorIs(t, mayReach(ctx, s, func(context.Context) error { return away }), c.want)
				assert.NoError(t, mayReach(ctx, s, anywhere))
				return nil
			}, pulumi.WithMocks("homelab", "prod", silent{}), func(info *pulumi.RunInfo) { info.DryRun = c.preview })
			assert.NoError(t, err)
		})
	}
}
