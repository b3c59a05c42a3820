// Package validate collects the problems of a component's arguments, so that a user sees all of
// them at once.
package validate

import (
	"errors"
	"fmt"
)

// Problems gathers errors under the name of what they are about. The zero value is ready for use.
type Problems struct {
	about string
	errs  []error
}

// Of starts a collection about one thing, for example "edge".
func Of(about string) *Problems { return &Problems{about: about} }

// Add records a problem.
func (p *Problems) Add(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

// Require records a problem when the condition does not hold.
func (p *Problems) Require(ok bool, format string, args ...any) {
	if !ok {
		p.Add(format, args...)
	}
}

// Merge records another check's result; nil adds nothing.
func (p *Problems) Merge(err error) {
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

// Err is nil when nothing was recorded, otherwise all the problems, each with the subject's name in
// front.
func (p *Problems) Err() error {
	errs := make([]error, 0, len(p.errs))
	for _, err := range p.errs {
		errs = append(errs, fmt.Errorf("%s: %w", p.about, err))
	}
	return errors.Join(errs...)
}
