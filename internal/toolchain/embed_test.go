package toolchain

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pageTool needs a module whose sources embed a page that is not there.
func pageTool(t *testing.T) Tool {
	t.Helper()
	tool := helloTool(t)
	write(t, filepath.Join(tool.Dir, "go.mod"), "module hello\n\ngo 1.26\n\nrequire example.com/page v0.0.0\n\nreplace example.com/page => ./page\n")
	write(t, filepath.Join(tool.Dir, "page/go.mod"), "module example.com/page\n\ngo 1.26\n")
	write(t, filepath.Join(tool.Dir, "page/page.go"), "package page\n\nimport _ \"embed\"\n\n//go:embed dist/index.html\nvar Text string\n")
	write(t, filepath.Join(tool.Dir, "main.go"), "package main\n\nimport (\n\t\"os\"\n\n\t\"example.com/page\"\n)\n\nfunc main() { os.Stdout.WriteString(page.Text) }\n")
	return tool
}

func TestWhatAModuleLacksIsAdded(t *testing.T) {
	cache, tool := t.TempDir(), pageTool(t)
	_, err := buildInto(t.Context(), cache, tool, nil)
	require.ErrorContains(t, err, "no matching files found", "without the page it does not compile")

	tool.Embeds = []Embed{{Module: "example.com/page", Path: "dist/index.html", Content: "a page"}}
	path, err := buildInto(t.Context(), cache, tool, nil)
	require.NoError(t, err)
	assert.Equal(t, "a page", run(t, path))
	assert.NoFileExists(t, filepath.Join(tool.Dir, "page/dist/index.html"), "the module itself is left alone")
	left, err := filepath.Glob(filepath.Join(cache, tool.Name, ".modules-*"))
	require.NoError(t, err)
	assert.Empty(t, left)

	tool.Embeds[0].Content = "another page"
	again, err := buildInto(t.Context(), cache, tool, nil)
	require.NoError(t, err)
	assert.Equal(t, "another page", run(t, again))

	tool.Embeds[0].Module = "example.com/none"
	_, err = buildInto(t.Context(), cache, tool, nil)
	require.ErrorContains(t, err, "example.com/none")
}
