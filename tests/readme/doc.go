// Package readme follows the README as somebody who has just cloned the repository: every command
// of the sections that need no account, in a copy of the checkout, with an empty home. Run it with
// make test-readme.
package readme
