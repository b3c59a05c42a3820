package rules

import (
	"go/build/constraint"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// platformPackages are all packages that say something else to one operating system than to another, and so the ones
// that .ci/platforms compiles for each. Whatever else there is uses the standard library's portable part, and compiles
// everywhere if it compiles anywhere.
var platformPackages = []string{".", "cmd/homelab", "cmd/homelab/internal/terminal", "internal/filelock", "internal/process"}

// platformImports are packages with other contents on each operating system.
var platformImports = []string{"syscall", "golang.org/x/sys/unix", "golang.org/x/sys/windows", "plugin", "log/syslog"}

// platformName is a file whose name binds it to an operating system or a processor.
var platformName = regexp.MustCompile(`_(linux|darwin|windows|freebsd|unix|amd64|arm64)(_test)?\.go$`)

func TestFewPackagesDependOnThePlatform(t *testing.T) {
	_, all := sources(t)
	found := map[string]bool{}
	for _, s := range all {
		// Tests of the chain and the machine need Linux, whatever they import; so do some tests of others.
		if s.test || strings.HasPrefix(s.pkg, "tests/") {
			continue
		}
		if !dependsOnPlatform(t, s) {
			continue
		}
		found[s.pkg] = true
		assert.Contains(t, platformPackages, s.pkg, "%s depends on the operating system: move that into internal/process", s.path)
	}
	for _, pkg := range platformPackages {
		assert.True(t, found[pkg], "%s does not depend on the operating system: take it off the list", pkg)
	}
	script, err := os.ReadFile(root + "/.ci/platforms")
	require.NoError(t, err)
	for _, pkg := range platformPackages {
		assert.Regexp(t, `[ (]\./`+regexp.QuoteMeta(strings.TrimPrefix(pkg, "."))+`[ )\n]`, string(script), ".ci/platforms does not compile ./%s", pkg)
	}
}

func dependsOnPlatform(t *testing.T, s source) bool {
	if platformName.MatchString(s.path) || slices.ContainsFunc(platformImports, func(path string) bool { return slices.Contains(s.imports(), path) }) {
		return true
	}
	for _, group := range s.file.Comments {
		for _, comment := range group.List {
			if comment.Pos() > s.file.Package || !constraint.IsGoBuild(comment.Text) {
				continue
			}
			expression, err := constraint.Parse(comment.Text)
			require.NoError(t, err)
			// A constraint that holds on every system, whatever the tags of our own say, is none of platforms.
			with := func(system string) bool {
				return expression.Eval(func(tag string) bool { return tag == system || (tag == "unix" && system != "windows") })
			}
			if with("linux") != with("darwin") || with("linux") != with("windows") {
				return true
			}
		}
	}
	return false
}
