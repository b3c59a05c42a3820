package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// forgetDeleted takes out of the stack's state what a replacement that failed has deleted already.
// It returns the operation's error.
//
// The engine keeps a resource that it deleted before its replacement was made, marked as such. When
// something that the resource depends on is replaced again, it deletes the resource a second time
// (Pulumi 3.259, deploy/step_generator.go: dependents are not asked for the mark), which Docker's
// provider refuses for a container that is gone, and a refresh leaves what is marked as it is. So a
// replacement of the server that failed half way could never be completed. What is out of the state
// is simply made.
//
// The Automation API's Export and Import would put every secret in clear into a temporary file;
// here the state stays encrypted, and goes through pipes.
func (w *Workspace) forgetDeleted(ctx context.Context, failed error) error {
	// Also after an interruption, or the next operation would meet what this one left.
	ctx = context.WithoutCancel(ctx)
	code := w.cli.code
	defer func() { w.cli.code = code }()
	state, err := w.stackCommand(ctx, nil, "export")
	if err != nil {
		return failed // there is no way to the state: the operation's error says so
	}
	var stack map[string]json.RawMessage
	if err := json.Unmarshal([]byte(state), &stack); err != nil {
		return errors.Join(failed, fmt.Errorf("reading the state: %w", err))
	}
	deployment, changed, err := withoutDeleted(stack["deployment"])
	if err != nil || !changed {
		return errors.Join(failed, err)
	}
	stack["deployment"] = deployment
	text, err := json.Marshal(stack)
	if err == nil {
		_, err = w.stackCommand(ctx, bytes.NewReader(text), "import")
	}
	if err != nil {
		err = fmt.Errorf("taking out of the state what is deleted already: %w", err)
	}
	return errors.Join(failed, err)
}

// stackCommand runs a command of "pulumi stack" for this stack, and returns what it prints.
func (w *Workspace) stackCommand(ctx context.Context, stdin io.Reader, name string) (string, error) {
	var env []string
	for key, value := range w.stack.Workspace().GetEnvVars() {
		env = append(env, key+"="+value)
	}
	out, errOut, _, err := w.cli.Run(ctx, w.stack.Workspace().WorkDir(), stdin, nil, nil, env, "stack", name, "--stack", w.stackName)
	if err != nil {
		return "", fmt.Errorf("pulumi stack %s: %w: %s", name, err, errOut)
	}
	return out, nil
}

// withoutDeleted returns the deployment without the resources that are marked as deleted before
// their replacement, and without references to them. Everything else stays as it is written.
func withoutDeleted(text json.RawMessage) (_ json.RawMessage, changed bool, err error) {
	var deployment map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&deployment); err != nil {
		return nil, false, err
	}
	// An import forgets operations that were interrupted, and with them what may exist without
	// being in the state.
	if operations, _ := deployment["pending_operations"].([]any); len(operations) > 0 {
		return text, false, nil
	}
	all, _ := deployment["resources"].([]any)
	var kept []map[string]any
	there := map[any]bool{}
	for _, each := range all {
		r, ok := each.(map[string]any)
		if !ok {
			return nil, false, errors.New("a resource of the state is no object")
		}
		if r["pendingReplacement"] == true {
			changed = true
			continue
		}
		kept = append(kept, r)
		there[r["urn"]] = true
	}
	if !changed {
		return text, false, nil
	}
	only := func(list any) any {
		var out []any
		for _, urn := range list.([]any) {
			if there[urn] {
				out = append(out, urn)
			}
		}
		return out
	}
	for _, r := range kept {
		if list, ok := r["dependencies"].([]any); ok {
			r["dependencies"] = only(list)
		}
		properties, _ := r["propertyDependencies"].(map[string]any)
		for name, list := range properties {
			if list, ok := list.([]any); ok {
				properties[name] = only(list)
			}
		}
		if urn, ok := r["deletedWith"]; ok && !there[urn] {
			delete(r, "deletedWith")
		}
	}
	deployment["resources"] = kept
	out, err := json.Marshal(deployment)
	return out, true, err
}
