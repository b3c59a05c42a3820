// Package rules holds the repository to the rules that the compiler cannot check: who may import
// whom, who may call what, and that everything exported says what it is.
package rules

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// source is one parsed Go file.
type source struct {
	path string // relative to the repository
	pkg  string // import path below the module, such as components/edge
	file *ast.File
	test bool
	end  int // lines
}

// sources parses every Go file of the main module: nested modules and testdata are not part of it.
func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	set := token.NewFileSet()
	var out []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			_, nested := os.Stat(filepath.Join(path, "go.mod"))
			if rel != "." && (nested == nil || entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, source{
			path: rel, pkg: filepath.ToSlash(filepath.Dir(rel)), file: file, test: strings.HasSuffix(rel, "_test.go"),
			end: set.Position(file.FileEnd).Line,
		})
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(out), 50, "the walk found too little to hold anybody to anything")
	return set, out
}

func (s source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		out = append(out, strings.Trim(i.Path.Value, `"`))
	}
	return out
}

// order is the components from left to right: each may import only those to its left, and the
// helpers in components/internal.
var order = []string{
	"settings", "images", "edge", "tailnet", "storage", "host", "workload", "service", "gateway", "vpn", "media", "monitoring", "backup", "exposure", "stack",
}

func component(pkg string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(pkg, "components/")
	if !ok {
		return "", false
	}
	name, _, _ = strings.Cut(rest, "/")
	return name, true
}

func TestImportsGoFromRightToLeft(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		from, ok := component(s.pkg)
		if !ok || s.test {
			continue
		}
		if from != "internal" {
			require.Contains(t, order, from, "%s: a new component needs its place in the order", s.path)
		}
		for _, path := range s.imports() {
			to, ok := component(strings.TrimPrefix(path, "homelab/"))
			if !ok || to == from || to == "internal" {
				continue
			}
			assert.NotEqual(t, "internal", from, "%s: a helper imports component %s", s.path, to)
			assert.Less(t, slices.Index(order, to), slices.Index(order, from), "%s: %s imports %s", s.path, from, to)
		}
	}
}

func TestWhoMayImport(t *testing.T) {
	_, all := sources(t)
	allowed := map[string][]string{
		// One reader of the configuration: a component's arguments say all that it depends on.
		"homelab/components/settings": {"components/stack", "components/settings", "cmd/homelab", "internal/workspace", "tests/engine", "tests/chain", "tests/host", "tests/images", "tests/policy"},
		// The simulated clouds exist for the command and the tests; the program knows nothing of
		// them.
		"homelab/internal/simcloud": {"internal/simcloud", "internal/workspace", "cmd/homelab", "tests/engine"},
		// Config is read by settings alone.
		"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config": {"components/settings"},
	}
	for _, s := range all {
		for _, path := range s.imports() {
			packages, ok := allowed[path]
			if !ok {
				continue
			}
			within := slices.ContainsFunc(packages, func(p string) bool { return s.pkg == p || strings.HasPrefix(s.pkg, p+"/") })
			assert.True(t, within || (s.test && strings.HasPrefix(s.pkg, "components/stack")), "%s must not import %s", s.path, path)
		}
	}
}

// An auditor shares nothing with what it audits, or a mistake there would hide itself here.
func TestTheRulesKnowNothingOfTheProgram(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		if s.pkg != "policy/rules" && s.pkg != "policy/audit" {
			continue
		}
		for _, path := range s.imports() {
			assert.False(t, strings.HasPrefix(path, "homelab/") && !strings.HasPrefix(path, "homelab/policy/"), "%s imports %s", s.path, path)
		}
	}
}

func TestWhoMayCall(t *testing.T) {
	_, all := sources(t)
	allowed := map[string]string{
		"workload.NewPublished":   "components/gateway",    // nothing else is reachable from outside the machine
		"workload.NewTunnel":      "components/vpn",        // what others are put behind is a VPN
		"workload.EngineSocket":   "components/monitoring", // who has it is root on the machine
		"cloudflare.NewDnsRecord": "components/exposure",   // a hostname needs a route
		"cloudflare.NewRecord":    "components/exposure",
		"docker.NewContainer":     "components/workload", // containers are hardened
		"docker.NewProvider":      "components/host",     // and run on the machine, not on the laptop
		"remote.NewCommand":       "components/host",     // with the host key pinned
		"ctx.GetConfig":           "components/settings",
	}
	called := map[string]bool{}
	for _, s := range all {
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			selector, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			name, ok := selector.X.(*ast.Ident)
			if !ok {
				return true
			}
			full := name.Name + "." + selector.Sel.Name
			if pkg, ok := allowed[full]; ok {
				called[full] = true
				// The proof suite calls it to be refused.
				assert.True(t, s.pkg == pkg || s.test, "%s calls %s, which only %s may", s.path, full, pkg)
			}
			return true
		})
	}
	for _, name := range []string{"workload.NewPublished", "workload.NewTunnel", "cloudflare.NewDnsRecord", "docker.NewContainer", "remote.NewCommand"} {
		assert.True(t, called[name], "nobody calls %s: the rule guards nothing", name)
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	_, all := sources(t)
	comments, exists := map[string][]string{}, map[string]bool{}
	for _, s := range all {
		if s.test && s.pkg != "tests/rules" && !strings.HasPrefix(s.pkg, "tests/") {
			continue
		}
		exists[s.pkg] = true
		if s.file.Doc != nil {
			comments[s.pkg] = append(comments[s.pkg], s.path)
			text := s.file.Doc.Text()
			want := "Package " + s.file.Name.Name + " "
			if s.file.Name.Name == "main" {
				want = "Command "
			}
			assert.True(t, strings.HasPrefix(text, want), "%s: the package comment must begin with %q", s.path, want)
		}
	}
	for pkg := range exists {
		assert.Len(t, comments[pkg], 1, "package %s needs one package comment", pkg)
	}
}

func TestEverythingExportedIsDocumented(t *testing.T) {
	set, all := sources(t)
	for _, s := range all {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			for _, name := range undocumented(d) {
				assert.Fail(t, "exported and undocumented", "%s: %s", set.Position(d.Pos()), name)
			}
		}
	}
}

func undocumented(d ast.Decl) []string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			return []string{d.Name.Name}
		}
	case *ast.GenDecl:
		var out []string
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
					out = append(out, spec.Name.Name)
				}
				if st, ok := spec.Type.(*ast.StructType); ok && spec.Name.IsExported() {
					out = append(out, undocumentedFields(spec.Name.Name, st)...)
				}
			case *ast.ValueSpec:
				if spec.Names[0].IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
					out = append(out, spec.Names[0].Name)
				}
			}
		}
		return out
	}
	return nil
}

func undocumentedFields(name string, st *ast.StructType) []string {
	var out []string
	for _, f := range st.Fields.List {
		if len(f.Names) > 0 && f.Names[0].IsExported() && f.Doc == nil && f.Comment == nil {
			out = append(out, fmt.Sprintf("%s.%s", name, f.Names[0].Name))
		}
	}
	return out
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	expression := d.Recv.List[0].Type
	if star, ok := expression.(*ast.StarExpr); ok {
		expression = star.X
	}
	name, ok := expression.(*ast.Ident)
	return ok && name.IsExported()
}

func TestNothingIsTooLongToHoldInOnesHead(t *testing.T) {
	set, all := sources(t)
	for _, s := range all {
		assert.LessOrEqual(t, s.end, 500, "%s is too long", s.path)
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
				assert.True(t, lines <= 100 || s.test, "%s: %s has %d lines", s.path, f.Name.Name, lines)
			}
		}
	}
}
