package toolchain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
)

// Embed is a file that a module's sources embed and its release does not hold, such as a page that
// another build makes. Without it the module's package does not compile.
type Embed struct {
	// Module is the module's path. Required.
	Module string
	// Path is the file's path below the module's top folder, with slashes. Required.
	Path string
	// Content is what stands in for what is missing.
	Content string
}

// complete returns the build arguments that make go compile copies of the modules which lack files,
// with those added. The copies, and a go.mod that names them, are below work: go refuses overlays of
// its module cache.
func (t Tool) complete(ctx context.Context, dir, work string) ([]string, error) {
	if len(t.Embeds) == 0 {
		return nil, nil
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	file, err := modfile.Parse(filepath.Join(dir, "go.mod"), manifest, nil)
	if err != nil {
		return nil, err
	}
	// A relative folder would mean another one, seen from the new go.mod.
	for _, r := range file.Replace {
		if r.New.Version == "" && !filepath.IsAbs(r.New.Path) {
			if err := file.AddReplace(r.Old.Path, r.Old.Version, filepath.Join(dir, r.New.Path), ""); err != nil {
				return nil, err
			}
		}
	}
	copies := map[string]string{}
	for _, e := range t.Embeds {
		if copies[e.Module] == "" {
			source, err := moduleDir(ctx, dir, e.Module)
			if err != nil {
				return nil, err
			}
			copies[e.Module] = filepath.Join(work, strconv.Itoa(len(copies)))
			if err := os.CopyFS(copies[e.Module], os.DirFS(source)); err != nil {
				return nil, fmt.Errorf("copying %s: %w", e.Module, err)
			}
			if err := file.AddReplace(e.Module, "", copies[e.Module], ""); err != nil {
				return nil, err
			}
		}
		path := filepath.Join(copies[e.Module], filepath.FromSlash(e.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(e.Content), 0o644); err != nil {
			return nil, err
		}
	}
	if manifest, err = file.Format(); err != nil {
		return nil, err
	}
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return nil, err
	}
	return []string{"-modfile=" + filepath.Join(work, "go.mod")}, errors.Join(
		os.WriteFile(filepath.Join(work, "go.mod"), manifest, 0o644), os.WriteFile(filepath.Join(work, "go.sum"), sums, 0o644))
}

// moduleDir returns the folder of a module that the tool needs, which it downloads if necessary.
func moduleDir(ctx context.Context, dir, module string) (string, error) {
	ask := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("go %s: %w%s", strings.Join(args, " "), err, stderrOf(err))
		}
		return strings.TrimSpace(string(out)), nil
	}
	list := []string{"list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module}
	found, err := ask(list...)
	if err != nil || found != "" {
		return found, err
	}
	if _, err := ask("mod", "download", module); err != nil {
		return "", err
	}
	return ask(list...)
}
