package workspace

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
)

// pulumiCLI is found or built once for all tests.
func pulumiCLI(t *testing.T) string {
	t.Helper()
	path, err := toolchain.Pulumi(t.Context(), os.Stderr)
	require.NoError(t, err)
	return path
}

// component is a resource that needs no cloud.
type component struct{ pulumi.ResourceState }

// tree is treeProgram, wherever the project is.
func tree(string) pulumi.RunFunc { return treeProgram }

// treeProgram registers a small tree whose size the configuration decides, and exports a secret.
func treeProgram(ctx *pulumi.Context) error {
	text, _ := ctx.GetConfig("homelab:leaves")
	leaves, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("homelab:leaves: %w", err)
	}
	password, _ := ctx.GetConfig("homelab:password")
	secret := pulumi.ToSecret(pulumi.String(password))
	top := &component{}
	if err := ctx.RegisterComponentResource("test:index:Top", "top", top); err != nil {
		return err
	}
	for i := range leaves {
		leaf := &component{}
		name := fmt.Sprintf("leaf-%d", i)
		if err := ctx.RegisterComponentResource("test:index:Leaf", name, leaf, pulumi.Parent(top)); err != nil {
			return err
		}
		if err := ctx.RegisterResourceOutputs(leaf, pulumi.Map{"n": pulumi.Int(i)}); err != nil {
			return err
		}
	}
	if fail, _ := ctx.GetConfig("homelab:fail"); fail == "true" {
		return errors.New("the program fails as told")
	}
	ctx.Export("hostname", pulumi.String("server.example.com"))
	ctx.Export("password", secret)
	ctx.Export("nested", pulumi.Map{"secret": secret, "n": pulumi.Int(3)})
	return nil
}

var passwordSecret = Secret{Key: "homelab:password", Generate: func(random io.Reader) (string, error) {
	data := make([]byte, 20)
	if _, err := io.ReadFull(random, data); err != nil {
		return "", err
	}
	return hex.EncodeToString(data), nil
}}

// project writes a project with this stack configuration.
func project(t *testing.T, stackYAML string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), []byte("name: homelab\nruntime: go\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.prod.yaml"), []byte(stackYAML), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "images"), 0o700))
	return dir
}

func options(t *testing.T, stackYAML string) Options {
	t.Helper()
	return Options{
		Project: project(t, stackYAML), Program: tree, CLI: pulumiCLI(t), Secrets: []Secret{passwordSecret},
	}
}

func open(t *testing.T, opts Options) *Simulation {
	t.Helper()
	w, err := Simulated(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.Close()) })
	return w
}

const threeLeaves = `config:
  homelab:leaves: 3
  homelab:password:
    secure: v1:not:ours
encryptionsalt: v1:not:ours
`

func TestLifeOfASimulation(t *testing.T) {
	opts := options(t, threeLeaves)
	opts.State = filepath.Join(t.TempDir(), "state")
	w := open(t, opts)
	assert.Equal(t, []string{
		"filled 1 missing secrets with generated values for the simulation: homelab:password",
	}, w.Notes())
	secrets, err := w.SecretValues(t.Context())
	require.NoError(t, err)
	password := secrets["homelab:password"]
	require.Len(t, password, 40)

	preview, err := w.Preview(t.Context())
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"create": 5}, preview.Changes)
	assert.True(t, preview.HasChanges())
	assert.True(t, preview.Simulated)

	up, err := w.Up(t.Context())
	require.NoError(t, err, up.Log)
	assert.Equal(t, Succeeded, up.Result)
	assert.Equal(t, map[string]int{"create": 5}, up.Changes)
	assert.Equal(t, map[string]any{
		"hostname": "server.example.com", "password": "[secret]",
		"nested": map[string]any{"n": 3.0, "secret": "[secret]"},
	}, up.Outputs)
	assert.Equal(t, preview.Resources, up.Resources)
	assert.NotEmpty(t, up.Events)
	assert.Empty(t, up.Problems)

	deployment, err := w.Deployment()
	require.NoError(t, err)
	assert.Len(t, deployment.Resources, 5)
	state, err := w.StateFile()
	require.NoError(t, err)
	for what, text := range map[string]string{"log": up.Log + preview.Log, "state": readFile(t, state)} {
		assert.NotContains(t, text, password, what)
	}

	// The folder is locked while it is open, and everything is there when it is opened again.
	blocked, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = Simulated(blocked, opts)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, w.Close())

	again := open(t, opts)
	same, err := again.Preview(t.Context(), ExpectNoChanges())
	require.NoError(t, err)
	assert.False(t, same.HasChanges())
	assert.Equal(t, map[string]int{"same": 5}, same.Changes)
	kept, err := again.SecretValues(t.Context())
	require.NoError(t, err)
	assert.Equal(t, secrets, kept)

	refresh, err := again.Refresh(t.Context())
	require.NoError(t, err)
	assert.False(t, refresh.HasChanges())

	destroy, err := again.Destroy(t.Context())
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"delete": 5}, destroy.Changes)
	deployment, err = again.Deployment()
	require.NoError(t, err)
	assert.Empty(t, deployment.Resources)
}

// A secret that only another setting needs is made up with that setting alone.
func TestASecretThatASettingNeeds(t *testing.T) {
	for name, c := range map[string]struct {
		setting any
		made    bool
	}{
		"absent": {nil, false}, "empty": {map[string]any{}, false}, "given": {map[string]any{"host": "a"}, true}, "of the wrong kind": {"a", true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(t, threeLeaves)
			opts.Config = map[string]any{"homelab:mail": c.setting}
			opts.Secrets = append(opts.Secrets, Secret{Key: "homelab:mailPassword", Generate: passwordSecret.Generate, Needs: "homelab:mail"})
			secrets, err := open(t, opts).SecretValues(t.Context())
			require.NoError(t, err)
			if c.made {
				assert.Contains(t, secrets, "homelab:mailPassword")
			} else {
				assert.NotContains(t, secrets, "homelab:mailPassword")
			}
		})
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

func TestFailureNamesTheProblemAndTheNextUpConverges(t *testing.T) {
	opts := options(t, threeLeaves)
	opts.Config = map[string]any{"homelab:fail": true}
	w := open(t, opts)
	up, err := w.Up(t.Context())
	require.ErrorContains(t, err, "up of stack prod failed")
	require.ErrorContains(t, err, "the program fails as told")
	require.NotNil(t, up)
	assert.Equal(t, Failed, up.Result)
	assert.NotEmpty(t, up.Problems)

	require.NoError(t, w.SetConfig(map[string]any{"homelab:fail": nil, "homelab:leaves": 1}))
	up, err = w.Up(t.Context())
	require.NoError(t, err)
	assert.Equal(t, Succeeded, up.Result)
	leaves := 0
	for _, each := range up.Resources {
		if each.Type == "test:index:Leaf" && each.Op != "delete" {
			leaves++
		}
	}
	assert.Equal(t, 1, leaves)

	_, err = w.Up(t.Context(), ExpectNoChanges())
	require.NoError(t, err)
	require.NoError(t, w.SetConfig(map[string]any{"homelab:leaves": 2}))
	_, err = w.Preview(t.Context(), ExpectNoChanges())
	require.ErrorContains(t, err, "no changes were expected")
}

func TestProtectionIsLiftedBySetting(t *testing.T) {
	w := open(t, options(t, threeLeaves))
	protected, err := w.Protected()
	require.NoError(t, err)
	assert.True(t, protected, "the default")
	summary, err := w.LiftProtection(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "up", summary.Command)
	protected, err = w.Protected()
	require.NoError(t, err)
	assert.False(t, protected)
}

func TestFailureBeforeTheEngineStarts(t *testing.T) {
	opts := options(t, threeLeaves)
	dir := t.TempDir()
	opts.CLI = filepath.Join(dir, "pulumi")
	require.NoError(t, os.WriteFile(opts.CLI, []byte("#!/bin/sh\necho 'error: no engine today' >&2\nexit 7\n"), 0o700))
	w := open(t, opts)
	summary, err := w.Up(t.Context())
	require.EqualError(t, err, "up of stack prod failed: no engine today")
	assert.Equal(t, []string{"no engine today"}, summary.Problems)
	assert.Empty(t, summary.Resources)
	_, err = w.Preview(t.Context())
	require.ErrorContains(t, err, "no engine today")
}

func TestOptionsThatCannotWork(t *testing.T) {
	good := options(t, threeLeaves)
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "file"), nil, 0o600))
	for name, change := range map[string]func(*Options){
		"no project":      func(o *Options) { o.Project = t.TempDir() },
		"no stack":        func(o *Options) { o.Stack = "other" },
		"bad stack name":  func(o *Options) { o.Stack = "a b" },
		"foreign folder":  func(o *Options) { o.State = full },
		"state is a file": func(o *Options) { o.State = filepath.Join(full, "file") },
		"the project":     func(o *Options) { o.State = o.Project },
		"no program":      func(o *Options) { o.Program = nil },
		"no CLI":          func(o *Options) { o.CLI = "" },
		"bad path":        func(o *Options) { o.Config = map[string]any{"x": 1} },
	} {
		opts := good
		change(&opts)
		_, err := Simulated(t.Context(), opts)
		require.ErrorIs(t, err, ErrConfig, name)
	}
	opts := good
	opts.Secrets = []Secret{{Key: "homelab:x", Generate: func(io.Reader) (string, error) { return "", assert.AnError }}}
	_, err := Simulated(t.Context(), opts)
	require.ErrorIs(t, err, assert.AnError)
	assert.Contains(t, readFile(t, filepath.Join(good.Project, "Pulumi.prod.yaml")), "v1:not:ours", "the project stays as it is")
}

func TestTemporaryFolderIsRemoved(t *testing.T) {
	w, err := Simulated(t.Context(), options(t, threeLeaves))
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(w.Dir(), passphraseFile))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, w.Close())
	assert.NoDirExists(t, w.Dir())
	require.NoError(t, w.Close(), "a second close does nothing")
}

// An engine that is killed must leave the state of what it has made, where there is somebody to go
// on from it; elsewhere nothing is written twice.
func TestAKeptStateIsWrittenStepByStep(t *testing.T) {
	for name, state := range map[string]string{"kept": filepath.Join(t.TempDir(), "state"), "temporary": ""} {
		t.Run(name, func(t *testing.T) {
			var w *Simulation
			var written int
			opts := options(t, threeLeaves)
			opts.State = state
			opts.Program = func(string) pulumi.RunFunc {
				return func(ctx *pulumi.Context) error {
					top := &component{}
					if err := ctx.RegisterComponentResource("test:index:Top", "top", top); err != nil {
						return err
					}
					made := make(chan pulumi.URN, 1)
					top.URN().ApplyT(func(urn pulumi.URN) pulumi.URN { made <- urn; return urn })
					<-made
					deployment, err := w.Deployment()
					written = len(deployment.Resources)
					return err
				}
			}
			w = open(t, opts)
			up, err := w.Up(t.Context())
			require.NoError(t, err, up.Log)
			deployment, err := w.Deployment()
			require.NoError(t, err)
			assert.Len(t, deployment.Resources, 2)
			logs := filepath.Join(w.Dir(), homeDir, pulumiHome, "logs")
			if state == "" {
				assert.Zero(t, written)
				assert.Empty(t, readFile(t, logs))
			} else {
				assert.Equal(t, 2, written)
				assert.DirExists(t, logs)
			}
		})
	}
}

// So must the simulated clouds: the engine would else believe in what they do not know.
func TestKeptCloudsAreSavedWhileTheyChange(t *testing.T) {
	opts := options(t, threeLeaves)
	opts.State = filepath.Join(t.TempDir(), "state")
	opts.Program = func(string) pulumi.RunFunc {
		return func(*pulumi.Context) error {
			_ = os.Remove(filepath.Join(opts.State, cloudsFile)) // the first operation finds none
			assert.Eventually(t, func() bool {
				_, err := Kept(opts.State, nil)
				return err == nil
			}, 10*time.Second, 100*time.Millisecond)
			return nil
		}
	}
	w := open(t, opts)
	up, err := w.Up(t.Context())
	require.NoError(t, err, up.Log)
}

func TestSimulationSeesNoCredentials(t *testing.T) {
	opts := options(t, threeLeaves)
	opts.Env = map[string]string{"EXTRA": "yes"}
	dir := t.TempDir()
	opts.CLI = filepath.Join(dir, "pulumi")
	script := "#!/bin/sh\nenv > " + filepath.Join(dir, "seen") + "\nexit 1\n"
	require.NoError(t, os.WriteFile(opts.CLI, []byte(script), 0o700))
	for _, name := range []string{
		"HCLOUD_TOKEN", "CLOUDFLARE_API_TOKEN", "TAILSCALE_OAUTH_CLIENT_SECRET", "PULUMI_ACCESS_TOKEN", "DOCKER_HOST",
		"SSH_AUTH_SOCK", "PULUMI_CONFIG_PASSPHRASE", "AWS_SECRET_ACCESS_KEY",
	} {
		t.Setenv(name, "leak-canary")
	}
	_, err := open(t, opts).Up(t.Context())
	require.Error(t, err)
	seen := readFile(t, filepath.Join(dir, "seen"))
	assert.NotContains(t, seen, "leak-canary")
	for _, expected := range []string{
		"EXTRA=yes", "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true", "PULUMI_SKIP_UPDATE_CHECK=true",
		"PULUMI_BACKEND_URL=file://", "PULUMI_CONFIG_PASSPHRASE_FILE=", "PULUMI_DEBUG_PROVIDERS=",
	} {
		assert.Contains(t, seen, expected)
	}

	restore := ScrubEnvironment()
	_, found := os.LookupEnv("HCLOUD_TOKEN")
	assert.False(t, found)
	assert.NotEmpty(t, os.Getenv("PATH"))
	restore()
	assert.Equal(t, "leak-canary", os.Getenv("HCLOUD_TOKEN"))
}

// A real stack is the one plain pulumi sees: made by it, readable by it, and no file of the project
// changes.
func TestRealStackIsThatOfPlainPulumi(t *testing.T) {
	cli := pulumiCLI(t)
	dir := project(t, "config:\n  homelab:leaves: \"2\"\n  homelab:password: plain\n")
	t.Setenv("PULUMI_HOME", t.TempDir())
	t.Setenv("PULUMI_BACKEND_URL", "file://"+t.TempDir())
	t.Setenv("PULUMI_CONFIG_PASSPHRASE", "test")
	t.Setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
	plain := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), cli, append([]string{"--non-interactive", "-C", dir}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	open := func() *Workspace {
		w, err := Real(t.Context(), RealOptions{Project: dir, Program: tree, CLI: cli})
		require.NoError(t, err)
		return w
	}
	_, err := open().Preview(t.Context())
	require.ErrorContains(t, err, "no stack named 'prod' found", "the stack is the user's to make")

	plain("stack", "init", "prod")
	plain("stack", "init", "other")
	before := [2]string{readFile(t, filepath.Join(dir, "Pulumi.yaml")), readFile(t, filepath.Join(dir, "Pulumi.prod.yaml"))}

	w := open()
	up, err := w.Up(t.Context())
	require.NoError(t, err, up.Log)
	assert.False(t, up.Simulated)
	assert.Equal(t, map[string]int{"create": 4}, up.Changes)
	assert.Contains(t, plain("stack", "output", "hostname", "--stack", "prod"), "server.example.com")
	assert.Contains(t, plain("stack", "ls"), "other*", "the user's selection stays")
	after := [2]string{readFile(t, filepath.Join(dir, "Pulumi.yaml")), readFile(t, filepath.Join(dir, "Pulumi.prod.yaml"))}
	assert.Equal(t, before, after)

	destroy, err := w.Destroy(t.Context())
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"delete": 4}, destroy.Changes)
	require.NoError(t, w.Close())
}

func TestInterruptEndsTheOperation(t *testing.T) {
	opts := options(t, threeLeaves)
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	opts.Program = func(string) pulumi.RunFunc {
		return func(program *pulumi.Context) error {
			close(started)
			<-program.Context().Done()
			return program.Context().Err()
		}
	}
	w := open(t, opts)
	go func() {
		<-started
		cancel()
	}()
	summary, err := w.Up(ctx)
	require.Error(t, err)
	assert.Equal(t, Failed, summary.Result)
	assert.Contains(t, summary.Problems, "interrupted: context canceled")
}

func TestSecondOperationOnAFolderSaysWhatItWaitsFor(t *testing.T) {
	opts := options(t, threeLeaves)
	opts.State = filepath.Join(t.TempDir(), "state")
	open(t, opts)
	ctx, cancel := context.WithCancel(t.Context())
	var said strings.Builder
	opts.Stderr = writerFunc(func(text []byte) (int, error) {
		cancel()
		return said.Write(text)
	})
	_, err := Simulated(ctx, opts)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, "waiting for another operation on "+opts.State+"\n", said.String())
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(text []byte) (int, error) { return f(text) }
