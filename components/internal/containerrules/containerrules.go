// Package containerrules holds what may be said of a container, as far as both the settings and the
// component that runs containers check it: the settings name the place in the configuration, the
// component refuses whatever comes from elsewhere.
package containerrules

import (
	"path"
	"regexp"
	"strings"
)

// SecretVariable matches the name of an environment variable that would hold a secret. Everybody
// who can inspect containers reads their environment, so secrets belong into files.
var SecretVariable = regexp.MustCompile(`(?i)(password|passwd|secret|token|api_?key|private_?key)$`)

// databasePath is a relative path of plain names; the last may hold a *.
var databasePath = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_*][A-Za-z0-9._*-]*$`)

// DatabasePath reports whether p is the relative path of a database in a folder. A * in its last
// part stands for any part of a file's name.
func DatabasePath(p string) bool {
	return databasePath.MatchString(p) && path.Clean(p) == p && !strings.Contains(p, "..")
}
