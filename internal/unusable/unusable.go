// Package unusable marks the errors that say: the stack's configuration does not fit the accounts
// that it is for. The mark is part of the text, because the engine passes errors of the program on
// as text only.
package unusable

import (
	"fmt"
	"strings"
)

// mark is what a person reads in front of the error, and a program looks for.
const mark = "unusable configuration: "

// Mark returns err with the mark, or nil for nil.
func Mark(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(mark+"%w", err)
}

// In reports whether the text holds a marked error.
func In(text string) bool { return strings.Contains(text, mark) }
