package workspace

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
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
		Project: project(t, stackYAML), Program: treeProgram, CLI: pulumiCLI(t), Secrets: []Secret{passwordSecret},
	}
}

func open(t *testing.T, opts Options) *Workspace {
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

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}
