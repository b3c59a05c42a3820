package policy

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
	"homelab/tests/internal/packprogram"
)

// pulumi policy analyze judges an export by the pack: the stack as it is, one that breaks a rule, and
// with an exception for that. Pulumi itself refuses a configuration that its schema does not allow.
func TestPulumiAnalyzesAnExport(t *testing.T) {
	cli, err := toolchain.Pulumi(t.Context(), os.Stderr)
	require.NoError(t, err)
	pack, dir := packprogram.Path(t), t.TempDir()
	analyze := func(s *state, config string) (string, error) {
		file, configured := filepath.Join(dir, "export.json"), filepath.Join(dir, "policy.json")
		require.NoError(t, os.WriteFile(file, s.text(), 0o600))
		require.NoError(t, os.WriteFile(configured, []byte(config), 0o600))
		command := exec.CommandContext(t.Context(), cli, "policy", "analyze", "--color", "never", "--file", file, "--policy-pack", pack, "--policy-pack-config", configured)
		command.Dir = dir
		command.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "PULUMI_HOME=" + filepath.Join(dir, "pulumi"), "PULUMI_SKIP_UPDATE_CHECK=true"}
		out, err := command.CombinedOutput()
		return string(out), err
	}
	exception := `{"record-proxied": {"unproxied": [{"hostname": "` + excepted + `", "reason": "films are large"}]}}`
	broken := changed(t, setValue(record, "jellyseerr", false, "proxied"))

	out, err := analyze(newState(t), "{}")
	require.NoError(t, err, "%s", out)
	assert.Contains(t, out, "homelab@v0.1.0")
	out, err = analyze(broken, "{}")
	require.Error(t, err)
	assert.Contains(t, out, "[mandatory] [severity: critical]  record-proxied")
	out, err = analyze(broken, exception)
	require.NoError(t, err, "%s", out)
	out, err = analyze(broken, `{"record-proxied": {"unproxied": [{"hostname": "`+excepted+`"}]}}`)
	require.Error(t, err)
	assert.Contains(t, out, "record-proxied: unproxied.0: reason is required")
}
