package memory

import (
	"fmt"
	"maps"
)

// WithGo returns the environment of a program in Go whose container has a memory limit: as often as
// it takes it collects garbage once nine tenths of the limit are used, where by default it would
// first reach the limit and be killed.
func WithGo(environment map[string]string, limitMiB int) map[string]string {
	out := maps.Clone(environment)
	if out == nil {
		out = map[string]string{}
	}
	out["GOMEMLIMIT"] = fmt.Sprintf("%dMiB", limitMiB*9/10)
	return out
}
