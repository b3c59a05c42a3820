package workspace

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
)

// SecretValues are the plain values of the simulation's encrypted configuration, by key. Tests look
// for them where they must not be.
func (w *Simulation) SecretValues(ctx context.Context) (map[string]string, error) {
	file, err := readStackFile(w.stackFilePath())
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	root := file.config().root
	for i := 0; i+1 < len(root.Content); i += 2 {
		ciphertext, found := isSecure(root.Content[i+1])
		if !found {
			continue
		}
		key := root.Content[i].Value
		if values[key], err = w.sealer.open(ctx, ciphertext); err != nil {
			return nil, fmt.Errorf("decrypting %s: %w", key, err)
		}
	}
	return values, nil
}

// Export returns the stack's state as pulumi stack export writes it, with its secrets encrypted. The
// Automation API's own Export has them in clear.
func (w *Workspace) Export(ctx context.Context) ([]byte, error) {
	state, err := w.stackCommand(ctx, nil, "export")
	if err != nil {
		return nil, fmt.Errorf("exporting stack %s: %w", w.stackName, err)
	}
	return []byte(state), nil
}

// KeptState returns the state of the one stack that a simulation keeps in its folder, in the form of
// Export, with its secrets encrypted. It asks neither the engine nor the simulated clouds, so it works
// while a command uses them. The error wraps fs.ErrNotExist where nothing is kept yet.
func KeptState(dir string) ([]byte, error) {
	stacks := filepath.Join(dir, backendDir, ".pulumi", "stacks")
	found, err := filepath.Glob(filepath.Join(stacks, "*", "*.json"))
	if err != nil {
		return nil, err
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no stack is kept in %s: %w", stacks, fs.ErrNotExist)
	case 1:
	default:
		return nil, fmt.Errorf("%d stacks are kept in %s, not one", len(found), stacks)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	var kept struct {
		Checkpoint struct {
			Latest json.RawMessage `json:"latest"`
		} `json:"checkpoint"`
	}
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("reading the state in %s: %w", found[0], err)
	}
	if len(kept.Checkpoint.Latest) == 0 {
		return nil, fmt.Errorf("the stack in %s has not been deployed yet: %w", found[0], fs.ErrNotExist)
	}
	return json.Marshal(apitype.UntypedDeployment{Version: 3, Deployment: kept.Checkpoint.Latest})
}

// StateFile is the file that holds the simulation's state, as the engine wrote it.
func (w *Simulation) StateFile() (string, error) {
	return w.checkpointPath()
}

// Deployment reads the simulation's state. It has no resources before the first Up.
func (w *Simulation) Deployment() (*apitype.DeploymentV3, error) {
	path, err := w.StateFile()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	var versioned apitype.VersionedCheckpoint
	if err := json.Unmarshal(data, &versioned); err != nil {
		return nil, fmt.Errorf("reading the state %s: %w", path, err)
	}
	var checkpoint apitype.CheckpointV3
	if err := json.Unmarshal(versioned.Checkpoint, &checkpoint); err != nil {
		return nil, fmt.Errorf("reading the state %s: %w", path, err)
	}
	if checkpoint.Latest == nil {
		return &apitype.DeploymentV3{}, nil
	}
	return checkpoint.Latest, nil
}
