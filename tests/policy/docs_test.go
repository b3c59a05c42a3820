package policy

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/policy/rules"
)

var update = flag.Bool("update", false, "write the tables of docs/policy.md")

// docs/policy.md lists the rules and the mutants as they are.
func TestThePoliciesDocument(t *testing.T) {
	const file = "../../docs/policy.md"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var table strings.Builder
	table.WriteString("| rule | severity | layer | what holds | where it does not | unknown values |\n|---|---|---|---|---|---|\n")
	for _, r := range rules.All() {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s | %s |\n", r.ID, r.Severity, r.Layer, r.Title, r.Remedy, r.Unknown)
	}
	want := between(t, string(text), "rules", table.String())
	table.Reset()
	table.WriteString("| the stack, and | found by |\n|---|---|\n")
	for _, m := range mutants() {
		fmt.Fprintf(&table, "| %s | `%s` |\n", m.what, strings.Join(m.caught, "`, `"))
	}
	want = between(t, want, "mutants", table.String())
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644))
		return
	}
	assert.Equal(t, want, string(text), "run: go test ./tests/policy -run %s -update", t.Name())
}

// between returns the text with another table between two marks.
func between(t *testing.T, text, mark, table string) string {
	begin, end := "<!-- "+mark+" -->\n", "<!-- /"+mark+" -->"
	before, rest, ok := strings.Cut(text, begin)
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	return before + begin + table + end + after
}
