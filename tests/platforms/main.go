// Command platforms checks the types of Go packages, and of all that they import, for other
// operating systems and processors:
//
//	platforms FOLDER GOOS/GOARCH PACKAGE...
//
// It finds what a compiler would refuse, in seconds: to compile the clouds' SDKs takes minutes for
// each platform. It is a module of its own, so that the homelab's own module needs no
// golang.org/x/tools/go/packages.
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: platforms FOLDER GOOS/GOARCH PACKAGE...")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Args[2], os.Args[3:]...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// check returns what is wrong with the packages below folder on the platform, or nil.
func check(folder, platform string, patterns ...string) error {
	system, processor, found := strings.Cut(platform, "/")
	if !found {
		return fmt.Errorf("platform %q: write GOOS/GOARCH", platform)
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	config := &packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps |
			packages.NeedTypes | packages.NeedSyntax,
		Dir:       folder,
		Env:       append(os.Environ(), "GOOS="+system, "GOARCH="+processor, "CGO_ENABLED=0"),
		ParseFile: declarations(folder),
	}
	loaded, err := packages.Load(config, patterns...)
	if err != nil {
		return fmt.Errorf("loading the packages for %s: %w", platform, err)
	}
	if len(loaded) == 0 {
		return fmt.Errorf("no packages match %q", patterns)
	}
	var problems []error
	packages.Visit(loaded, nil, func(p *packages.Package) {
		for _, problem := range p.Errors {
			if !ofTheCut(problem.Msg) {
				problems = append(problems, fmt.Errorf("%s: %s: %w", platform, p.PkgPath, problem))
			}
		}
	})
	return errors.Join(problems...)
}

// declarations parses files of other modules without the bodies of their functions: those are their
// authors' to check.
func declarations(folder string) func(*token.FileSet, string, []byte) (*ast.File, error) {
	return func(set *token.FileSet, name string, source []byte) (*ast.File, error) {
		file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
		if file == nil || strings.HasPrefix(name, folder+string(filepath.Separator)) {
			return file, err
		}
		for _, declaration := range file.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok {
				function.Body = nil
			}
		}
		return file, err
	}
}

// ofTheCut reports whether a problem comes from the bodies that declarations has cut off.
func ofTheCut(problem string) bool {
	for _, text := range []string{"must have a body", "missing function body", "imported and not used", " imported as "} {
		if strings.Contains(problem, text) {
			return true
		}
	}
	return false
}
