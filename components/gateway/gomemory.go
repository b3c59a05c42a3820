package gateway

import "homelab/components/internal/memory"

// withGoMemory returns the environment of a program in Go whose container has a memory limit: it
// collects garbage four times less often than by default, which a busy proxy notices, until most of
// the limit is used.
func withGoMemory(environment map[string]string, limitMiB int) map[string]string {
	out := memory.WithGo(environment, limitMiB)
	out["GOGC"] = "400"
	return out
}
