package host

import (
	"fmt"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Fetch runs the action and returns what it printed, as a secret: nothing of it is logged, and the
// state holds it encrypted.
func (h *Host) Fetch(ctx *pulumi.Context, name string, a Action, opts ...pulumi.ResourceOption) (pulumi.StringOutput, error) {
	a.quiet = true
	made, err := h.Run(ctx, name, a, append(opts, pulumi.AdditionalSecretOutputs([]string{"stdout", "stderr"}))...)
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	command, ok := made.(*remote.Command)
	if !ok {
		return pulumi.StringOutput{}, fmt.Errorf("running %s: %T prints nothing", name, made)
	}
	return pulumi.ToSecret(command.Stdout).(pulumi.StringOutput), nil
}
