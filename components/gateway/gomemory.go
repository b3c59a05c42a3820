package gateway

import (
	"fmt"
	"maps"
)

// withGoMemory returns the environment of a program in Go whose container has a memory limit: it
// collects garbage four times less often than by default, which a busy proxy notices, and as often
// as it takes once nine tenths of the limit are used.
func withGoMemory(environment map[string]string, limitMiB int) map[string]string {
	out := maps.Clone(environment)
	if out == nil {
		out = map[string]string{}
	}
	out["GOGC"], out["GOMEMLIMIT"] = "400", fmt.Sprintf("%dMiB", limitMiB*9/10)
	return out
}
