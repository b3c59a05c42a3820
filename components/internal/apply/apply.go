// Package apply holds the few typed conversions of outputs that the components share, each of which
// can fail and says so.
package apply

import (
	"fmt"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Int converts a provider's string ID to the integer that Hetzner's inputs take. An ID that is no
// number fails the deployment instead of becoming 0, which the API would read as "none".
func Int(id pulumi.IDOutput) pulumi.IntOutput {
	return id.ToStringOutput().ApplyT(func(id string) (int, error) {
		n, err := strconv.Atoi(id)
		if err != nil {
			return 0, fmt.Errorf("converting the provider's id %q to a number: %w", id, err)
		}
		return n, nil
	}).(pulumi.IntOutput)
}

// String converts any output of a pure function's result. It exists so that callers need no
// unchecked type assertion.
func String[T any](in pulumi.Output, f func(T) (string, error)) pulumi.StringOutput {
	return in.ApplyT(f).(pulumi.StringOutput)
}
