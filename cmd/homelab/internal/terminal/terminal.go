// Package terminal keeps a library from questioning the terminal at start.
//
// The Pulumi SDK imports bubbletea, whose initialisation asks the terminal for its background
// colour and waits up to five seconds for the answer, before main has run. It does not ask a dumb
// terminal. So this package, as long as packages are initialised, makes the terminal a dumb one. It
// comes first because it imports syscall alone: Go initialises the first package, in the order of
// their paths, whose imports are initialised, and bubbletea's, package os among them, never are
// before this one.
package terminal

import "syscall"

const variable = "TERM"

var original, found = syscall.Getenv(variable)

func init() {
	if found {
		_ = syscall.Setenv(variable, "dumb") // cannot fail for this name and value
	}
}

// Restore gives the environment its terminal back. The main package calls it first.
func Restore() {
	if found {
		_ = syscall.Setenv(variable, original)
	}
}
