//go:build readme

package readme

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a pull request gets as a comment: of one that changes nothing, that it changes nothing.
func TestWhatAPullRequestExposes(t *testing.T) {
	command := exec.CommandContext(t.Context(), "../../.ci/exposure", "HEAD")
	out, err := command.Output()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "### What this changes\n\nResources: none.\n\n### What it exposes\n\nNothing else than before.\n")
	assert.Regexp(t, `\n\d+ rules pass, 0 are broken\.\n$`, string(out))
}
