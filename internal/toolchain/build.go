package toolchain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"homelab/internal/filelock"
)

// Build returns the path of the tool's executable, building it first when the cache has none for
// exactly these inputs: go.mod, go.sum, the folder's own Go files, package, linker flags, tags, Go
// version and platform. The path is <user cache>/homelab/tools/<name>/<fingerprint>/<name>.
// GOFLAGS, GOPROXY and the like count as the environment sets them. Progress lines go to progress;
// nil means none. Two callers at once build once.
func Build(ctx context.Context, tool Tool, progress io.Writer) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	return buildInto(ctx, cache, tool, progress)
}

// CacheDir is where built tools are kept: <user cache>/homelab/tools. It is safe to delete.
func CacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache folder: %w", err)
	}
	return filepath.Join(cache, "homelab", "tools"), nil
}

func buildInto(ctx context.Context, cache string, tool Tool, progress io.Writer) (_ string, err error) {
	if err := tool.validate(); err != nil {
		return "", err
	}
	dir, err := tool.folder()
	if err != nil {
		return "", fmt.Errorf("finding the folder of tool %s: %w", tool.Name, err)
	}
	env, err := readGoEnv(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("building %s: %w", tool.Name, err)
	}
	print, err := tool.fingerprint(dir, env)
	if err != nil {
		return "", fmt.Errorf("building %s: %w", tool.Name, err)
	}
	home := filepath.Join(cache, tool.Name)
	target := filepath.Join(home, print, tool.Name+env.GOEXE)
	if isExecutable(target) {
		return target, nil
	}
	report := newReporter(progress, tool.Name)
	report.why = "once from its pinned Go module (a few minutes when nothing is cached)"
	lock, err := filelock.Acquire(ctx, filepath.Join(home, print+".lock"), func() {
		report.line("waiting for another process that builds %s", tool.Name)
	})
	if err != nil {
		return "", fmt.Errorf("building %s: %w", tool.Name, err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if isExecutable(target) {
		return target, nil
	}
	if err := tool.compile(ctx, dir, home, target, report); err != nil {
		return "", fmt.Errorf("building %s from %s: %w", tool.Name, dir, err)
	}
	return target, nil
}

// compile builds beside the target and moves the finished folder there, so that the target is whole
// or absent.
func (t Tool) compile(ctx context.Context, dir, home, target string, report *reporter) (err error) {
	work, err := os.MkdirTemp(home, ".building-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	cgo := "CGO_ENABLED=0"
	if t.CGO {
		cgo = "CGO_ENABLED=1"
	}
	modules, err := os.MkdirTemp(home, ".modules-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(modules)) }()
	args, err := t.complete(ctx, dir, modules)
	if err != nil {
		return err
	}
	args = append(args, "-trimpath", "-tags="+strings.Join(t.Tags, ","), "-ldflags="+strings.Join(t.LDFlags, " "),
		"-o", filepath.Join(work, filepath.Base(target)), t.Package)
	if err := goBuild(ctx, dir, report, []string{"GOWORK=off", cgo}, args...); err != nil {
		return err
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	final := filepath.Dir(target)
	// A folder without its executable is what someone left who deleted by hand; rename cannot
	// replace it if it is not empty.
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	return os.Rename(work, final)
}

// Compile builds a package of the checkout itself into the file out, both relative to the top of
// the checkout. It leaves the question whether that is necessary to go, and prints progress only
// while there is something to wait for. The flags are those of Pulumi's Go language plugin: go
// compiles each dependency once for -trimpath and once more without it, and the clouds' SDKs take
// minutes.
func Compile(ctx context.Context, out, pkg string, progress io.Writer) error {
	return compile(ctx, out, pkg, progress, nil)
}

// CompileStatic is Compile for a program that runs where there are no libraries.
func CompileStatic(ctx context.Context, out, pkg string, progress io.Writer) error {
	return compile(ctx, out, pkg, progress, []string{"CGO_ENABLED=0"})
}

func compile(ctx context.Context, out, pkg string, progress io.Writer, env []string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	dir, inside := moduleOf(root, pkg)
	if err := goBuild(ctx, dir, newReporter(progress, filepath.Base(out)), env,
		"-trimpath", "-ldflags=-w -s", "-o", out, inside); err != nil {
		return fmt.Errorf("building %s: %w", pkg, err)
	}
	return nil
}

// moduleOf returns the folder of the module that a package of the checkout is part of, and the
// package as it is named there: some folders of the checkout are modules of their own.
func moduleOf(root, pkg string) (dir, inside string) {
	if !strings.HasPrefix(pkg, "./") {
		return root, pkg
	}
	folder := filepath.Join(root, filepath.FromSlash(pkg))
	for dir = folder; dir != root; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	inside, err := filepath.Rel(dir, folder)
	if err != nil {
		return root, pkg
	}
	return dir, "./" + filepath.ToSlash(inside)
}

// goBuild runs `go build` in dir and reports how far it is.
func goBuild(ctx context.Context, dir string, report *reporter, env []string, args ...string) error {
	fixed := []string{"build", "-v", "-mod=readonly", "-buildvcs=false"}
	cmd := exec.CommandContext(ctx, "go", append(fixed, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout, cmd.Stderr = report, report

	report.start()
	err := cmd.Run()
	report.stop(err)
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("go build: %w%s", err, report.failure())
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o100 != 0
}
