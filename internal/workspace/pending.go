package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
)

// forgetDeleted takes out of the stack's state what an interrupted replacement has deleted already, if an operation
// failed. It returns the operation's error.
//
// The engine keeps a resource that it deleted before its replacement was made, marked as such. When something that the
// resource depends on is replaced again, it deletes the resource a second time (Pulumi 3.259,
// deploy/step_generator.go: dependents are not asked for the mark), which Docker's provider refuses for a container that
// is gone, and a refresh leaves what is marked as it is. So a replacement of the server that failed half way could never
// be completed. What is out of the state is simply made.
func (w *Workspace) forgetDeleted(ctx context.Context, failed error) error {
	if failed == nil {
		return nil
	}
	// Also after an interruption, or the next operation would meet what this one left.
	ctx = context.WithoutCancel(ctx)
	stack, err := w.stack.Export(ctx)
	if err != nil {
		return failed // there is no state yet, or no way to it: the operation's error says so
	}
	deployment, changed, err := withoutDeleted(stack.Deployment)
	if err == nil && changed {
		err = w.stack.Import(ctx, apitype.UntypedDeployment{Version: stack.Version, Features: stack.Features, Deployment: deployment})
	}
	if err != nil {
		err = fmt.Errorf("taking out of the state what is deleted already: %w", err)
	}
	return errors.Join(failed, err)
}

// withoutDeleted returns the deployment without the resources that are marked as deleted before their replacement, and
// without references to them. Everything else stays as it is written.
func withoutDeleted(text json.RawMessage) (_ json.RawMessage, changed bool, err error) {
	var deployment map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&deployment); err != nil {
		return nil, false, err
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
