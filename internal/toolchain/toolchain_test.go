package toolchain

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
	"gopkg.in/yaml.v3"
)

// helloTool writes a module that needs nothing but the standard library, so that its build needs no
// network.
func helloTool(t *testing.T) Tool {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module hello\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "go.sum"), "")
	write(t, filepath.Join(dir, "main.go"), `package main

import "os"

var greeting = "hello"

func main() { os.Stdout.WriteString(greeting + "\n") }
`)
	return Tool{Name: "hello", Dir: dir, Package: "."}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func run(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path).Output()
	require.NoError(t, err)
	return string(out)
}

func TestBuildIsDoneOnceAndAgainOnlyForAChange(t *testing.T) {
	cache, tool := t.TempDir(), helloTool(t)
	var progress bytes.Buffer
	first, err := buildInto(t.Context(), cache, tool, &progress)
	require.NoError(t, err)
	assert.Equal(t, "hello\n", run(t, first))
	assert.Equal(t, "hello", filepath.Base(first))
	assert.Contains(t, progress.String(), "building hello once")
	assert.Contains(t, progress.String(), "built hello in")

	progress.Reset()
	again, err := buildInto(t.Context(), cache, tool, &progress)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.Empty(t, progress.String(), "a cached tool says nothing")

	write(t, filepath.Join(tool.Dir, "main_test.go"), "package main\n")
	write(t, filepath.Join(tool.Dir, "Dockerfile"), "FROM scratch\n")
	unrelated, err := buildInto(t.Context(), cache, tool, nil)
	require.NoError(t, err)
	assert.Equal(t, first, unrelated, "tests and other files do not decide what is built")

	tool.LDFlags = []string{"-X main.greeting=bonjour"}
	flags, err := buildInto(t.Context(), cache, tool, nil)
	require.NoError(t, err)
	assert.NotEqual(t, first, flags)
	assert.Equal(t, "bonjour\n", run(t, flags))
	assert.Equal(t, "hello\n", run(t, first), "the older build stays")
}

func TestFingerprintCoversEveryInput(t *testing.T) {
	base := goEnv{GOVERSION: "go1.26.8", GOOS: "linux", GOARCH: "amd64"}
	changes := map[string]func(*Tool, *goEnv){
		"go version":  func(_ *Tool, env *goEnv) { env.GOVERSION = "go1.27.0" },
		"system":      func(_ *Tool, env *goEnv) { env.GOOS = "darwin" },
		"processor":   func(_ *Tool, env *goEnv) { env.GOARCH = "arm64" },
		"package":     func(tool *Tool, _ *goEnv) { tool.Package = "./sub" },
		"tags":        func(tool *Tool, _ *goEnv) { tool.Tags = []string{"x"} },
		"flags":       func(tool *Tool, _ *goEnv) { tool.LDFlags = []string{"x"} },
		"cgo":         func(tool *Tool, _ *goEnv) { tool.CGO = true },
		"go.sum":      func(tool *Tool, _ *goEnv) { write(t, filepath.Join(tool.Dir, "go.sum"), "\n") },
		"go.mod":      func(tool *Tool, _ *goEnv) { write(t, filepath.Join(tool.Dir, "go.mod"), "module other\n\ngo 1.26\n") },
		"own package": func(tool *Tool, _ *goEnv) { write(t, filepath.Join(tool.Dir, "sub", "a.go"), "package sub\n") },
	}
	original := helloTool(t)
	seen := map[string]string{}
	print, err := original.fingerprint(original.Dir, base)
	require.NoError(t, err)
	seen[print] = "unchanged"
	for name, change := range changes {
		tool, env := helloTool(t), base
		change(&tool, &env)
		print, err := tool.fingerprint(tool.Dir, env)
		require.NoError(t, err)
		assert.Empty(t, seen[print], "%s gives the same fingerprint", name)
		seen[print] = name
	}
}

func TestFingerprintFollowsLocalReplacements(t *testing.T) {
	tool := helloTool(t)
	write(t, filepath.Join(tool.Dir, "go.mod"), "module hello\n\ngo 1.26\n\nreplace example.com/lib => ./lib\n")
	write(t, filepath.Join(tool.Dir, "lib", "go.mod"), "module example.com/lib\n")
	write(t, filepath.Join(tool.Dir, "lib", "lib.go"), "package lib\n")
	before, err := tool.fingerprint(tool.Dir, goEnv{})
	require.NoError(t, err)
	write(t, filepath.Join(tool.Dir, "lib", "lib.go"), "package lib\n\nconst A = 1\n")
	after, err := tool.fingerprint(tool.Dir, goEnv{})
	require.NoError(t, err)
	assert.NotEqual(t, before, after)
}

func TestTwoCallersBuildOnce(t *testing.T) {
	cache, tool := t.TempDir(), helloTool(t)
	var group sync.WaitGroup
	outputs, paths := [2]bytes.Buffer{}, [2]string{}
	for i := range 2 {
		group.Go(func() {
			path, err := buildInto(t.Context(), cache, tool, &outputs[i])
			assert.NoError(t, err)
			paths[i] = path
		})
	}
	group.Wait()
	assert.Equal(t, paths[0], paths[1])
	both := outputs[0].String() + outputs[1].String()
	assert.Equal(t, 1, strings.Count(both, "built hello in"), both)
	left, err := filepath.Glob(filepath.Join(cache, "hello", ".building-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestFailedBuildShowsTheCompilerAndLeavesNothing(t *testing.T) {
	cache, tool := t.TempDir(), helloTool(t)
	write(t, filepath.Join(tool.Dir, "main.go"), "package main\n\nfunc main() { undefinedCall() }\n")
	_, err := buildInto(t.Context(), cache, tool, nil)
	require.ErrorContains(t, err, "undefined: undefinedCall")
	left, globErr := filepath.Glob(filepath.Join(cache, "hello", "*", "hello"))
	require.NoError(t, globErr)
	assert.Empty(t, left)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = buildInto(ctx, cache, tool, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestIncompleteToolIsRefused(t *testing.T) {
	_, err := buildInto(t.Context(), t.TempDir(), Tool{Name: "../x"}, nil)
	require.ErrorContains(t, err, "not a plain file name")
	require.ErrorContains(t, err, "dir is missing")
	require.ErrorContains(t, err, "package is missing")
}

func TestReporterCountsPackagesAndKeepsErrors(t *testing.T) {
	var out bytes.Buffer
	report := newReporter(&out, "x")
	report.interval = time.Hour
	report.why = "for a test"
	report.start()
	_, err := report.Write([]byte("go: downloading example.com/a v1.0.0\nexample.com/a\nunic"))
	require.NoError(t, err)
	_, err = report.Write([]byte("ode/utf8\n# example.com/b\nb.go:1:1: broken\n"))
	require.NoError(t, err)
	assert.Contains(t, report.status(), "2 packages compiled")
	report.stop(assert.AnError)
	assert.Equal(t, ":\n# example.com/b\nb.go:1:1: broken", report.failure())
	assert.NotContains(t, out.String(), "built")
}

func TestParseVersion(t *testing.T) {
	cases := []struct {
		output, version string
		enough          bool
	}{
		{"v3.259.0\n", "v3.259.0", true},
		{"3.259.0", "v3.259.0", true},
		{"v3.300.1-alpha.1700000000", "v3.300.1-alpha.1700000000", true},
		{"v3.259.0-dev.0", "v3.259.0-dev.0", false},
		{"v3.99.9", "v3.99.9", false},
		{"v4.0.0", "v4.0.0", false},
		{"", "", false},
		{"vv3.259.0", "", false},
		{"no version", "", false},
	}
	for _, c := range cases {
		version, err := parseVersion(c.output)
		assert.Equal(t, c.version, version0(version, err), c.output)
		assert.Equal(t, c.enough, err == nil && newEnough(version), c.output)
	}
}

func version0(version string, err error) string {
	if err != nil {
		return ""
	}
	return version
}

func TestPulumiOnPath(t *testing.T) {
	fake := func(script string, mode os.FileMode) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "pulumi"), []byte("#!/bin/sh\n"+script+"\n"), mode))
		return dir
	}
	old := fake("echo v3.100.0", 0o755)
	broken := fake("exit 3", 0o755)
	noise := fake("echo hello", 0o755)
	unusable := fake("echo v3.400.0", 0o644)
	good := fake("echo v3.260.1", 0o755)
	better := fake("echo v3.300.0", 0o755)
	path := func(dirs ...string) string { return strings.Join(dirs, string(os.PathListSeparator)) }

	assert.Empty(t, pulumiOnPath(t.Context(), ""))
	assert.Empty(t, pulumiOnPath(t.Context(), path(old, broken, noise, unusable, t.TempDir(), ".")))
	assert.Equal(t, filepath.Join(good, "pulumi"), pulumiOnPath(t.Context(), path(old, broken, good, better)))

	t.Setenv("PATH", path(good, os.Getenv("PATH")))
	found, err := Pulumi(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(good, "pulumi"), found)
}

func TestRootIsFoundFromBelow(t *testing.T) {
	root, err := Root()
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(root, "internal", "toolchain", "toolchain_test.go"))

	_, err = rootFrom([]string{t.TempDir()})
	require.ErrorIs(t, err, ErrNoCheckout)
}

// The same version stands in four places that tools of their own read: the constant, the tool's
// go.mod, the project's SDK and the range in Pulumi.yaml. They must not drift apart.
func TestPulumiVersionIsPinnedEverywhereAlike(t *testing.T) {
	root, err := Root()
	require.NoError(t, err)
	for file, module := range map[string]string{
		PulumiTool.Dir + "/go.mod": "github.com/pulumi/pulumi/pkg/v3",
		"go.mod":                   "github.com/pulumi/pulumi/sdk/v3",
	} {
		data, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		parsed, err := modfile.Parse(file, data, nil)
		require.NoError(t, err)
		found := ""
		for _, require := range parsed.Require {
			if require.Mod.Path == module {
				found = require.Mod.Version
			}
		}
		assert.Equal(t, PulumiVersion, found, "%s in %s", module, file)
	}
	data, err := os.ReadFile(filepath.Join(root, "Pulumi.yaml"))
	require.NoError(t, err)
	var project struct {
		RequiredPulumiVersion string `yaml:"requiredPulumiVersion"`
	}
	require.NoError(t, yaml.Unmarshal(data, &project))
	assert.Equal(t, ">="+strings.TrimPrefix(PulumiVersion, "v")+" <4.0.0", project.RequiredPulumiVersion, "requiredPulumiVersion in Pulumi.yaml")
}

// Every tool's folder must hold what a build needs to be the same everywhere.
func TestEveryToolIsPinned(t *testing.T) {
	for _, tool := range tools {
		require.NoError(t, tool.validate())
		dir, err := tool.folder()
		require.NoError(t, err)
		assert.FileExists(t, filepath.Join(dir, "go.mod"))
		assert.FileExists(t, filepath.Join(dir, "go.sum"))
		found, err := Named(tool.Name)
		require.NoError(t, err)
		assert.Equal(t, tool, found)
	}
	_, err := Named("nothing")
	require.ErrorContains(t, err, "pulumi, staticcheck, actionlint, govulncheck")
}

func TestCompileBuildsAPackageOfTheCheckout(t *testing.T) {
	out := filepath.Join(t.TempDir(), "tool")
	var progress bytes.Buffer
	require.NoError(t, Compile(t.Context(), out, "./internal/toolchain/tool", &progress))
	assert.FileExists(t, out)
	assert.Empty(t, progress.String(), "a fast build says nothing")
	// With the flags of Pulumi's Go language plugin, so that `pulumi up` finds everything compiled.
	info, err := buildinfo.ReadFile(out)
	require.NoError(t, err)
	assert.Contains(t, info.Settings, debug.BuildSetting{Key: "-trimpath", Value: "true"})
	require.ErrorContains(t, Compile(t.Context(), out, "./internal/toolchain/nothing", nil), "nothing")
}

func TestCompileStaticBuildsAPackageOfAnyModule(t *testing.T) {
	for _, pkg := range []string{"./internal/toolchain/tool", "./images/wire"} {
		out := filepath.Join(t.TempDir(), "tool")
		require.NoError(t, CompileStatic(t.Context(), out, pkg, nil))
		info, err := buildinfo.ReadFile(out)
		require.NoError(t, err)
		assert.Contains(t, info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "0"})
		assert.Equal(t, strings.TrimPrefix(pkg, "./"), strings.TrimPrefix(info.Path, "homelab/"))
	}
	require.ErrorContains(t, CompileStatic(t.Context(), filepath.Join(t.TempDir(), "x"), "./images/nothing", nil), "nothing")
}

// What make calls and what Compile builds share their compiled packages.
func TestMakeUsesTheSamePackagesAsTheBuild(t *testing.T) {
	root, err := Root()
	require.NoError(t, err)
	shown := func(flags string) string {
		cmd := exec.CommandContext(t.Context(), "make", "-s", "-C", root, "--eval", "flags: ; @echo $$GOFLAGS", "flags")
		cmd.Env = append(os.Environ(), "GOFLAGS="+flags, "MAKEFLAGS=")
		out, err := cmd.Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	assert.Equal(t, "-tags=x -trimpath", shown("-tags=x"), "the caller's flags stay")
	assert.Equal(t, "-tags=x -trimpath", shown("-trimpath -tags=x"))
}
