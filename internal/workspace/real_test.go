package workspace

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/settings"
	"homelab/internal/unusable"
)

// passphrase is that of the stacks that a real CLI makes for the tests.
const passphrase = "correct horse"

// realProject is a project and a home of the CLI's own, with a backend in a folder. The environment
// holds no passphrase.
type realProject struct {
	t   *testing.T
	dir string
	cli string
}

func newRealProject(t *testing.T, stackYAML string) *realProject {
	t.Helper()
	t.Setenv("PULUMI_HOME", t.TempDir())
	t.Setenv("PULUMI_BACKEND_URL", "file://"+t.TempDir())
	t.Setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
	for _, name := range []string{passphraseVariable, passphraseFileVariable, "PULUMI_STACK"} {
		t.Setenv(name, "") // puts the variable back after the test
		require.NoError(t, os.Unsetenv(name))
	}
	return &realProject{t: t, dir: project(t, stackYAML), cli: pulumiCLI(t)}
}

// pulumi runs the CLI as its user would, who knows the passphrase.
func (p *realProject) pulumi(args ...string) string {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), p.cli, append([]string{"--non-interactive", "-C", p.dir}, args...)...)
	cmd.Env = append(os.Environ(), passphraseVariable+"="+passphrase)
	out, err := cmd.CombinedOutput()
	require.NoError(p.t, err, string(out))
	return string(out)
}

func (p *realProject) open(stack string, ask func(string) (string, error)) (*Workspace, error) {
	w, err := Real(p.t.Context(), RealOptions{Project: p.dir, Stack: stack, Program: tree, CLI: p.cli, Ask: ask})
	if err == nil {
		p.t.Cleanup(func() { assert.NoError(p.t, w.Close()) })
	}
	return w, err
}

// answers gives these answers, one at each question.
func answers(list ...string) func(string) (string, error) {
	return func(string) (string, error) {
		if len(list) == 0 {
			return "", errors.New("asked too often")
		}
		answer := list[0]
		list = list[1:]
		return answer, nil
	}
}

func TestPassphrase(t *testing.T) {
	p := newRealProject(t, "config:\n  homelab:leaves: \"1\"\n")
	p.pulumi("stack", "init", "prod")
	p.pulumi("config", "set", "--secret", "homelab:password", "hunter22")

	_, err := p.open("", nil)
	require.ErrorIs(t, err, ErrConfig)
	require.ErrorContains(t, err, "set PULUMI_CONFIG_PASSPHRASE_FILE to a file that holds it, or PULUMI_CONFIG_PASSPHRASE")

	_, err = p.open("", answers("wrong", "wrong", "wrong"))
	require.ErrorIs(t, err, ErrConfig)
	require.ErrorContains(t, err, "none of 3 answers was the passphrase of stack prod")

	w, err := p.open("", answers("wrong", passphrase))
	require.NoError(t, err)
	for range 2 { // the answer serves every operation
		preview, err := w.Preview(t.Context())
		require.NoError(t, err, preview.Log)
	}
	up, err := w.Up(t.Context())
	require.NoError(t, err, up.Log)
	assert.NotContains(t, strings.Join(w.cli.env, "\n"), passphrase)
	assert.NotContains(t, up.Log, passphrase)
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "homelab-*"))
	require.NoError(t, err)
	for _, path := range left {
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() {
			assert.NotContains(t, readFile(t, path), passphrase)
		}
	}

	file := filepath.Join(t.TempDir(), "passphrase")
	require.NoError(t, os.WriteFile(file, []byte(passphrase+"\n"), 0o600))
	t.Setenv(passphraseFileVariable, file)
	w, err = p.open("", nil)
	require.NoError(t, err)
	_, err = w.Preview(t.Context())
	require.NoError(t, err)

	require.NoError(t, os.WriteFile(file, []byte("wrong"), 0o600))
	_, err = p.open("", answers(passphrase))
	require.ErrorIs(t, err, ErrConfig)
	require.ErrorContains(t, err, "is not the passphrase of stack prod")
	t.Setenv(passphraseFileVariable, "/nowhere")
	_, err = p.open("", nil)
	require.ErrorIs(t, err, ErrConfig)

	t.Setenv(passphraseVariable, "wrong") // wins over the file, as in the CLI
	_, err = p.open("", nil)
	require.ErrorContains(t, err, "the value of PULUMI_CONFIG_PASSPHRASE is not the passphrase of stack prod")
}

func TestSelectedStackIsThatOfPlainPulumi(t *testing.T) {
	p := newRealProject(t, "config:\n  homelab:leaves: \"1\"\n")
	selected := func() string {
		t.Helper()
		name, err := SelectedStack(p.dir)
		require.NoError(t, err)
		return name
	}
	assert.Empty(t, selected())
	p.pulumi("stack", "init", "prod")
	p.pulumi("stack", "init", "other")
	assert.Equal(t, "organization/homelab/other", selected())
	p.pulumi("stack", "select", "prod")
	assert.Equal(t, "organization/homelab/prod", selected())

	w, err := p.open(selected(), answers(passphrase))
	require.NoError(t, err)
	assert.Equal(t, "prod", w.Stack())
	_, err = w.Preview(t.Context())
	require.NoError(t, err)

	t.Run("PULUMI_STACK wins", func(t *testing.T) {
		t.Setenv("PULUMI_STACK", "mine")
		name, err := SelectedStack(p.dir)
		require.NoError(t, err)
		assert.Equal(t, "mine", name)
	})
	t.Run("another backend has its own", func(t *testing.T) {
		t.Setenv("PULUMI_BACKEND_URL", "file://"+t.TempDir())
		name, err := SelectedStack(p.dir)
		require.NoError(t, err)
		assert.Empty(t, name)
	})
	t.Run("logged in", func(t *testing.T) {
		backend := os.Getenv("PULUMI_BACKEND_URL")
		t.Setenv("PULUMI_BACKEND_URL", "")
		require.NoError(t, os.Unsetenv("PULUMI_BACKEND_URL"))
		p.pulumi("login", backend)
		name, err := SelectedStack(p.dir)
		require.NoError(t, err)
		assert.Equal(t, "organization/homelab/prod", name)
	})
	p.pulumi("stack", "unselect")
	assert.Empty(t, selected())
}

// Everything that a user has to set right before anything can happen, with the real CLI as the
// judge.
func TestUnusableConfiguration(t *testing.T) {
	p := newRealProject(t, "config:\n  homelab:leaves: \"1\"\n")
	t.Setenv(passphraseVariable, passphrase)
	fails := func(program pulumi.RunFunc, want string) {
		t.Helper()
		w, err := Real(t.Context(), RealOptions{
			Project: p.dir, Program: func(string) pulumi.RunFunc { return program }, CLI: p.cli,
		})
		require.NoError(t, err)
		summary, err := w.Up(t.Context())
		require.ErrorIs(t, err, ErrConfig, summary.Log)
		require.ErrorContains(t, err, want)
		assert.Equal(t, Unusable, summary.Result)
	}
	nothing := func(*pulumi.Context) error { return nil }
	fails(nothing, "make the stack with pulumi stack init prod")

	p.pulumi("stack", "init", "prod")
	fails(func(*pulumi.Context) error {
		return &settings.Problems{Stack: "prod", List: []settings.Problem{{Path: "homelab:domain", What: "is missing", Remedy: "set it"}}}
	}, "reading configuration of stack prod: 1 problem\n  - homelab:domain: is missing; set it")
	fails(func(*pulumi.Context) error { return unusable.Mark(errors.New("the zone is another one")) }, "the zone is another one")

	projectYAML := filepath.Join(p.dir, projectFile)
	good := readFile(t, projectYAML)
	for add, want := range map[string]string{
		"requiredPulumiVersion: \">=99.0.0\"\n":                                         "does not satisfy the version range",
		"config:\n  homelab:count:\n    type: integer\n":                                "homelab:count",
		"config:\n  homelab:leaves:\n    type: array\n    items:\n      type: string\n": "homelab:leaves",
	} {
		require.NoError(t, os.WriteFile(projectYAML, []byte(good+add), 0o600))
		fails(nothing, want)
	}
	require.NoError(t, os.WriteFile(projectYAML, []byte(good), 0o600))

	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "Pulumi.prod.yaml"), []byte("config: [\n"), 0o600))
	_, err := p.open("", nil)
	require.ErrorIs(t, err, ErrConfig)

	t.Setenv("PULUMI_BACKEND_URL", "")
	require.NoError(t, os.Unsetenv("PULUMI_BACKEND_URL"))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "Pulumi.prod.yaml"), []byte("config: {}\n"), 0o600))
	fails(nothing, "pulumi login")
}

func TestAMistakeOfTheProgramIsNoMatterOfConfiguration(t *testing.T) {
	p := newRealProject(t, "config: {}\n")
	t.Setenv(passphraseVariable, passphrase)
	p.pulumi("stack", "init", "prod")
	w, err := Real(t.Context(), RealOptions{Project: p.dir, CLI: p.cli, Program: func(string) pulumi.RunFunc {
		return func(*pulumi.Context) error { return errors.New("the program has a mistake") }
	}})
	require.NoError(t, err)
	summary, err := w.Up(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrConfig)
	assert.Equal(t, Failed, summary.Result)
}
