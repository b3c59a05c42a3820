// Package toolchain builds the programs this project needs (the Pulumi CLI, our Caddy, linters …)
// from pinned Go modules into the user's cache, once. Nothing is downloaded but Go modules, and
// each of those is checked against a committed go.sum.
//
// A tool is a folder with go.mod and go.sum plus a Tool that says what to build in it. The folder
// is a module of its own, so it cannot be embedded in the homelab binary; it is found in the
// checkout instead, from the working directory or from where the binary lies.
package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// modulePath is the module whose go.mod marks the top folder of a checkout.
const modulePath = "homelab"

// ErrNoCheckout says that neither the working directory nor the running executable is inside a
// checkout, which holds the tools' folders.
var ErrNoCheckout = errors.New("no checkout of module " + modulePath)

// Tool describes one program to build.
type Tool struct {
	// Name is the executable's file name and its folder in the cache, for example "pulumi".
	// Required.
	Name string
	// Dir is the folder that holds go.mod and go.sum: absolute, or relative to the top of the
	// checkout. Required.
	Dir string
	// Package is what to build there: an import path, or "." for a folder with its own main.go.
	// Required.
	Package string
	// LDFlags go to the linker, one flag each, for example "-X path.Var=value". Default none.
	LDFlags []string
	// Tags are the build tags. Default none.
	Tags []string
	// Embeds are files that modules of the tool lack. Default none.
	Embeds []Embed
	// CGO builds with cgo. Default false: a static program that needs no C compiler.
	CGO bool
}

func (t Tool) validate() error {
	var problems []error
	if t.Name == "" || t.Name != filepath.Base(t.Name) || strings.HasPrefix(t.Name, ".") {
		problems = append(problems, fmt.Errorf("name %q is not a plain file name", t.Name))
	}
	if t.Dir == "" {
		problems = append(problems, errors.New("dir is missing"))
	}
	if t.Package == "" {
		problems = append(problems, errors.New("package is missing"))
	}
	if len(problems) > 0 {
		return fmt.Errorf("tool %q: %w", t.Name, errors.Join(problems...))
	}
	return nil
}

// Root returns the top folder of the checkout: the nearest folder, upward from the working
// directory and then from the running executable, whose go.mod declares module homelab. The error
// is ErrNoCheckout when there is none.
func Root() (string, error) {
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	return rootFrom(starts)
}

func rootFrom(starts []string) (string, error) {
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && modfile.ModulePath(data) == modulePath {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", fmt.Errorf("%w above %s: run inside the checkout", ErrNoCheckout, strings.Join(starts, " or "))
}

// folder returns the tool's folder as an absolute path.
func (t Tool) folder() (string, error) {
	if filepath.IsAbs(t.Dir) {
		return t.Dir, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, t.Dir), nil
}

// goEnv is what the go command in the tool's folder says about itself.
type goEnv struct {
	GOVERSION, GOOS, GOARCH, GOEXE string
}

func readGoEnv(ctx context.Context, dir string) (goEnv, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "-json", "GOVERSION", "GOOS", "GOARCH", "GOEXE")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return goEnv{}, fmt.Errorf("go is not on PATH: install it from https://go.dev/dl/: %w", err)
		}
		return goEnv{}, fmt.Errorf("asking go in %s for its version: %w%s", dir, err, stderrOf(err))
	}
	var env goEnv
	if err := json.Unmarshal(out, &env); err != nil {
		return goEnv{}, fmt.Errorf("reading go env in %s: %w", dir, err)
	}
	return env, nil
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return ": " + strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}

// fingerprint names one build of the tool: equal inputs give the same name, any change of an input
// another one.
func (t Tool) fingerprint(dir string, env goEnv) (string, error) {
	hash := sha256.New()
	// Lengths go in with the texts, so that no two different lists hash the same bytes.
	add := func(parts ...string) {
		for _, part := range parts {
			fmt.Fprintf(hash, "%d:%s\n", len(part), part)
		}
	}
	add(env.GOVERSION, env.GOOS, env.GOARCH, t.Package, fmt.Sprint(t.CGO))
	add("ldflags")
	add(t.LDFlags...)
	add("tags")
	add(t.Tags...)
	// A tool without any keeps the name that it had.
	for _, e := range t.Embeds {
		add("embed", e.Module, e.Path, e.Content)
	}
	if err := addModule(hash, add, dir); err != nil {
		return "", fmt.Errorf("fingerprinting %s: %w", dir, err)
	}
	return hex.EncodeToString(hash.Sum(nil))[:24], nil
}

// addModule hashes a module's go.mod, go.sum and Go sources, and those of the local folders it
// replaces others with.
func addModule(hash io.Writer, add func(...string), dir string) error {
	manifest, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	files, err := moduleFiles(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		add(filepath.ToSlash(file), string(data))
	}
	parsed, err := modfile.Parse(filepath.Join(dir, "go.mod"), manifest, nil)
	if err != nil {
		return err
	}
	for _, replace := range parsed.Replace {
		if replace.New.Version == "" {
			local := filepath.Join(dir, filepath.FromSlash(replace.New.Path))
			if err := addModule(hash, add, local); err != nil {
				return err
			}
		}
	}
	return nil
}

// moduleFiles lists, sorted, the module's files that decide what is built.
func moduleFiles(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path == dir {
				return nil
			}
			_, nested := os.Stat(filepath.Join(path, "go.mod"))
			if nested == nil || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
				return fs.SkipDir
			}
			return nil
		}
		source := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
		manifest := filepath.Dir(path) == dir && (name == "go.mod" || name == "go.sum")
		if source || manifest {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			files = append(files, rel)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}
