//go:build unix

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/readme"
)

// Every call of homelab that a page or the help shows must be one that homelab takes.
func TestDocumentedCommandLinesAreTaken(t *testing.T) {
	lines := map[string][]string{}
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, "../../README.md", "../../CONTRIBUTING.md", "../../SECURITY.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		lines[filepath.Base(page)] = readme.Commands(string(text), "")
	}
	workflows, err := filepath.Glob("../../.github/workflows/*.yml")
	require.NoError(t, err)
	for _, workflow := range workflows {
		text, err := os.ReadFile(workflow)
		require.NoError(t, err)
		for _, call := range regexp.MustCompile(`bin/homelab .*`).FindAllString(string(text), -1) {
			lines[filepath.Base(workflow)] = append(lines[filepath.Base(workflow)], regexp.MustCompile(`"\$[A-Z_]+"`).ReplaceAllString(call, "true"))
		}
	}
	root := newApp().rootCommand()
	for _, each := range root.Commands() {
		lines["homelab "+each.Name()+" --help"] = readme.Commands("```sh\n"+each.Example+"\n```\n", "")
	}
	found := map[string]int{}
	for where, list := range lines {
		for _, line := range list {
			for call := range strings.SplitSeq(strings.NewReplacer("|", "&&", ";", "&&").Replace(line), "&&") {
				call, _, _ = strings.Cut(call, " > ")
				words := strings.Fields(call)
				if len(words) == 0 || filepath.Base(words[0]) != "homelab" {
					continue
				}
				found[where]++
				cmd, rest, err := newApp().rootCommand().Find(words[1:])
				require.NoError(t, err, "%s: %s", where, call)
				assert.NotEqual(t, "homelab", cmd.Name(), "%s: %s: no such command", where, call)
				assert.NoError(t, cmd.ParseFlags(rest), "%s: %s", where, call)
				assert.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), "%s: %s", where, call)
			}
		}
	}
	assert.GreaterOrEqual(t, found["README.md"], 10)
	assert.Positive(t, found["deploy.yml"])
	for _, name := range []string{"preview", "up", "refresh", "destroy", "audit", "graph", "wire", "machine"} {
		assert.Positive(t, found["homelab "+name+" --help"], "the help of %s has no example", name)
	}
}
