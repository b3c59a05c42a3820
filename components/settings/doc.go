// Package settings is the only reader of the stack's configuration. Load turns it into typed,
// complete and valid Settings, or into one error that lists every problem there is, before anything
// is registered.
//
// Absent is not invalid: a key that is absent takes its default. A key that is present must make
// sense: unknown keys, wrong types, empty values and nulls are problems.
package settings
