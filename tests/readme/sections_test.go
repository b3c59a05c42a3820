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

// section is a section of the README that needs no account, with what each of its commands must
// come to. A command that is not listed here, or not in the README, fails the test.
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
	{heading: "Configure", commands: []command{
		{"pulumi login --local", nothing},
		{"pulumi stack init prod", nothing},
		{"$EDITOR Pulumi.prod.yaml", nothing},
		{"pulumi config set --secret hcloud:token", nothing},
		{"pulumi config set --secret cloudflare:apiToken", nothing},
		{"pulumi config set --secret homelab:cloudflareAcmeToken", nothing},
		{"pulumi config set --secret homelab:cloudflareBanToken", nothing},
		{"pulumi config set --secret tailscale:oauthClientSecret", nothing},
		{"pulumi config set --secret homelab:vpnPrivateKey", nothing},
		{"pass show homelab/hcloud | pulumi config set --secret hcloud:token", nothing},
		{"pulumi config set --secret --path 'homelab:userPasswords.family'", nothing},
		{"pulumi config set --secret homelab:smtpPassword", nothing},
		{"pulumi config set --secret homelab:alertsWebhook", configured},
	}},
	{heading: "Simulated clouds", commands: []command{
		{"bin/homelab up --simulate --state /tmp/lab", deployed},
		{"bin/homelab preview --simulate --state /tmp/lab", unchanged},
		{"bin/homelab audit --simulate --state /tmp/lab", audited},
		{"bin/homelab graph --simulate --state /tmp/lab --format mermaid", drawn},
		{"bin/homelab destroy --simulate --state /tmp/lab", destroyed},
		{"bin/homelab preview --simulate --json", summarized},
	}},
	{heading: "Rebuild the server", rehearsed: true, commands: []command{
		{"pulumi config set homelab:protect false", deployedBefore},
		{"bin/homelab up", nothing},
		{"pulumi config set --path homelab:server.generation 2", nothing},
		{"bin/homelab preview", rebuilt},
		{"bin/homelab up", nothing},
		{"pulumi config set homelab:protect true", nothing},
		{"bin/homelab up", protected},
	}},
}

// rehearsal keeps clouds of its own: the tailnet policy that a destroy leaves would stop a first
// up.
const rehearsal = " --simulate --policy=false --state /tmp/lab/../rehearsal"

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

func audited(t *testing.T, r result) {
	assert.Regexp(t, `^\d+ rules passed, 0 failed, 0 undecided, \d+ not applicable; `+r.reader.count+` resources\n`, r.stdout)
	assert.Contains(t, r.stdout, "from the internet by group users (two factor)")
}

func drawn(t *testing.T, r result) {
	assert.True(t, strings.HasPrefix(r.stdout, "flowchart LR\n"), r.stdout)
	assert.Contains(t, r.stdout, `["jellyseerr"]`)
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

// rebuilt holds the preview of a new machine to what the README promises: the server is replaced,
// and what holds data or the address is not.
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

// configured holds the stack's file to what the README promises: every secret is there, and
// encrypted.
func configured(t *testing.T, r result) {
	listed := r.reader.run(t, "pulumi config --json").stdout
	var values map[string]struct{ Secret bool }
	require.NoError(t, json.Unmarshal([]byte(listed), &values), listed)
	for _, key := range []string{
		"hcloud:token", "cloudflare:apiToken", "homelab:cloudflareAcmeToken", "homelab:cloudflareBanToken",
		"tailscale:oauthClientSecret", "homelab:userPasswords", "homelab:smtpPassword", "homelab:alertsWebhook", "homelab:vpnPrivateKey",
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

// The commands of the README are those that make test-readme follows, in the same order.
func TestSectionsAreThoseOfTheREADME(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	for _, each := range sections {
		var want []string
		for _, c := range each.commands {
			want = append(want, c.line)
		}
		assert.Equal(t, want, Commands(string(readme), each.heading), "the commands below %q", each.heading)
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
