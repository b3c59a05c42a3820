package workspace

import (
	"crypto/sha1" // the CLI names its files so
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	sdkworkspace "github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
)

// selection is what `pulumi stack select` writes: the selected stack of each backend. Stack is from
// before the CLI told backends apart.
type selection struct {
	Stack  string            `json:"stack"`
	Stacks map[string]string `json:"stacks"`
}

// SelectedStack returns the stack that a plain `pulumi` in the project's folder would use: the one
// in PULUMI_STACK, or else the one that `pulumi stack select` chose. It is "" when there is none.
// It reads files of the user's Pulumi folder only, and asks no backend.
func SelectedStack(project string) (string, error) {
	if name, set := os.LookupEnv("PULUMI_STACK"); set {
		return name, nil
	}
	file, err := filepath.Abs(filepath.Join(project, projectFile))
	if err != nil {
		return "", configError{err}
	}
	loaded, err := sdkworkspace.LoadProject(file)
	if err != nil {
		return "", configErrorf("reading the project %s: %w", file, err)
	}
	sum := sha1.Sum([]byte(file))
	path, err := sdkworkspace.GetPulumiPath("workspaces",
		fmt.Sprintf("%s-%s-workspace.json", loaded.Name, hex.EncodeToString(sum[:])))
	if err != nil {
		return "", configError{err}
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", configErrorf("reading the selected stack: %w", err)
	}
	var chosen selection
	if err := json.Unmarshal(data, &chosen); err != nil {
		return "", configErrorf("reading the selected stack in %s: %w", path, err)
	}
	if len(chosen.Stacks) == 0 {
		return chosen.Stack, nil
	}
	backend, err := backendURL(loaded)
	if err != nil {
		return "", configErrorf("reading where Pulumi keeps the state: %w", err)
	}
	if name, found := chosen.Stacks[backend]; found {
		return name, nil
	}
	return chosen.Stack, nil
}

// backendURL returns where the CLI keeps the project's state; "" when the user has not logged in.
func backendURL(project *sdkworkspace.Project) (string, error) {
	if url := os.Getenv("PULUMI_BACKEND_URL"); url != "" {
		return url, nil
	}
	if project.Backend != nil && project.Backend.URL != "" {
		return project.Backend.URL, nil
	}
	credentials, err := sdkworkspace.GetStoredCredentials()
	return credentials.Current, err
}
