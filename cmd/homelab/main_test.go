//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/settings"
	"homelab/components/stack"
	"homelab/internal/toolchain"
	"homelab/internal/unusable"
	"homelab/internal/workspace"
)

// publicKey is a key nobody has the private half of.
const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRlYWRiZWVmZGVhZGJlZWZkZWFkYmVlZmRlYWRiZWVm nobody"

// small is smallProgram, wherever the project is.
func small(string) pulumi.RunFunc { return smallProgram }

// smallProgram makes one protected resource in a simulated cloud and one that is never deleted.
func smallProgram(ctx *pulumi.Context) error {
	if misfit, _ := ctx.GetConfig("homelab:misfit"); misfit == "true" {
		return unusable.Mark(errors.New("the zone is another one"))
	}
	protect, _ := ctx.GetConfig("homelab:protect")
	token, _ := ctx.GetConfig("hcloud:token")
	label, _ := ctx.GetConfig("homelab:label")
	provider, err := hcloud.NewProvider(ctx, "hcloud", &hcloud.ProviderArgs{Token: pulumi.ToSecret(pulumi.String(token)).(pulumi.StringOutput)})
	if err != nil {
		return err
	}
	_, err = hcloud.NewFirewall(ctx, "wall", &hcloud.FirewallArgs{
		Name: pulumi.String("wall"), Labels: pulumi.StringMap{"label": pulumi.String(label)},
	}, pulumi.Provider(provider), pulumi.Protect(protect != "false"))
	if err != nil {
		return err
	}
	_, err = hcloud.NewSshKey(ctx, "kept", &hcloud.SshKeyArgs{Name: pulumi.String("kept"), PublicKey: pulumi.String(publicKey)},
		pulumi.Provider(provider), pulumi.RetainOnDelete(true))
	if err != nil {
		return err
	}
	if broken, _ := ctx.GetConfig("homelab:broken"); broken == "true" {
		return errors.New("broken on purpose")
	}
	ctx.Export("answer", pulumi.Int(42))
	ctx.Export(stack.OriginPullExpires, pulumi.String("2031-11-23T12:00:00Z"))
	ctx.Export("hidden", pulumi.ToSecret(pulumi.String("x")))
	return nil
}

// shell runs command lines against one project.
type shell struct {
	t       *testing.T
	project string
	cli     string
	stdin   io.Reader
	// program is what is deployed to simulated clouds; small if nil.
	program func(root string) pulumi.RunFunc
	// machines starts real machines; nil is never called.
	machines func(ctx context.Context, o machineOptions) (machines, error)
	// images makes images for them; nil is never called.
	images func(ctx context.Context, folder string, progress io.Writer) error
}

// pulumiCLI is found, or built, where the tests start: inside the checkout.
var pulumiCLI = sync.OnceValues(func() (string, error) {
	return toolchain.Pulumi(context.Background(), os.Stderr)
})

func newShell(t *testing.T, stackYAML string) *shell {
	t.Helper()
	cli, err := pulumiCLI()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), []byte("name: homelab\nruntime: go\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.prod.yaml"), []byte(stackYAML), 0o600))
	below := filepath.Join(dir, "some", "folder")
	require.NoError(t, os.MkdirAll(below, 0o700))
	t.Chdir(below)
	return &shell{t: t, project: dir, cli: cli, stdin: strings.NewReader("")}
}

func (s *shell) configure(stackYAML string) {
	require.NoError(s.t, os.WriteFile(filepath.Join(s.project, "Pulumi.prod.yaml"), []byte(stackYAML), 0o600))
}

func (s *shell) run(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errOut bytes.Buffer
	a := newApp()
	a.stdin, a.stdout, a.stderr, a.program, a.real, a.machines, a.images = s.stdin, &out, &errOut, small, small, s.machines, s.images
	if s.program != nil {
		a.program = s.program
	}
	a.cli = func(ctx context.Context, _ io.Writer) (string, error) { return s.cli, ctx.Err() }
	code = a.run(s.t.Context(), args)
	return code, out.String(), errOut.String()
}

const plainStack = "config:\n  homelab:domain: example.com\n"

func TestLifeOfASimulatedStack(t *testing.T) {
	s := newShell(t, plainStack)
	state := filepath.Join(t.TempDir(), "state")
	simulated := []string{"--simulate", "--state", state}

	code, out, errOut := s.run(append([]string{"preview"}, simulated...)...)
	require.Equal(t, exitOK, code, errOut)
	count := len(slices.DeleteFunc(settings.Secrets(), func(k settings.SecretKey) bool { return k.Needs != "" }))
	assert.Contains(t, out, fmt.Sprintf("filled %d missing secrets with generated values for the simulation: ", count))
	assert.Contains(t, out, "+ pulumi:pulumi:Stack homelab-prod  (create)\n+ ├─ hcloud:index:Firewall wall  (create)\n")
	assert.Contains(t, out, "preview of stack prod: 4 resources (4 create) in ")
	assert.Contains(t, out, "the origin-pull certificate ends on 2031-11-23; up renews it years before\n")

	code, out, errOut = s.run(append([]string{"up"}, simulated...)...)
	require.Equal(t, exitOK, code, errOut)
	assert.Contains(t, out, "up of stack prod: 4 resources (4 create) in ")
	assert.Contains(t, out, "Next: homelab preview --simulate --state "+state)

	code, out, errOut = s.run(append([]string{"preview", "--json", "--expect-no-changes"}, simulated...)...)
	require.Equal(t, exitOK, code, errOut)
	var summary workspace.Summary
	require.NoError(t, json.Unmarshal([]byte(out), &summary), "standard output is JSON and nothing else: %s", out)
	assert.False(t, summary.HasChanges())
	assert.Equal(t, map[string]int{"same": 4}, summary.Changes)
	assert.Contains(t, errOut, "Previewing update")

	code, out, errOut = s.run(append([]string{"refresh"}, simulated...)...)
	require.Equal(t, exitOK, code, errOut)
	assert.Contains(t, out, "refresh of stack prod: 4 resources (4 same)")

	s.configure(plainStack + "  homelab:label: other\n")
	code, _, errOut = s.run(append([]string{"preview", "--expect-no-changes"}, simulated...)...)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, errOut, "error: preview of stack prod failed: ")

	s.configure(plainStack)
	code, out, errOut = s.run(append([]string{"destroy"}, simulated...)...)
	require.Equal(t, exitOK, code, errOut)
	assert.Contains(t, out, "lifting the protection")
	assert.Contains(t, out, "what a destroy leaves in the real clouds too:\n  hcloud:index/sshKey:SshKey kept\n")
	assert.Contains(t, out, "destroy of stack prod: 4 delete in ")
	assert.Contains(t, out, "nothing else is left in the simulated clouds")

	code, out, _ = s.run(append([]string{"destroy"}, simulated...)...)
	assert.Equal(t, exitOK, code)
	assert.Contains(t, out, "nothing is deployed in this simulation")
	assert.NotContains(t, out, "lifting the protection")
}

func TestSummaryIsStable(t *testing.T) {
	s := newShell(t, plainStack)
	code, first, _ := s.run("preview", "--simulate", "--json")
	require.Equal(t, exitOK, code)
	code, second, _ := s.run("preview", "--simulate", "--json", "-C", s.project)
	require.Equal(t, exitOK, code)
	duration := regexp.MustCompile(`"durationSeconds": [0-9.e+-]+`)
	assert.Equal(t, duration.ReplaceAllString(first, ""), duration.ReplaceAllString(second, ""))
	for _, expected := range []string{`"command": "preview"`, `"answer": 42`, `"hidden": "[secret]"`, `"problems": []`} {
		assert.Contains(t, first, expected)
	}
}

func TestFailureIsReportedOnBothStreams(t *testing.T) {
	s := newShell(t, plainStack+"  homelab:broken: \"true\"\n")
	code, out, errOut := s.run("up", "--simulate", "--json")
	assert.Equal(t, exitFailed, code)
	var summary workspace.Summary
	require.NoError(t, json.Unmarshal([]byte(out), &summary))
	assert.Equal(t, workspace.Failed, summary.Result)
	assert.Contains(t, strings.Join(summary.Problems, "\n"), "broken on purpose")
	assert.Contains(t, errOut, "error: up of stack prod failed: ")
}

func TestWhatIsLeftFailsTheDestroy(t *testing.T) {
	s := newShell(t, plainStack)
	w, err := workspace.Simulated(t.Context(), workspace.Options{
		Project: s.project, Program: small, CLI: s.cli, Secrets: secrets(),
	})
	require.NoError(t, err)
	defer func() { assert.NoError(t, w.Close()) }()
	summary, err := w.Up(t.Context())
	require.NoError(t, err)
	open := &session{Workspace: w.Workspace, simulation: w, progress: io.Discard}
	err = open.checkNothingIsLeft(summary, &apitype.DeploymentV3{})
	require.ErrorContains(t, err, "still hold: hcloud:index/firewall:Firewall wall, hcloud:index/sshKey:SshKey kept")
	assert.Equal(t, workspace.Failed, summary.Result)
}

func TestUsageErrors(t *testing.T) {
	s := newShell(t, plainStack)
	for line, problem := range map[string]string{
		"nothing":                            `unknown command "nothing"`,
		"preview --what":                     "unknown flag: --what",
		"preview argument":                   "preview takes no arguments",
		"prevew":                             "did you mean preview?",
		"preview --state /tmp/x":             "add --simulate",
		"preview --target-dependents":        "name them with --target",
		"up --yes --policy --skip-preview":   "leave out --skip-preview",
		"up":                                 "cannot ask for confirmation here",
		"refresh":                            "cannot ask for confirmation here",
		"destroy":                            "cannot ask for confirmation here",
		"destroy --yes":                      "stack prod is protected: run pulumi config set homelab:protect false",
		"preview --simulate --stack other":   "Pulumi.other.yaml",
		"preview --simulate -s a/b/c/d":      "stack name",
		"preview --simulate -s a/b":          "Pulumi.b.yaml",
		"preview --simulate -C /":            "no Pulumi.yaml in / or above",
		"preview --simulate --cwd /nowhere":  "--cwd: stat /nowhere",
		"up --simulate --state " + s.project: "not from an earlier simulation",
	} {
		code, out, errOut := s.run(strings.Fields(line)...)
		assert.Equal(t, exitUsage, code, line)
		assert.Contains(t, errOut, problem, line)
		assert.Empty(t, out, line)
	}
	t.Chdir("/")
	code, _, errOut := s.run("preview", "--simulate")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "no Pulumi.yaml in / or above")
}

func TestHelpExplainsEverything(t *testing.T) {
	s := newShell(t, plainStack)
	code, out, _ := s.run("--help")
	assert.Equal(t, exitOK, code)
	assert.Contains(t, out, "Exit codes:")
	code, bare, _ := s.run()
	assert.Equal(t, exitOK, code)
	assert.Equal(t, out, bare)
	for _, name := range []string{"completion", "preview", "up", "refresh", "destroy"} {
		assert.Contains(t, out, "\n  "+name+" ")
		if name == "completion" {
			continue
		}
		code, help, _ := s.run(name, "--help")
		assert.Equal(t, exitOK, code)
		for _, expected := range []string{"Examples:", "--simulate", "--state", "-s, --stack", "-j, --json", "-C, --cwd", "--diff", "-t, --target"} {
			assert.Contains(t, help, expected, name)
		}
	}
}

func TestConfirmation(t *testing.T) {
	for answer, confirmed := range map[string]bool{"yes\n": true, "yes": true, "y\n": false, "": false, "no\n": false} {
		a := &app{stdin: strings.NewReader(answer), stderr: io.Discard}
		err := (&session{app: a, flags: &flags{}}).confirm("Sure?")
		assert.Equal(t, confirmed, err == nil, "%q", answer)
	}
	silent := &app{stdin: strings.NewReader("")}
	require.NoError(t, (&session{app: silent, flags: &flags{yes: true}}).confirm("Sure?"))
	require.NoError(t, (&session{app: silent, flags: &flags{simulate: true}}).confirm("Sure?"))
}
