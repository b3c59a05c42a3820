package settings

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// hidden is what every way of printing a Secret shows.
const hidden = "[secret]"

// Secret is a value that must never be shown. However it is printed or marshalled, it shows as
// [secret]; Output is the only way to use it.
type Secret struct {
	// value is reached through a pointer so that no formatter prints it by reflection over a struct
	// that holds a Secret.
	value *string
}

// secretOf wraps s.
func secretOf(s string) Secret { return Secret{value: &s} }

// Given reports whether there is a value: not in the zero Secret.
func (s Secret) Given() bool { return s.value != nil }

// Output returns the value as an output the engine encrypts wherever it goes. The zero Secret gives
// an empty one.
func (s Secret) Output() pulumi.StringOutput {
	v := ""
	if s.value != nil {
		v = *s.value
	}
	return pulumi.ToSecret(pulumi.String(v)).(pulumi.StringOutput)
}

// String returns [secret].
func (Secret) String() string { return hidden }

// GoString returns [secret].
func (Secret) GoString() string { return hidden }

// Format writes [secret] whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalJSON returns "[secret]".
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }
