//go:build readme

package readme

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/internal/checkout"
)

func TestREADME(t *testing.T) {
	r := newReader(t)
	for _, each := range sections {
		for _, c := range each.commands {
			if c.check != nil {
				t.Log(c.line)
				c.check(t, r.run(t, each.rehearse(c.line)))
			}
		}
	}
	entries, err := os.ReadDir(r.home)
	require.NoError(t, err)
	for _, entry := range entries {
		assert.Contains(t, []string{".cache", ".config", ".pulumi"}, entry.Name(), "something else than Go's and Pulumi's was left in the home")
	}
}

// rehearse returns the line with homelab on the simulated clouds, if the section asks for that.
func (s section) rehearse(line string) string {
	if s.rehearsed && strings.HasPrefix(line, "bin/homelab ") {
		return line + rehearsal
	}
	return line
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{home: t.TempDir(), clone: t.TempDir(), lab: filepath.Join(t.TempDir(), "lab")}
	checkout.Copy(t, root, r.clone)

	// What was compiled and downloaded before is kept, and nothing else: not even where Go's own
	// settings are read from the home.
	caches, err := os.UserCacheDir()
	require.NoError(t, err)
	tools := filepath.Join(caches, "homelab")
	require.NoError(t, os.MkdirAll(tools, 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(r.home, ".cache"), 0o700))
	require.NoError(t, os.Symlink(tools, filepath.Join(r.home, ".cache", "homelab")))
	goEnv := map[string]string{}
	require.NoError(t, json.Unmarshal(output(t, "go", "env", "-json", "GOCACHE", "GOMODCACHE", "GOENV"), &goEnv))
	programs := r.programs(t)
	r.env = []string{
		"HOME=" + r.home, "EDITOR=true", "PATH=" + programs + string(os.PathListSeparator) + os.Getenv("PATH"),
		"PULUMI_CONFIG_PASSPHRASE=reader", "PULUMI_SKIP_UPDATE_CHECK=true",
		// The CLI asks the system, not HOME, where the home is.
		"PULUMI_HOME=" + filepath.Join(r.home, ".pulumi"),
	}
	for name, value := range goEnv {
		r.env = append(r.env, name+"="+value)
	}
	for _, name := range []string{"GOFLAGS", "GOPROXY", "GOSUMDB", "GONOSUMDB", "TERM"} {
		if value, set := os.LookupEnv(name); set {
			r.env = append(r.env, name+"="+value)
		}
	}
	return r
}

// programs makes a folder with what the README takes for granted: the Pulumi CLI, and a password
// manager.
func (r *reader) programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cli := strings.TrimSpace(string(output(t, "go", "run", "./internal/toolchain/tool", "path", "pulumi")))
	require.NoError(t, os.Symlink(cli, filepath.Join(dir, "pulumi")))
	pass := "#!/bin/sh\n[ \"$1\" = show ] && echo " + typed + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pass"), []byte(pass), 0o755))
	return dir
}
