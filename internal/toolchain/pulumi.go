package toolchain

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

// PulumiVersion is the Pulumi CLI this project builds when PATH has none as new. It is also the
// oldest one it accepts. A test keeps it equal to the version in tools/pulumi/go.mod.
const PulumiVersion = "v3.259.0"

// PulumiTool builds the Pulumi CLI. Its own Makefile's release build sets the version the same way;
// without it the CLI reports none, which the Automation API refuses.
var PulumiTool = Tool{
	Name:    "pulumi",
	Dir:     "internal/toolchain/tools/pulumi",
	Package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
	LDFlags: []string{
		"-s", "-w",
		"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + strings.TrimPrefix(PulumiVersion, "v"),
	},
}

// versionTimeout bounds `pulumi version` of a CLI found on PATH.
const versionTimeout = 30 * time.Second

// Pulumi returns the path of a Pulumi CLI of major version 3 that is at least PulumiVersion: the
// first such one on PATH, or else the one it builds. The file is named pulumi.
func Pulumi(ctx context.Context, progress io.Writer) (string, error) {
	if path := pulumiOnPath(ctx, os.Getenv("PATH")); path != "" {
		return path, nil
	}
	return Build(ctx, PulumiTool, progress)
}

// pulumiOnPath returns the first CLI on the search path that is new enough, or "". One that is too
// old, or broken, is no error: there is still the one we build.
func pulumiOnPath(ctx context.Context, searchPath string) string {
	for _, dir := range filepath.SplitList(searchPath) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, "pulumi")
		if !isExecutable(path) {
			continue
		}
		version, err := pulumiVersion(ctx, path)
		if err == nil && newEnough(version) {
			return path
		}
	}
	return ""
}

// pulumiVersion asks the CLI at path for its version.
func pulumiVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=true")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w%s", path, err, stderrOf(err))
	}
	return parseVersion(string(out))
}

// parseVersion reads what `pulumi version` prints: a semantic version, with v in front or, in
// builds from source, without.
func parseVersion(output string) (string, error) {
	text := strings.TrimSpace(output)
	version := "v" + strings.TrimPrefix(text, "v")
	if !semver.IsValid(version) {
		return "", fmt.Errorf("%q is not a semantic version", text)
	}
	return version, nil
}

func newEnough(version string) bool {
	return semver.Major(version) == semver.Major(PulumiVersion) && semver.Compare(version, PulumiVersion) >= 0
}
