//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/workspace"
)

const schemaFile = "../../docs/summary.schema.json"

// strictSchema is a committed schema, which lets later versions add properties, without that
// permission: in the document itself, and in those of its definitions.
func strictSchema(t *testing.T, file string, definitions ...string) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var document map[string]any
	require.NoError(t, json.Unmarshal(data, &document))
	document["additionalProperties"] = false
	for _, name := range definitions {
		document["$defs"].(map[string]any)[name].(map[string]any)["additionalProperties"] = false
	}
	strict, err := json.Marshal(document)
	require.NoError(t, err)
	compiled, err := jsonschema.CompileString(filepath.Base(file), string(strict))
	require.NoError(t, err)
	return compiled
}

// fitsSchema requires that an output is one document of a schema.
func fitsSchema(t *testing.T, schema *jsonschema.Schema, output string) {
	t.Helper()
	var document any
	require.NoError(t, json.Unmarshal([]byte(output), &document), "one JSON document and nothing else: %s", output)
	require.NoError(t, schema.Validate(document), output)
}

// fits holds an output to the schema, and returns it.
func fits(t *testing.T, schema *jsonschema.Schema, output string) workspace.Summary {
	t.Helper()
	fitsSchema(t, schema, output)
	var summary workspace.Summary
	require.NoError(t, json.Unmarshal([]byte(output), &summary))
	return summary
}

func TestJSONFitsItsSchema(t *testing.T) {
	schema := strictSchema(t, schemaFile, "resource")
	s := newShell(t, plainStack)
	state := t.TempDir()
	for _, each := range []struct {
		line   string
		stack  string
		code   int
		result workspace.Result
	}{
		{"preview --simulate", plainStack, exitOK, workspace.Succeeded},
		{"up --simulate --state " + state, plainStack, exitOK, workspace.Succeeded},
		{"up --simulate --state " + state, plainStack + "  homelab:label: other\n", exitOK, workspace.Succeeded},
		{"refresh --simulate --state " + state, plainStack, exitOK, workspace.Succeeded},
		{"up --simulate --state " + state, plainStack + "  homelab:broken: \"true\"\n", exitFailed, workspace.Failed},
		{"up --simulate --state " + state, plainStack + "  homelab:misfit: \"true\"\n", exitUsage, workspace.Unusable},
		{"preview --simulate --stack nowhere", plainStack, exitUsage, workspace.Unusable},
		{"up", plainStack, exitUsage, workspace.Unusable},
		{"destroy --simulate --state " + state, plainStack, exitOK, workspace.Succeeded},
	} {
		s.configure(each.stack)
		code, out, errOut := s.run(append(strings.Fields(each.line), "--json")...)
		require.Equal(t, each.code, code, "%s: %s", each.line, errOut)
		summary := fits(t, schema, out)
		assert.Equal(t, each.result, summary.Result, each.line)
		assert.Equal(t, strings.Fields(each.line)[0], summary.Command)
	}
}

// A schema that takes anything shows nothing.
func TestSchemaRefuses(t *testing.T) {
	schema := strictSchema(t, schemaFile, "resource")
	good := workspace.Unstarted("up", "prod", false, workspace.Failed, assert.AnError)
	for name, change := range map[string]func(map[string]any){
		"another version":          func(d map[string]any) { d["schemaVersion"] = 2 },
		"an unknown command":       func(d map[string]any) { d["command"] = "apply" },
		"an unknown result":        func(d map[string]any) { d["result"] = "maybe" },
		"a failure without reason": func(d map[string]any) { d["problems"] = []any{} },
		"a success with problems":  func(d map[string]any) { d["result"] = "succeeded" },
		"an unknown operation":     func(d map[string]any) { d["changes"] = map[string]any{"bend": 1} },
		"a property too many":      func(d map[string]any) { d["extra"] = 1 },
		"a property too few":       func(d map[string]any) { delete(d, "resources") },
		"a resource without a URN": func(d map[string]any) { d["resources"] = []any{map[string]any{"urn": "x"}} },
	} {
		text, err := json.Marshal(good)
		require.NoError(t, err)
		var document map[string]any
		require.NoError(t, json.Unmarshal(text, &document))
		require.NoError(t, schema.Validate(document))
		change(document)
		text, err = json.Marshal(document)
		require.NoError(t, err)
		var changed any
		require.NoError(t, json.Unmarshal(text, &changed))
		assert.Error(t, schema.Validate(changed), name)
	}
}
