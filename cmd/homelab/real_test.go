//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// leafType is a component: it needs no provider, so real stacks of the tests touch no cloud.
const leafType = "test:index:Leaf"

// leaves is a program without clouds: a component for each word of homelab:leaves.
func leaves(ctx *pulumi.Context) error {
	words, _ := ctx.GetConfig("homelab:leaves")
	if server, _ := ctx.GetConfig("homelab:server"); server != "" {
		ctx.Export("tailnetIpv4", pulumi.String(server))
		ctx.Export("hostKey", pulumi.String(publicKey))
	}
	for _, word := range strings.Fields(words) {
		if err := ctx.RegisterComponentResource(leafType, word, &pulumi.ResourceState{}); err != nil {
			return err
		}
	}
	return nil
}

// realShell is a project with stacks in a folder of its own, made by the real CLI.
type realShell struct {
	*shell
	// ssh takes the place of ssh.
	ssh ssh
}

func newRealShell(t *testing.T, stackYAML string) *realShell {
	t.Helper()
	t.Setenv("PULUMI_HOME", t.TempDir())
	t.Setenv("PULUMI_BACKEND_URL", "file://"+t.TempDir())
	t.Setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
	t.Setenv("PULUMI_CONFIG_PASSPHRASE", "correct horse")
	t.Setenv("PULUMI_STACK", "") // puts the variable back after the test
	require.NoError(t, os.Unsetenv("PULUMI_STACK"))
	s := &realShell{shell: newShell(t, stackYAML)}
	s.pulumi("stack", "init", "prod")
	return s
}

func (s *realShell) pulumi(args ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.cli, append([]string{"--non-interactive", "-C", s.project}, args...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(s.t, err, string(out))
}

func (s *realShell) runReal(stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errOut bytes.Buffer
	a := newApp()
	a.stdin, a.stdout, a.stderr = stdin, &out, &errOut
	a.program = func(string) pulumi.RunFunc { return leaves }
	a.real, a.ssh = a.program, s.ssh
	a.cli = func(ctx context.Context, _ io.Writer) (string, error) { return s.cli, ctx.Err() }
	code = a.run(s.t.Context(), args)
	return code, out.String(), errOut.String()
}

const (
	unprotected = "config:\n  homelab:protect: \"false\"\n  homelab:leaves: one two\n"
	noStdin     = ""
)

func TestLifeOfARealStack(t *testing.T) {
	s := newRealShell(t, unprotected)
	nobody := strings.NewReader(noStdin)

	code, out, errOut := s.runReal(nobody, "up", "--yes")
	require.Equal(t, exitOK, code, errOut)
	assert.Contains(t, out, "Previewing update", "also --yes previews")
	assert.Contains(t, out, "up of stack prod: 3 resources (3 create) in ")

	code, out, errOut = s.runReal(nobody, "up", "--yes", "--skip-preview")
	require.Equal(t, exitOK, code, errOut)
	assert.NotContains(t, out, "Previewing update")

	code, out, errOut = s.runReal(nobody, "refresh", "--yes")
	require.Equal(t, exitOK, code, errOut)
	assert.Contains(t, out, "Previewing refresh")

	code, out, errOut = s.runReal(nobody, "destroy", "--yes", "--target", "**two")
	require.Equal(t, exitOK, code, errOut)
	assert.Contains(t, out, "Previewing destroy")
	assert.Contains(t, out, "- └─ "+leafType+" two  (delete)\n", "the preview lists what goes")
	assert.Contains(t, out, "destroy of stack prod: 1 delete, 2 same in ")

	code, out, errOut = s.runReal(nobody, "preview", "--diff")
	require.Equal(t, exitOK, code, errOut)
	assert.Contains(t, out, "+ "+leafType+": (create)", "the engine's own view of the difference")
	assert.NotContains(t, out, leafType+" two  (create)", "and not the tree as well")
	assert.Contains(t, out, "preview of stack prod: 3 resources (1 create, 2 same)")

	code, _, errOut = s.runReal(nobody, "destroy", "--yes")
	require.Equal(t, exitOK, code, errOut)
}

func TestSelectedStackIsUsed(t *testing.T) {
	s := newRealShell(t, unprotected)
	s.pulumi("stack", "init", "other") // selects it
	require.NoError(t, os.WriteFile(filepath.Join(s.project, "Pulumi.other.yaml"), []byte("config: {}\n"), 0o600))
	for line, stack := range map[string]string{
		"preview":                     "other",
		"preview --simulate":          "other",
		"preview -s prod":             "prod",
		"preview --simulate -s prod":  "prod",
		"preview --stack=org/prod -j": "", // a backend in a folder knows no organizations
	} {
		code, out, errOut := s.runReal(strings.NewReader(noStdin), strings.Fields(line)...)
		if stack == "" {
			assert.Equal(t, exitUsage, code, line)
			continue
		}
		require.Equal(t, exitOK, code, "%s: %s", line, errOut)
		assert.Contains(t, out, "preview of stack "+stack+":", line)
	}
}

func TestWithoutATerminalThePassphraseMustBeGiven(t *testing.T) {
	s := newRealShell(t, unprotected)
	require.NoError(t, os.Unsetenv("PULUMI_CONFIG_PASSPHRASE"))
	code, out, errOut := s.runReal(strings.NewReader(noStdin), "preview")
	assert.Equal(t, exitUsage, code)
	assert.Empty(t, out)
	assert.Contains(t, errOut, "set PULUMI_CONFIG_PASSPHRASE_FILE to a file that holds it, or PULUMI_CONFIG_PASSPHRASE")
}

// The whole program's own opinion of a configuration is exit code 2 as well.
func TestWhatTheProgramRefusesIsUnusable(t *testing.T) {
	s := newShell(t, "config:\n  homelab:domain: example.com\n  homelab:colour: red\n")
	var errOut bytes.Buffer
	a := newApp()
	a.stdin, a.stdout, a.stderr = s.stdin, io.Discard, &errOut
	a.cli = func(context.Context, io.Writer) (string, error) { return s.cli, nil }
	code := a.run(t.Context(), []string{"up", "--simulate"})
	assert.Equal(t, exitUsage, code)
	assert.Regexp(t, `(?m)^error: reading configuration of stack prod: \d+ problems$`, errOut.String())
	assert.Contains(t, errOut.String(), "\n  - homelab:colour: is not a key")
}

func TestVersion(t *testing.T) {
	s := newShell(t, plainStack)
	code, out, _ := s.run("--version")
	assert.Equal(t, exitOK, code)
	assert.Regexp(t, `^homelab \d+\.\d+\.\d+ \(pulumi v3\.\d+\.\d+ or later, go\S+, \w+/\w+\)\n$`, out)
	changes, err := os.ReadFile(changelog)
	require.NoError(t, err)
	newest := regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+)`).FindSubmatch(changes)
	require.NotNil(t, newest, "CHANGELOG.md has no version")
	assert.Equal(t, version, string(newest[1]), "--version and CHANGELOG.md must agree")
}

// changelog is read where the tests start, before any of them changes the folder.
var changelog = func() string {
	path, err := filepath.Abs("../../CHANGELOG.md")
	if err != nil {
		panic(err)
	}
	return path
}()

func TestCompletion(t *testing.T) {
	s := newShell(t, plainStack)
	require.NoError(t, os.WriteFile(filepath.Join(s.project, "Pulumi.dev.yaml"), nil, 0o600))
	code, out, _ := s.run("__complete", "preview", "--stack", "")
	assert.Equal(t, exitOK, code)
	assert.Equal(t, "dev\nprod\n:4\n", out)
	for _, name := range []string{"bash", "zsh", "fish"} {
		code, out, _ := s.run("completion", name)
		assert.Equal(t, exitOK, code)
		assert.Contains(t, out, "homelab", name)
	}
	if bash, err := exec.LookPath("bash"); err == nil {
		_, script, _ := s.run("completion", "bash")
		cmd := exec.CommandContext(t.Context(), bash, "-n")
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, fmt.Sprintf("bash refuses the script: %s", out))
	}
}

// The lines that a hint proposes name resources of the stack, whose URNs have its short name.
func TestHintsNameTheStack(t *testing.T) {
	s := newRealShell(t, unprotected)
	s.pulumi("stack", "select", "prod")
	var errOut bytes.Buffer
	a := newApp()
	a.stdin, a.stdout, a.stderr = s.stdin, io.Discard, &errOut
	a.real = func(string) pulumi.RunFunc {
		return func(*pulumi.Context) error {
			return errors.New("exceeded maximum number of zone rulesets for phase 'http_ratelimit'")
		}
	}
	a.cli = func(context.Context, io.Writer) (string, error) { return s.cli, nil }
	assert.Equal(t, exitFailed, a.run(t.Context(), []string{"preview"}))
	assert.Contains(t, errOut.String(), "\nhint: ")
	assert.Contains(t, errOut.String(), "urn:pulumi:prod::homelab::")
	assert.NotContains(t, errOut.String(), "organization")
}
