package standins_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/standins"
	"homelab/internal/toolchain"
)

// real are the repositories whose real programs are in the place of the image's.
var real = []string{
	"docker.io/crowdsecurity/crowdsec", "docker.io/valkey/valkey", "docker.io/prom/prometheus", "docker.io/prom/alertmanager",
	"docker.io/prom/blackbox-exporter", "docker.io/prom/node-exporter", "ghcr.io/home-operations/qbittorrent",
}

func root(t *testing.T) string {
	t.Helper()
	root, err := toolchain.Root()
	require.NoError(t, err)
	return root
}

// repositories are those of all images that the deployment runs.
func repositories(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), "components/images/images.go"), nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.CompositeLit)
		if !ok || len(literal.Elts) != 3 {
			return true
		}
		if name, ok := literal.Type.(*ast.Ident); !ok || name.Name != "Image" {
			return true
		}
		text, ok := literal.Elts[0].(*ast.BasicLit)
		if !ok {
			return true // FromOperator
		}
		repository, err := strconv.Unquote(text.Value)
		require.NoError(t, err)
		out = append(out, repository)
		return true
	})
	return out
}

func TestEveryImageHasASubstitute(t *testing.T) {
	substitutes := slices.Clone(real)
	for _, i := range standins.Images {
		substitutes = append(substitutes, i.Repository)
	}
	assert.ElementsMatch(t, repositories(t), substitutes)
}

// The program is told which stand-in it is by the name of the link that it is started by, where no
// variable says so.
func TestEveryLinkIsTheNameOfAStandIn(t *testing.T) {
	const program = "./internal/standins/program"
	source, err := os.ReadFile(filepath.Join(root(t), program, "main.go"))
	require.NoError(t, err)
	for _, i := range standins.Images {
		if i.Package != program || i.Env["HOMELAB_STANDIN"] != "" {
			continue
		}
		for name, what := range i.Files {
			if what == standins.ProgramPath {
				assert.Contains(t, string(source), strconv.Quote(path.Base(name))+": ", "%s: %s", i.Repository, name)
			}
		}
	}
}

func TestImages(t *testing.T) {
	for _, i := range standins.Images {
		t.Run(i.Repository, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(root(t), i.Package, "*.go"))
			require.NoError(t, err)
			require.NotEmpty(t, files, "there is no package %s", i.Package)
			parsed, err := parser.ParseFile(token.NewFileSet(), files[0], nil, parser.PackageClauseOnly)
			require.NoError(t, err)
			assert.Equal(t, "main", parsed.Name.Name)
			assert.NotEmpty(t, i.Instead)
			require.NotEmpty(t, i.Entrypoint)
			if first := i.Entrypoint[0]; first != standins.ProgramPath {
				assert.Equal(t, standins.ProgramPath, i.Files[first], "%s is not there", first)
			}
			for name, what := range i.Files {
				assert.True(t, path.IsAbs(name), name)
				assert.True(t, path.IsAbs(what) || what == standins.Directory, what)
			}
			assert.False(t, i.Bare && len(i.Debian) > 0, "Debian's programs need more")
		})
	}
}
