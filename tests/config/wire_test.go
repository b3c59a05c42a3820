//go:build chain

package config

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
)

var wireTool = toolchain.Tool{Name: "homelab-wire", Dir: "images/wire", Package: ".", LDFlags: []string{"-s", "-w"}}

// The program that connects the services takes the plans that the deployment writes, and refuses
// one with a field more. That nothing answers here is another failure than a plan that is wrong.
func TestTheWiringsPlanIsAccepted(t *testing.T) {
	const (
		exitProblem = 1
		exitPlan    = 2
	)
	program := built(t, wireTool)
	root, err := toolchain.Root()
	require.NoError(t, err)
	plans, err := filepath.Glob(filepath.Join(root, "components/media/testdata/wiring-*.golden"))
	require.NoError(t, err)
	require.Len(t, plans, 3)
	once := func(plan string) (string, int) {
		out, err := run(t, program, "once", "--check", "--plan", plan, "--state", t.TempDir(), "--patience", "1ms")
		var ended *exec.ExitError
		require.True(t, errors.As(err, &ended), "%v: %s", err, out)
		return out, ended.ExitCode()
	}
	for _, plan := range plans {
		out, code := once(plan)
		assert.Equal(t, exitProblem, code, "%s: %s", filepath.Base(plan), out)
		text, err := os.ReadFile(plan)
		require.NoError(t, err)
		bad := filepath.Join(t.TempDir(), "plan.json")
		write(t, bad, replaced(t, string(text), `"version": 1,`, `"version": 1, "more": true,`))
		out, code = once(bad)
		assert.Equal(t, exitPlan, code, out)
	}
}
