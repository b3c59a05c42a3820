//go:build readme

package readme

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// A value typed in where the README sets a secret; it must be found nowhere afterwards.
const typed = "typed-in-by-the-reader-of-the-readme-0123456789"

// section is a section of the README that needs no account, with what each of its commands must come to. A command
// that is not listed here, or not in the README, fails the test.
type section struct {
	heading  string
	commands []command
	// rehearsed runs homelab on the simulated clouds where the README means the real ones.
	rehearsed bool
}

type command struct {
	line  string
	check func(t *testing.T, r result)
}

type result struct {
	stdout, stderr string
	reader         *reader
}

var sections = []section{
	{heading: "Try it now", commands: []command{
		{"make preview", previewed},
		{"make test", nil}, // what this test is a part of, so it is not run here
	}},
	{heading: "3. Configure", commands: []command{
		{"pulumi login --local", nothing},
		{"pulumi stack init prod", nothing},
		{"$EDITOR Pulumi.prod.yaml", nothing},
		{"pulumi config set --secret hcloud:token", nothing},
		{"pulumi config set --secret cloudflare:apiToken", nothing},
		{"pulumi config set --secret homelab:cloudflareAcmeToken", nothing},
		{"pulumi config set --secret homelab:cloudflareBanToken", nothing},
		{"pulumi config set --secret tailscale:oauthClientSecret", nothing},
		{"pass show homelab/hcloud | pulumi config set --secret hcloud:token", nothing},
		{"pulumi config set --secret --path 'homelab:userPasswords.family'", nothing},
		{"pulumi config set --secret homelab:smtpPassword", configured},
	}},
	{heading: "Simulated clouds", commands: []command{
		{"bin/homelab up --simulate --state /tmp/lab", deployed},
		{"bin/homelab preview --simulate --state /tmp/lab", unchanged},
		{"bin/homelab destroy --simulate --state /tmp/lab", destroyed},
		{"bin/homelab preview --simulate --json", summarized},
	}},
	{heading: "9. Rebuild the server", rehearsed: true, commands: []command{
		{"pulumi config set homelab:protect false", deployedBefore},
		{"bin/homelab up", nothing},
		{"pulumi config set --path homelab:server.generation 2", nothing},
		{"bin/homelab preview", rebuilt},
		{"bin/homelab up", nothing},
		{"pulumi config set homelab:protect true", nothing},
		{"bin/homelab up", protected},
	}},
}

func nothing(*testing.T, result) {}

var previewLine = regexp.MustCompile(`(?m)^preview of stack prod: (\d+) resources \((.*)\) in [0-9.]+ s$`)

func previewed(t *testing.T, r result) {
	found := previewLine.FindStringSubmatch(r.stdout)
	require.NotNil(t, found, r.stdout)
	assert.Equal(t, found[1]+" create", found[2])
	r.reader.count = found[1]
}

func deployed(t *testing.T, r result) {
	assert.Contains(t, r.stdout, "up of stack prod: "+r.reader.count+" resources ("+r.reader.count+" create)")
}

func unchanged(t *testing.T, r result) {
	found := previewLine.FindStringSubmatch(r.stdout)
	require.NotNil(t, found, r.stdout)
	assert.Equal(t, r.reader.count+" same", found[2])
}

func destroyed(t *testing.T, r result) {
	assert.Contains(t, r.stdout, "nothing else is left in the simulated clouds")
}

func summarized(t *testing.T, r result) {
	var summary struct {
		SchemaVersion int
		Result        string
		Changes       map[string]int
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &summary), r.stdout)
	assert.Equal(t, 1, summary.SchemaVersion)
	assert.Equal(t, "succeeded", summary.Result)
	assert.Contains(t, r.stdout, `"create": `+r.reader.count)
}

// deployedBefore checks nothing of its command: it deploys what the next commands change.
func deployedBefore(t *testing.T, r result) {
	r.reader.run(t, "pulumi config set homelab:protect true")
	r.reader.run(t, "bin/homelab up"+rehearsal)
	r.reader.run(t, "pulumi config set homelab:protect false")
}

// rebuilt holds the preview of a new machine to what the README promises: the server is replaced, and what holds data
// or the address is not.
func rebuilt(t *testing.T, r result) {
	assert.Regexp(t, `(?m)^± .*hcloud:index:Server .*\(replace\)$`, r.stdout)
	for _, kept := range []string{"StorageBox", "PrimaryIp", "StorageBoxSubaccount"} {
		assert.Regexp(t, `(?m)hcloud:index:`+kept+` `, r.stdout)
		assert.NotRegexp(t, `(?m)hcloud:index:`+kept+` .*\((replace|delete)\)$`, r.stdout)
	}
}

// protected looks at a stack that is settled again after the last step.
func protected(t *testing.T, r result) {
	assert.Regexp(t, `(?m)^up of stack prod: \d+ resources \(\d+ same, \d+ update\)`, r.stdout)
	r.reader.run(t, "bin/homelab preview --expect-no-changes"+rehearsal)
}

// configured holds the stack's file to what the README promises: every secret is there, and encrypted.
func configured(t *testing.T, r result) {
	listed := r.reader.run(t, "pulumi config --json").stdout
	var values map[string]struct{ Secret bool }
	require.NoError(t, json.Unmarshal([]byte(listed), &values), listed)
	for _, key := range []string{
		"hcloud:token", "cloudflare:apiToken", "homelab:cloudflareAcmeToken", "homelab:cloudflareBanToken",
		"tailscale:oauthClientSecret", "homelab:userPasswords", "homelab:smtpPassword",
	} {
		assert.True(t, values[key].Secret, "%s is not a secret in the stack's file", key)
	}
	file, err := os.ReadFile(filepath.Join(r.reader.clone, "Pulumi.prod.yaml"))
	require.NoError(t, err)
	assert.NotContains(t, string(file), typed)
	assert.Contains(t, string(file), "encryptionsalt: ")
}

// reader is somebody who follows the README.
type reader struct {
	home, clone, lab string
	env              []string
	// count is how many resources the first preview showed.
	count string
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{home: t.TempDir(), clone: t.TempDir(), lab: filepath.Join(t.TempDir(), "lab")}
	copyCheckout(t, r.clone)

	// What was compiled and downloaded before is kept, and nothing else: not even where Go's own settings are read from
	// the home.
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

// programs makes a folder with what the README takes for granted: the Pulumi CLI, and a password manager.
func (r *reader) programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cli := strings.TrimSpace(string(output(t, "go", "run", "./internal/toolchain/tool", "path", "pulumi")))
	require.NoError(t, os.Symlink(cli, filepath.Join(dir, "pulumi")))
	pass := "#!/bin/sh\n[ \"$1\" = show ] && echo " + typed + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pass"), []byte(pass), 0o755))
	return dir
}

// run runs one line, with a value ready for whoever asks for one.
func (r *reader) run(t *testing.T, line string) result {
	t.Helper()
	elsewhere := strings.NewReplacer("/tmp/lab", r.lab, "pulumi login --local", "pulumi login file://"+filepath.ToSlash(r.home))
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", elsewhere.Replace(line))
	cmd.Dir, cmd.Env, cmd.Stdin = r.clone, r.env, strings.NewReader(typed+"\n")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s\n%s\n%s", line, &stdout, &stderr)
	assert.NotContains(t, stdout.String()+stderr.String(), typed, line)
	return result{stdout: stdout.String(), stderr: stderr.String(), reader: r}
}

func TestREADME(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	r := newReader(t)
	for _, each := range sections {
		var want []string
		for _, c := range each.commands {
			want = append(want, c.line)
		}
		require.Equal(t, want, Commands(string(readme), each.heading), "the commands below %q", each.heading)
	}
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

// rehearsal keeps clouds of its own: the tailnet policy that a destroy leaves would stop a first up.
const rehearsal = " --simulate --state /tmp/lab/../rehearsal"

// rehearse returns the line with homelab on the simulated clouds, if the section asks for that.
func (s section) rehearse(line string) string {
	if s.rehearsed && strings.HasPrefix(line, "bin/homelab ") {
		return line + rehearsal
	}
	return line
}

// copyCheckout copies the files that a commit of the checkout would hold.
func copyCheckout(t *testing.T, to string) {
	t.Helper()
	list := output(t, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		from := filepath.Join(root, name)
		info, err := os.Lstat(from)
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		require.NoError(t, err)
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		target := filepath.Join(to, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o755))
		require.NoError(t, os.WriteFile(target, data, info.Mode().Perm()))
	}
}

// output runs a command at the top of the checkout.
func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	return out
}
