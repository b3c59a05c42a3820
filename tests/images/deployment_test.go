package images

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"homelab/components/settings"
	"homelab/components/stack"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

// The types of the resources that are read.
const (
	containerType = "docker:index/container:Container"
	pulledType    = "docker:index/remoteImage:RemoteImage"
	builtType     = "docker:index/image:Image"
)

// container is a container as Docker was told to run it.
type container struct {
	Name         string   `json:"name"`
	Image        string   `json:"image"`
	User         string   `json:"user"`
	Entrypoints  []string `json:"entrypoints"`
	Command      []string `json:"command"`
	Envs         []string `json:"envs"`
	ReadOnly     bool     `json:"readOnly"`
	SecurityOpts []string `json:"securityOpts"`
	Capabilities struct {
		Adds  []string `json:"adds"`
		Drops []string `json:"drops"`
	} `json:"capabilities"`
	Mounts []mount `json:"mounts"`

	// folder is where the image is built from, in the checkout; empty for one that is pulled.
	folder string
}

type mount struct {
	Type     string `json:"type"`
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly"`
}

// deployment is what a machine was given.
type deployment struct {
	// containers are those of the machine, by name.
	containers []container
	// root is the folder that stands for the machine's root.
	root string
}

// deploy deploys the production example with changed settings, and writes the machine's files.
func deploy(t *testing.T, changes map[string]any) deployment {
	t.Helper()
	cli, err := toolchain.Pulumi(t.Context(), os.Stderr)
	require.NoError(t, err)
	options := workspace.Options{
		Project: checkout, Program: stack.From, CLI: cli, Stdout: io.Discard, Stderr: io.Discard, Config: changes,
		Env: map[string]string{"PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"},
	}
	for _, key := range settings.Secrets() {
		options.Secrets = append(options.Secrets, workspace.Secret{Key: key.Key, Generate: key.Generate, Needs: key.Needs})
	}
	w, err := workspace.Simulated(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	summary, err := w.Up(t.Context())
	if summary != nil {
		require.NoError(t, err, "%s", summary.Log)
	}
	require.NoError(t, err)
	d := deployment{root: t.TempDir()}
	d.read(t, w)
	for _, c := range w.World().Commands("") {
		d.file(t, c.Script, c.Stdin)
	}
	return d
}

// checkout is the repository.
const checkout = "../.."

func (d *deployment) read(t *testing.T, w *workspace.Simulation) {
	t.Helper()
	state, err := w.Deployment()
	require.NoError(t, err)
	pulled, built := map[string]string{}, map[string]string{}
	for _, r := range state.Resources {
		switch string(r.Type) {
		case pulledType:
			pulled[r.URN.Name()], _ = r.Inputs["name"].(string)
		case builtType:
			name, _ := r.Inputs["imageName"].(string)
			build, _ := r.Inputs["build"].(map[string]any)
			built[name], _ = build["context"].(string)
		}
	}
	for _, r := range state.Resources {
		if string(r.Type) != containerType {
			continue
		}
		properties, err := w.World().Live(containerType, r.URN.Name())
		require.NoError(t, err)
		text, err := json.Marshal(properties)
		require.NoError(t, err)
		var c container
		require.NoError(t, json.Unmarshal(text, &c))
		if c.folder = built[c.Image]; c.folder == "" {
			c.Image = pulled[c.Name]
		}
		require.NotEmpty(t, c.Image, c.Name)
		d.containers = append(d.containers, c)
	}
	slices.SortFunc(d.containers, func(a, b container) int { return strings.Compare(a.Name, b.Name) })
	require.Greater(t, len(d.containers), 5)
}

// file does what the machine's program does with a file. Owners stay away: who runs the tests need
// not be root, so everybody may read what the simulation generated, whatever the umask.
func (d *deployment) file(t *testing.T, script, stdin string) {
	t.Helper()
	words := strings.Fields(script)
	if len(words) < 4 || words[2] != "/usr/local/sbin/homelab-file" {
		return
	}
	path := d.path(words[len(words)-1])
	switch words[3] {
	case "put", "ensure":
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(stdin), 0o644))
		require.NoError(t, os.Chmod(path, 0o644))
	case "directory":
		require.NoError(t, os.MkdirAll(path, 0o755))
		require.NoError(t, os.Chmod(path, 0o755))
	}
}

// path is where a path of the machine is.
func (d *deployment) path(path string) string { return filepath.Join(d.root, path) }
