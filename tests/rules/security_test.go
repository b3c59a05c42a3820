package rules

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// named finds a test in the document: a function, and perhaps the names of its cases behind it.
var named = regexp.MustCompile("`(Test[A-Za-z0-9]+)((?:/[^/`]+)*)`")

// Each claim about security names a test, and a test that is named exists: its function, and its
// cases by the names that they are run under.
func TestClaimsAboutSecurityNameTests(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	require.NoError(t, err)
	var tests strings.Builder
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		tests.Write(text)
		return err
	}))
	found := named.FindAllStringSubmatch(string(document), -1)
	require.Greater(t, len(found), 30)
	for _, test := range found {
		assert.True(t, strings.Contains(tests.String(), "func "+test[1]+"(t *testing.T)"), "no test %s", test[1])
		for _, name := range strings.Split(test[2], "/")[1:] {
			assert.True(t, strings.Contains(tests.String(), `"`+name+`"`), "%s has no case %q", test[1], name)
		}
	}
	_, layers, _ := strings.Cut(string(document), "## The layers")
	layers, _, _ = strings.Cut(layers, "## What remains")
	for _, claim := range strings.Split(layers, "\n- ")[1:] {
		claim, _, _ = strings.Cut(claim, "\n\n")
		assert.True(t, named.MatchString(claim), "a claim without a test: %s", claim)
	}
}
