package workspace

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

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
